"""restic: JSON lines on stdout (--json), text lines of check, prune and copy, errors on stderr.

https://restic.readthedocs.io/en/stable/075_scripting.html, internal/ui/backup/json.go and
internal/ui/restore/json.go of its source. Zero fields are left out of its JSON.
"""

from __future__ import annotations

import os
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
    json_object,
    text_of,
    warning,
)
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_STEADY_SECONDS = 2
_VALUED = (
    *"-r --repo -p --password-file --password-command --key-hint -o --option --cache-dir".split(),
    *"--cacert --tls-client-cert --limit-upload --limit-download --repository-file".split(),
    *"--compression --pack-size --retry-lock -e -i -t -H -g -d -w -m -y".split(),
)
_COUNTING = frozenset("check prune forget copy rewrite repair".split())
_COMMANDS = frozenset(("backup", "restore", *_COUNTING))
# `[0:05] 66.67%  2 / 3 packs copied`
_COUNTED = r"^\[[\d:]+\] (?P<percent>[\d.]+)%\s+\d+ / \d+ (?P<phase>\S.*)"
_EXITS = {
    2: failed("restic crashed"),
    10: failed("the repository does not exist"),
    11: failed("the repository is locked"),
    12: failed("wrong password"),
    130: cancelled("interrupted"),
}


class Restic(Tool):
    name = "restic"
    valued = _VALUED
    reads = (
        "backup, restore (--json): bytes; total and time left once restic has counted. "
        "check, prune, forget, copy (RESTIC_PROGRESS_FPS): percent of each step"
    )

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind:
            return ResticReader()
        command = _command(call)
        if command in ("backup", "restore"):
            if call.has("--json") and not call.has("--quiet", "q"):
                return ResticReader(is_restore=command == "restore")
            return Missing("--json" if not call.has("--json") else "--json and without -q")
        if command not in _COUNTING:
            return None
        is_silent = call.has("--json") or call.has("--quiet", "q")
        if is_silent or not call.environ.get("RESTIC_PROGRESS_FPS"):
            without = " and without --json or -q" if is_silent else ""
            return Missing(f"RESTIC_PROGRESS_FPS=1 in its environment{without}")
        return PatternReader([_COUNTED])

    def exits(self, call: Call) -> Exits:
        if call.is_blind or _command(call) == "backup":
            return {**_EXITS, 3: warning("some files could not be read")}
        return {**_EXITS, 3: failed("some snapshots could not be removed")}

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run", "n")

    def repository(self, call: Call) -> str | None:
        return call.value("-r", "--repo") or call.environ.get("RESTIC_REPOSITORY")


TOOL = Restic()


def _command(call: Call) -> str:
    """The first word that is a command of interest: options with a value may come before it."""
    return next((word for word in call.words() if word in _COMMANDS), "")


class ResticReader(Reader):
    """`is_restore` None: it may be a backup or a restore."""

    streams = ("stdout", "stderr")

    def __init__(self, *, is_restore: bool | None = None) -> None:
        super().__init__()
        self._is_restore = is_restore
        self._is_counted = False
        self._total_since = (0, 0)  # a total, and the second in which it was first seen

    def take(self, line: str, stream: Stream) -> None:
        record = json_object(line)
        if record is None:
            if stream == "stderr":
                self.messages.add(line)
            return
        kind = record.get("message_type")
        if kind == "status":
            self._take_status(record)
        elif kind == "summary":
            self._take_summary(record)
        elif kind == "error":
            self._take_error(record)
        elif kind == "exit_error":
            self.messages.add(text_of(record.get("message")))

    def _take_status(self, record: Mapping[str, Any]) -> None:
        if self._restores(record):
            self._take_restored(record)
            return
        done, total = count_of(record.get("bytes_done", 0)), count_of(record.get("total_bytes"))
        self._is_counted = self._is_counted or self._has_counted(record, done, total)
        if "percent_done" not in record:
            return
        total = total if self._is_counted else None
        phase = "transferring" if done else "scanning"
        if done and total is not None and done >= total:
            phase = "finalizing"
        # 0 seconds are left out, and they also mean that restic cannot tell.
        left = count_of(record.get("seconds_remaining")) if self._is_counted else None
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total,
            eta_seconds=left,
            phase=phase,
        )

    def _restores(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is one of a restore; if that is not known, some of its fields tell."""
        if self._is_restore is None:
            return any(name.endswith(("_restored", "_skipped")) for name in record)
        return self._is_restore

    def _take_restored(self, record: Mapping[str, Any]) -> None:
        """A restore counts before it writes. What is already there is skipped, and not moved."""
        done = count_of(record.get("bytes_restored", 0))
        skipped = count_of(record.get("bytes_skipped", 0))
        total = count_of(record.get("total_bytes"))
        if total is not None and skipped is not None:
            total = max(total - skipped, 0)
        is_over = record.get("message_type") == "summary" or (total and done == total)
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total,
            phase="finalizing" if is_over else "transferring",
        )

    def _has_counted(self, record: Mapping[str, Any], done: int | None, total: int | None) -> bool:
        """Whether restic knows the total, and so prints the time left.

        It prints that from its second second on, but not while it only uploads what it has read;
        then a total that stays the same for a while is complete.
        """
        if "seconds_remaining" in record or record.get("action") == "scan_finished":
            return True
        now = count_of(record.get("seconds_elapsed", 0)) or 0
        if total != self._total_since[0]:
            self._total_since = (total or 0, now)
        is_read = bool(total) and done is not None and done >= (total or 0)
        return is_read and now - self._total_since[1] >= _STEADY_SECONDS

    def _take_summary(self, record: Mapping[str, Any]) -> None:
        self.is_dry_run = self.is_dry_run or record.get("dry_run") is True
        if self._is_restore or "total_bytes_processed" not in record:
            self._take_restored(record)
            return
        total = count_of(record.get("total_bytes_processed"))
        self.progress = replace(
            self.progress,
            bytes_transferred=total,
            total_bytes=total,
            eta_seconds=0,
            phase="finalizing",
        )

    def _take_error(self, record: Mapping[str, Any]) -> None:
        item, error = text_of(record.get("item")), record.get("error")
        reason = ""
        if isinstance(error, Mapping):
            reason = text_of(error.get("message")) or _go_error(error)
        reason = reason or text_of(error) or "error"
        self.messages.add(reason if not item or item in reason else f"{item}: {reason}")
        if self.progress.error is None:
            self.progress = replace(self.progress, error=str(self.messages))


def _go_error(error: Mapping[str, Any]) -> str:
    """`read /a: Input/output error`, from the fields that versions before 0.16 write."""
    number, path = count_of(error.get("Err")), text_of(error.get("Path"))
    reason = os.strerror(number) if number is not None and number < 200 else ""
    return f"{text_of(error.get('Op'))} {path}: {reason}".strip(": ")
