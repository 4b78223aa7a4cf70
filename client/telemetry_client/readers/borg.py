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
# borg has no status of its own for it: 2 is any error.
_INTERRUPTED = ("Got Ctrl-C", "Received SIG")
_MODERN_WARNINGS = range(100, 128)  # with BORG_EXIT_CODES=modern


class Borg(Reader):
    """Bytes are original sizes: what was read, whatever is stored of it; the last are not said.

    borg does not count before it creates: no total, and so no percent. An extract has both.
    """

    tool = "borg"
    streams = ("stderr",)
    warning_statuses = (1, *_MODERN_WARNINGS)

    def take(self, line: str, stream: Stream) -> None:
        said = json_object(line)
        if said is None:
            self.words.add(line)
            return
        kind = said.get("type")
        if kind == "archive_progress":
            self._take_archive(said)
        elif kind == "progress_percent":
            self._take_percent(said)
        elif kind == "progress_message":
            self._take_phase("finalizing" if said.get("msgid") == "cache.commit" else None)
        elif kind == "log_message" and text_of(said.get("levelname")) in _BAD_LEVELS:
            self._take_error(text_of(said.get("message")))

    def _take_archive(self, said: Mapping[str, Any]) -> None:
        done = count_of(said.get("original_size"))
        if done:  # the first one is always 0, the last one has no sizes
            self.progress = replace(self.progress, bytes_transferred=done, phase="transferring")

    def _take_percent(self, said: Mapping[str, Any]) -> None:
        """Only an extract counts bytes; a check counts segments, one operation after the other."""
        if said.get("msgid") != "extract":
            self._take_phase(text_of(said.get("msgid")) or None)
            return
        done, total = count_of(said.get("current")), count_of(said.get("total"))
        if done is not None and total:
            self.progress = replace(
                self.progress, bytes_transferred=done, total_bytes=total, phase="transferring"
            )

    def _take_phase(self, phase: str | None) -> None:
        if phase is not None and phase != self.progress.phase:
            self.progress = replace(self.progress, phase=phase[:100])

    def _take_error(self, message: str) -> None:
        self.words.add(message)
        if self.progress.error is None and self.words:
            self.progress = replace(self.progress, error=str(self.words))

    def _status(self, exit_status: int) -> EndStatus:
        status = super()._status(exit_status)
        is_interrupted = any(said in str(self.words) for said in _INTERRUPTED)
        return "cancelled" if status == "failed" and is_interrupted else status
