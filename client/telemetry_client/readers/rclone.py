"""rclone --use-json-log --stats: one log line on stderr with the whole account of the run.

https://rclone.org/docs/#use-json-log and the `stats` of https://rclone.org/rc/#core-stats
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from telemetry_client.readers.base import Reader, Stream, count_of, json_object, text_of

_BAD_LEVELS = frozenset({"error", "critical", "alert", "emergency", "fatal", "panic"})


class Rclone(Reader):
    """Bytes and total are of what rclone has found to transfer so far.

    Its speed is the mean since the start, which would flatten every chart: it is left to who
    has a clock.
    """

    tool = "rclone"
    streams = ("stderr",)
    fine_statuses = (0, 9)  # 9: --error-on-no-transfer, and there was nothing to transfer

    def take(self, line: str, stream: Stream) -> None:
        said = json_object(line)
        if said is None:
            self.words.add(line)
            return
        stats = said.get("stats")
        if isinstance(stats, Mapping):
            self._take_stats(stats)
        elif text_of(said.get("level")) in _BAD_LEVELS:
            self._take_error(said)

    def _take_stats(self, stats: Mapping[str, Any]) -> None:
        done, total = count_of(stats.get("bytes")), count_of(stats.get("totalBytes"))
        self.progress = replace(
            self.progress,
            bytes_transferred=done,
            total_bytes=total or None,
            eta_seconds=count_of(stats.get("eta")),
            phase="transferring" if total else "checking",
        )

    def _take_error(self, said: Mapping[str, Any]) -> None:
        what, message = text_of(said.get("object")), text_of(said.get("msg"))
        self.words.add(f"{what}: {message}" if what else message)
        if self.progress.error is None and self.words:
            self.progress = replace(self.progress, error=str(self.words))
