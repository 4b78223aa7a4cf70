"""rclone --use-json-log --stats: log lines on stderr with the statistics of the run.

https://rclone.org/docs/#use-json-log and the `stats` of https://rclone.org/rc/#core-stats
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import Reader, Stream, count_of, json_object, text_of

_BAD_LEVELS = frozenset({"error", "critical", "alert", "emergency", "fatal", "panic"})


class Rclone(Reader):
    """Bytes and total are those of the files that rclone has found so far.

    Its speed is the mean since the start, so it is not used: the caller measures it.
    """

    tool = "rclone"
    streams = ("stderr",)
    fine_statuses = (0, 9)  # 9: --error-on-no-transfer, and there was nothing to transfer

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
        if self.progress.error is None and self.messages:
            self.progress = replace(self.progress, error=str(self.messages))
