"""rclone --use-json-log --stats: log lines on stderr with the statistics of the run.

https://rclone.org/docs/#use-json-log, the `stats` of https://rclone.org/rc/#core-stats and
https://rclone.org/docs/#exit-code
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import (
    Exits,
    Reader,
    Stream,
    cancelled,
    count_of,
    failed,
    fine,
    json_object,
    text_of,
)
from telemetry_client.readers.call import Call, is_true
from telemetry_client.readers.tool import Missing, Tool

_BAD_LEVELS = frozenset({"error", "critical", "alert", "emergency", "fatal", "panic"})
_LEVELS = {name: rank for rank, name in enumerate(("DEBUG", "INFO", "NOTICE", "ERROR"))}
_TRANSFERS = frozenset("copy copyto copyurl move moveto sync bisync rcat".split())
_FLAGS = "--use-json-log --stats 5s --stats-log-level NOTICE"
_NO_TIME = re.compile(r"0+(\.0+)?[a-zµ]*")
# Switches without a value; all other long options are taken to have one.
_SWITCHES = frozenset(
    """--use-json-log --progress --dry-run --interactive --checksum --update --fast-list --quiet
    --verbose --size-only --ignore-existing --immutable --inplace --metadata --no-traverse
    --check-first --create-empty-src-dirs --delete-excluded --error-on-no-transfer
    --stats-one-line --ignore-errors --ignore-times --links --copy-links --one-file-system
    --log-systemd --syslog
    """.split()
)
_EXITS = {
    1: failed("an error that is not categorised"),
    2: failed("the command line is wrong"),
    3: failed("a directory was not found"),
    4: failed("a file was not found"),
    5: failed("temporary errors, after all retries"),
    6: failed("errors that a retry does not resolve"),
    7: failed("a fatal error"),
    8: cancelled("the limit of --max-transfer was reached"),
    9: fine("there was nothing to transfer"),  # --error-on-no-transfer
    10: cancelled("the limit of --max-duration was reached"),
}


class Rclone(Tool):
    name = "rclone"
    valued = ("-f", "-o")
    reads = "copy, sync, move, …: bytes, total so far, time left"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind:
            return RcloneReader()
        if not _TRANSFERS & set(call.given):
            return None
        for name, letter in (("log-file", ""), ("log-systemd", ""), ("syslog", "")):
            if _is_on(call, name, letter) or _option(call, name):
                return Missing(f"its log on stderr, not --{name}")
        if _is_on(call, "progress", "P"):  # shows the statistics on stdout, not in the log
            return Missing(f"{_FLAGS} and without -P")
        if _NO_TIME.fullmatch(_option(call, "stats") or "1m"):
            return Missing("--stats 5s")
        if _is_on(call, "use-json-log") and _stats_level(call) >= _log_level(call):
            return RcloneReader()
        return Missing(_FLAGS)

    def exits(self, call: Call) -> Exits:
        return _EXITS

    def is_dry_run(self, call: Call) -> bool:
        return _is_on(call, "dry-run", "n")

    def repository(self, call: Call) -> str | None:
        """The target: the last of command, source and target."""
        valued = {arg for arg in call.given if arg.startswith("--") and "=" not in arg}
        words = call.words(tuple(valued - _SWITCHES))
        return words[2] if len(words) == 3 else None


TOOL = Rclone()


def _variable(call: Call, name: str) -> str | None:
    return call.environ.get("RCLONE_" + name.replace("-", "_").upper())


def _option(call: Call, name: str) -> str | None:
    return call.value(f"--{name}") or _variable(call, name)


def _is_on(call: Call, name: str, letter: str = "") -> bool:
    given = any(arg.partition("=")[0] == f"--{name}" for arg in call.given)
    return (
        call.has(f"--{name}", letter)
        if given or (letter and call.count(letter))
        else is_true(_variable(call, name))
    )


def _stats_level(call: Call) -> int:
    named = _option(call, "stats-log-level") or "INFO"
    return _LEVELS.get(named.upper(), _LEVELS["ERROR"])


def _log_level(call: Call) -> int:
    verbosity = call.count("v") + call.given.count("--verbose")
    given = call.value("--verbose") if not verbosity else None
    given = given or _variable(call, "verbose") or ""
    if given.isdigit():
        verbosity = verbosity or int(given)
    if _is_on(call, "quiet", "q"):
        return _LEVELS["ERROR"]
    if verbosity:
        return _LEVELS["INFO"] if verbosity == 1 else _LEVELS["DEBUG"]
    return _LEVELS.get((_option(call, "log-level") or "NOTICE").upper(), _LEVELS["NOTICE"])


class RcloneReader(Reader):
    """Bytes and total are those of the files that rclone has found so far.

    Its speed is the mean since the start, so it is not used. An error may be overcome by a retry:
    it is kept for the end.
    """

    streams = ("stderr",)

    def take(self, line: str, stream: Stream) -> None:
        record = json_object(line)
        if record is None:
            self.messages.add(line)
            return
        stats = record.get("stats")
        if isinstance(stats, Mapping):
            self._take_stats(stats)
        elif text_of(record.get("level")) in _BAD_LEVELS:
            self._take_error(record)

    def _take_stats(self, stats: Mapping[str, Any]) -> None:
        done, total = count_of(stats.get("bytes")), count_of(stats.get("totalBytes"))
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total or None,
            eta_seconds=count_of(stats.get("eta")),
            phase="transferring" if total else "checking",
        )

    def _take_error(self, record: Mapping[str, Any]) -> None:
        what, message = text_of(record.get("object")), text_of(record.get("msg"))
        self.messages.add(f"{what}: {message}" if what else message)
