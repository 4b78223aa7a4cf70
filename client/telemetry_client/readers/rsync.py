"""rsync --info=progress2: one line on stdout that overwrites itself.

The bytes are those copied of all files. The percent is of the files listed so far: while rsync is
listing (`ir-chk`) it goes up and down. See `--info` and `--progress` in
https://download.samba.org/pub/rsync/rsync.1
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import HIGHEST_PERCENT, Reader, Stream, count_of

_LINE = re.compile(
    r"(?P<bytes>\d[\d.,']{0,30})(?P<unit>[KMGTP]?)\s+(?P<percent>\d{1,3})%\s+"
    r"(?P<speed>\d{1,5}[.,]\d\d)(?P<speed_unit>[kMGT])B/s\s+"
    r"(?P<hours>\d{1,9}):(?P<minutes>\d\d):(?P<seconds>\d\d)"
    r"(?:\s+\(xfr#\d+, (?P<list>ir|to)-chk=(?P<left>\d+)/\d+\))?$",
    re.ASCII,
)
_POWERS = " KMGTP"
_SPEED_UNITS = {"k": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Rsync(Reader):
    """`base`: 1000, or 1024 if rsync runs with -hh."""

    tool = "rsync"
    streams = ("stdout", "stderr")
    warning_statuses = (24,)  # some files vanished before they could be copied
    cancelled_statuses = (20,)

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
        if not self._is_listing:
            percent = min(float(match["percent"]), 100.0 if is_last else HIGHEST_PERCENT)
            if match["list"] is None:  # at the end of a file it is the time that has passed
                eta = _seconds(match)
        self.progress = replace(
            self.progress,
            bytes_transferred=self._bytes(match["bytes"], match["unit"]),
            speed_bps=_speed(match),
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


def _speed(match: re.Match[str]) -> int:
    return round(float(match["speed"].replace(",", ".")) * _SPEED_UNITS[match["speed_unit"]])


def _seconds(match: re.Match[str]) -> int:
    return int(match["hours"]) * 3600 + int(match["minutes"]) * 60 + int(match["seconds"])
