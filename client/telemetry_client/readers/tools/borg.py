"""borg --log-json --progress: JSON lines on stderr, and with --json the sizes on stdout.

https://borgbackup.readthedocs.io/en/stable/internals/frontends.html and
https://borgbackup.readthedocs.io/en/stable/usage/general.html#return-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import (
    HIGHEST_PERCENT,
    Exits,
    Outcome,
    Reader,
    Stream,
    cancelled,
    count_of,
    json_object,
    text_of,
    warning,
)
from telemetry_client.readers.call import Call
from telemetry_client.readers.tool import Missing, Tool

_READ = frozenset(
    """create extract check prune delete compact recreate import-tar export-tar transfer
    """.split()
)
_BAD_LEVELS = frozenset({"WARNING", "ERROR", "CRITICAL"})
# borg has no exit status for an interrupt: 2 is any error.
_INTERRUPTED = ("Got Ctrl-C", "Received SIG")
_ORIGINAL_SIZE = re.compile(r'"original_size": (\d{1,19})', re.ASCII)
# From 100 on with BORG_EXIT_CODES=modern; 124 to 127 are those of timeout and of shells.
_EXITS = dict.fromkeys((1, *range(100, 124)), warning("warnings, see its log"))


class Borg(Tool):
    name = "borg"
    valued = tuple("-C -c -e -P -a -H -d -w -m -y -o -r".split())
    reads = (
        "create: bytes before compression; at the end exact with --json, else those of the last "
        "progress line. "
        "extract: bytes and total. check, prune, delete, compact: percent of each step"
    )

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind:
            return BorgReader()
        if not _READ & set(call.given):
            return None
        if call.has("--log-json") and call.has("--progress", "p"):
            return BorgReader(has_json=call.has("--json"))
        return Missing("--log-json --progress")

    def exits(self, call: Call) -> Exits:
        return _EXITS

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run", "n")

    def repository(self, call: Call) -> str | None:
        for word in call.given:
            repository, colons, _ = word.partition("::")
            if colons and repository and not word.startswith("-"):
                return repository
        return call.value("-r", "--repo") or call.environ.get("BORG_REPO")


TOOL = Borg()


class BorgReader(Reader):
    """Bytes are original sizes, before compression.

    borg does not count files before `create`: no total, and so no percent. `extract` has both.
    """

    def __init__(self, *, has_json: bool = False) -> None:
        super().__init__()
        self.streams = ("stdout", "stderr") if has_json else ("stderr",)
        self._has_final_size = False  # from stdout, which may be read before the rest of stderr

    def take(self, line: str, stream: Stream) -> None:
        record = json_object(line)
        if record is None:
            self._take_text(line, stream)
            return
        kind = record.get("type")
        if kind == "archive_progress":
            self._take_archive(record)
        elif kind == "progress_percent":
            self._take_percent(record)
        elif kind == "progress_message":
            self._take_phase("finalizing" if record.get("msgid") == "cache.commit" else None)
        elif kind == "log_message" and text_of(record.get("levelname")) in _BAD_LEVELS:
            self._take_error(text_of(record.get("message")))

    def _take_text(self, line: str, stream: Stream) -> None:
        match = _ORIGINAL_SIZE.match(line)  # of the archive, in the output of --json
        if match is not None:
            size = count_of(int(match[1]))
            self._has_final_size = True
            self.progress = replace(self.progress, bytes_transferred=size)
        elif stream == "stderr":
            self.messages.add(line)

    def _take_archive(self, record: Mapping[str, Any]) -> None:
        done = count_of(record.get("original_size"))
        if done and not self._has_final_size:  # the first record has 0, the last one has no sizes
            self.progress = replace(self.progress, bytes_transferred=done, phase="transferring")

    def _take_percent(self, record: Mapping[str, Any]) -> None:
        """Only `extract` counts bytes; others count the items of one operation after the other."""
        done, total = count_of(record.get("current")), count_of(record.get("total"))
        if record.get("msgid") != "extract":
            self._take_phase(text_of(record.get("msgid")) or None)
            if done and total:  # the item that is being done
                percent = min(100 * (done - 1) / total, HIGHEST_PERCENT)
                self.progress = replace(self.progress, percent=percent)
        elif done is not None and total:
            self.progress = replace(
                self.progress, bytes_transferred=done, total_bytes=total, phase="transferring"
            )

    def _take_phase(self, phase: str | None) -> None:
        if phase is not None and phase != self.progress.phase:
            self.progress = replace(self.progress, phase=phase[:100])

    def _take_error(self, message: str) -> None:
        self.messages.add(message)
        if self.progress.error is None and self.messages:
            self.progress = replace(self.progress, error=str(self.messages))

    def _outcome(self, exit_status: int) -> Outcome:
        outcome = super()._outcome(exit_status)
        is_interrupted = any(text in str(self.messages) for text in _INTERRUPTED)
        return cancelled("") if outcome.status == "failed" and is_interrupted else outcome
