"""restic --json: status lines on stdout, errors on stderr.

https://restic.readthedocs.io/en/stable/075_scripting.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import Reader, Stream, count_of, json_object, text_of

_STEADY_SECONDS = 2


class Restic(Reader):
    """backup and restore. The total is unknown until restic has counted all files."""

    tool = "restic"
    streams = ("stdout", "stderr")
    warning_statuses = (3,)  # a snapshot without some files, which could not be read
    cancelled_statuses = (130,)

    def __init__(self) -> None:
        super().__init__()
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
        is_restore = "bytes_restored" in record
        done = count_of(record.get("bytes_restored" if is_restore else "bytes_done", 0))
        total = count_of(record.get("total_bytes"))
        self._is_counted = self._is_counted or is_restore or self._has_counted(record, done, total)
        if "percent_done" not in record:
            return
        total = total if self._is_counted else None
        # restic omits zeros: missing bytes are 0 bytes, missing seconds are 0 seconds.
        left = count_of(record.get("seconds_remaining", 0)) if self._is_counted else None
        phase = "transferring" if done else "scanning"
        if done and total is not None and done >= total:
            phase = "finalizing"
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total,
            eta_seconds=None if is_restore else left,
            phase=phase,
        )

    def _has_counted(self, record: Mapping[str, Any], done: int | None, total: int | None) -> bool:
        """Whether restic knows the total, and so prints the time left.

        It prints that from its second second on, but not while it only uploads what it has read;
        then a total that stays the same for a while is complete. A restore counts before it writes.
        """
        if "seconds_remaining" in record or record.get("action") == "scan_finished":
            return True
        now = count_of(record.get("seconds_elapsed", 0)) or 0
        if total != self._total_since[0]:
            self._total_since = (total or 0, now)
        is_read = bool(total) and done is not None and done >= (total or 0)
        return is_read and now - self._total_since[1] >= _STEADY_SECONDS

    def _take_summary(self, record: Mapping[str, Any]) -> None:
        total = count_of(record.get("total_bytes_processed", record.get("total_bytes")))
        done = count_of(record.get("bytes_restored", total))
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
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
