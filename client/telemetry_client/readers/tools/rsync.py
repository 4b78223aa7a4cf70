"""rsync --info=progress2: one line on stdout that overwrites itself.

The bytes are those copied of all files. The percent is of the files listed so far: while rsync is
listing (`ir-chk`) it goes up and down. See `--info`, `--progress` and EXIT VALUES in
https://download.samba.org/pub/rsync/rsync.1
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import (
    HIGHEST_PERCENT,
    Exits,
    Reader,
    Stream,
    cancelled,
    count_of,
    failed,
    warning,
)
from telemetry_client.readers.call import Call
from telemetry_client.readers.tool import Missing, Tool

_LINE = re.compile(
    r"(?P<bytes>\d[\d.,']{0,30})(?P<unit>[KMGTP]?)\s+(?P<percent>\d{1,3})%\s+"
    r"\d{1,5}[.,]\d\d[kMGT]B/s\s+"
    r"(?:(?P<hours>\d{1,9}):(?P<minutes>\d\d):(?P<seconds>\d\d)|\?\?:\?\?:\?\?)"
    r"(?:\s+\(xfr#\d+, (?P<list>ir|to)-chk=(?P<left>\d+)/\d+\))?$",
    re.ASCII,
)
_POWERS = " KMGTP"
_OVERALL = re.compile(r"(?:progress|all)(\d)")  # 2 or more: of the whole transfer, not of each file
_VALUED = tuple(
    """--address --backup-dir --block-size --bwlimit --cc --checksum-choice --checksum-seed --chmod
    --chown --compare-dest --compress-choice --compress-level --contimeout --copy-as --copy-dest
    --debug --dparam --early-input --exclude --exclude-from --files-from --filter --groupmap
    --iconv --include --include-from --info --link-dest --log-file --log-file-format --log-format
    --max-alloc --max-delete --max-size --min-size --modify-window --only-write-batch --out-format
    --outbuf --partial-dir --password-file --port --protocol --read-batch --remote-option --rsh
    --rsync-path --skip-compress --sockopts --stderr --stop-after --stop-at --suffix --temp-dir
    --timeout --usermap --write-batch --zc --zl -B -M -T -e -f -@""".split()
)
_EXITS = {
    5: failed("the client-server protocol could not be started"),
    10: failed("an error in socket I/O"),
    11: failed("an error in file I/O"),
    12: failed("the connection was closed unexpectedly"),
    20: cancelled("interrupted"),
    23: failed("some files were not copied"),
    24: warning("some files vanished before they could be copied"),
    25: warning("the limit of --max-delete stopped deletions"),
    30: failed("timeout while sending or receiving data"),
    35: failed("timeout while connecting"),
}


class Rsync(Tool):
    name = "rsync"
    valued = _VALUED
    reads = "bytes; percent and time left once rsync has listed all files"

    def reader(self, call: Call) -> Reader | Missing | None:
        human = call.count("h") + call.given.count("--human-readable")
        if not (call.is_blind or _shows_overall_progress(call)):
            return Missing("--info=progress2")
        if call.has("--quiet", "q"):
            return Missing("--info=progress2 and without -q")
        return RsyncReader(base=1024 if human > 1 else 1000)

    def exits(self, call: Call) -> Exits:
        return _EXITS

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run", "n")

    def repository(self, call: Call) -> str | None:
        words = call.words()
        return words[-1] if len(words) > 1 else None


TOOL = Rsync()


def _shows_overall_progress(call: Call) -> bool:
    """The last of the flags about progress counts; they are in any case of letters."""
    flags = ",".join(call.values("--info")).lower().split(",")
    levels = [int(match[1]) for flag in flags if (match := _OVERALL.fullmatch(flag))]
    return bool(levels) and levels[-1] >= 2


class RsyncReader(Reader):
    """`base`: 1000, or 1024 if rsync runs with -hh.

    Its speed is not used: at the end of a file it is the mean since the start.
    """

    streams = ("stdout", "stderr")

    def __init__(self, base: int = 1000) -> None:
        super().__init__()
        self._base = base
        self._is_listing = False

    def take(self, line: str, stream: Stream) -> None:
        match = _LINE.match(line)
        if match is None:
            if stream == "stderr":
                self.messages.add(line)
            return
        if match["list"] is not None:
            self._is_listing = match["list"] == "ir"
        self._take_numbers(match)

    def _take_numbers(self, match: re.Match[str]) -> None:
        is_last = match["list"] == "to" and match["left"] == "0"
        percent: float | None = None
        eta = None
        done = self._bytes(match["bytes"], match["unit"])
        # 100 % of 0 bytes: there is nothing that could be copied, also if all sources are missing.
        if not self._is_listing and (done or match["percent"] == "0"):
            percent = min(float(match["percent"]), 100.0 if is_last else HIGHEST_PERCENT)
            if (
                match["list"] is None and match["hours"]
            ):  # at the end of a file it is the time that has passed
                eta = _seconds(match)
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            eta_seconds=eta,
            percent=percent,
            phase="transferring",
        )

    def _bytes(self, digits: str, unit: str) -> int | None:
        """`1,234,567` with any group separator, or `1.23M` with any decimal point."""
        *whole, last = re.split(r"[.,']", digits)
        point = "." if unit and whole else ""
        number = float("".join(whole) + point + last) if unit else int("".join(whole) + last)
        factor = self._base ** _POWERS.index(unit or " ")
        return count_of(round(number * factor))


def _seconds(match: re.Match[str]) -> int:
    return int(match["hours"]) * 3600 + int(match["minutes"]) * 60 + int(match["seconds"])
