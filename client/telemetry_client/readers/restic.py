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
    """backup and restore. The total grows while restic still counts files: unknown until then."""

    tool = "restic"
    streams = ("stdout", "stderr")
    warning_statuses = (3,)  # a snapshot that lacks files which could not be read
    cancelled_statuses = (130,)

    def __init__(self) -> None:
        super().__init__()
        self._is_counted = False
        self._total_since = (0, 0)  # a total, and the second in which it was first seen

    def take(self, line: str, stream: Stream) -> None:
        said = json_object(line)
        if said is None:
            if stream == "stderr":
                self.words.add(line)
            return
        kind = said.get("message_type")
        if kind == "status":
            self._take_status(said)
        elif kind == "summary":
            self._take_summary(said)
        elif kind == "error":
            self._take_error(said)
        elif kind == "exit_error":
            self.words.add(text_of(said.get("message")))

    def _take_status(self, said: Mapping[str, Any]) -> None:
        is_restore = "bytes_restored" in said
        done = count_of(said.get("bytes_restored" if is_restore else "bytes_done", 0))
        total = count_of(said.get("total_bytes"))
        self._is_counted = self._is_counted or is_restore or self._has_counted(said, done, total)
        if "percent_done" not in said:
            return
        total = total if self._is_counted else None
        # Zeros are left out of the line: no bytes are 0 bytes, no seconds are none left.
        left = count_of(said.get("seconds_remaining", 0)) if self._is_counted else None
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

    def _has_counted(self, said: Mapping[str, Any], done: int | None, total: int | None) -> bool:
        """Whether restic knows the total: only then it estimates the time left.

        It does so from the second second on, and not while it only uploads what it has read;
        then a total that nothing is added to tells it. A restore counts before it writes.
        """
        if "seconds_remaining" in said or said.get("action") == "scan_finished":
            return True
        now = count_of(said.get("seconds_elapsed", 0)) or 0
        if total != self._total_since[0]:
            self._total_since = (total or 0, now)
        is_read = bool(total) and done is not None and done >= (total or 0)
        return is_read and now - self._total_since[1] >= _STEADY_SECONDS

    def _take_summary(self, said: Mapping[str, Any]) -> None:
        total = count_of(said.get("total_bytes_processed", said.get("total_bytes")))
        done = count_of(said.get("bytes_restored", total))
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total,
            eta_seconds=0,
            phase="finalizing",
        )

    def _take_error(self, said: Mapping[str, Any]) -> None:
        item, error = text_of(said.get("item")), said.get("error")
        reason = ""
        if isinstance(error, Mapping):
            reason = text_of(error.get("message")) or _go_error(error)
        reason = reason or text_of(error) or "error"
        self.words.add(reason if not item or item in reason else f"{item}: {reason}")
        if self.progress.error is None:
            self.progress = replace(self.progress, error=str(self.words))


def _go_error(error: Mapping[str, Any]) -> str:
    """`read /a: Input/output error` of the fields that versions before 0.16 wrote."""
    number, path = count_of(error.get("Err")), text_of(error.get("Path"))
    reason = os.strerror(number) if number is not None and number < 200 else ""
    return f"{text_of(error.get('Op'))} {path}: {reason}".strip(": ")
