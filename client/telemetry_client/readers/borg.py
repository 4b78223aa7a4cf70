"""borg --log-json --progress: JSON lines on stderr.

https://borgbackup.readthedocs.io/en/stable/internals/frontends.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import (
    EndStatus,
    Reader,
    Stream,
    count_of,
    json_object,
    text_of,
)

_BAD_LEVELS = frozenset({"WARNING", "ERROR", "CRITICAL"})
# borg has no exit status for an interrupt: 2 is any error.
_INTERRUPTED = ("Got Ctrl-C", "Received SIG")
_MODERN_WARNINGS = range(100, 128)  # with BORG_EXIT_CODES=modern


class Borg(Reader):
    """Bytes are original sizes, before compression. borg does not print the final ones.

    borg does not count files before `create`: no total, and so no percent. `extract` has both.
    """

    tool = "borg"
    streams = ("stderr",)
    warning_statuses = (1, *_MODERN_WARNINGS)

    def take(self, line: str, stream: Stream) -> None:
        record = json_object(line)
        if record is None:
            self.messages.add(line)
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

    def _take_archive(self, record: Mapping[str, Any]) -> None:
        done = count_of(record.get("original_size"))
        if done:  # the first record has 0, the last one has no sizes
            self.progress = replace(self.progress, bytes_transferred=done, phase="transferring")

    def _take_percent(self, record: Mapping[str, Any]) -> None:
        """Only `extract` counts bytes; `check` counts segments of one operation after the other."""
        if record.get("msgid") != "extract":
            self._take_phase(text_of(record.get("msgid")) or None)
            return
        done, total = count_of(record.get("current")), count_of(record.get("total"))
        if done is not None and total:
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

    def _status(self, exit_status: int) -> EndStatus:
        status = super()._status(exit_status)
        is_interrupted = any(text in str(self.messages) for text in _INTERRUPTED)
        return "cancelled" if status == "failed" and is_interrupted else status
