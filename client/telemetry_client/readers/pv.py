"""pv -n: numbers on stderr, one per line: percent, or bytes (-b), after the seconds (-t).

https://www.ivarch.com/programs/quickref/pv.shtml
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import HIGHEST_PERCENT, Reader, Stream

_NUMBERS = re.compile(r"\d{1,18}(?:\.\d+)?(?: \d{1,18}(?:\.\d+)?){0,3}", re.ASCII)


class Pv(Reader):
    """Without the size of its input, pv prints a percent that has no meaning."""

    tool = "pv"
    streams = ("stderr",)

    def __init__(
        self,
        total_bytes: int | None = None,
        *,
        has_bytes: bool = False,
        has_elapsed: bool = False,
    ) -> None:
        super().__init__()
        self._total = total_bytes or None
        self._has_bytes = has_bytes
        self._has_elapsed = has_elapsed

    def take(self, line: str, stream: Stream) -> None:
        if not _NUMBERS.fullmatch(line):
            self.messages.add(line)
            return
        numbers = line.split()[1 if self._has_elapsed else 0 :]
        if not numbers:
            return
        progress = replace(self.progress, phase="transferring")
        if self._has_bytes:
            done = int(numbers[0].partition(".")[0])
            self.progress = replace(progress, bytes_transferred=done, total_bytes=self._total)
        elif self._total is not None:
            percent = min(float(numbers[0]), HIGHEST_PERCENT)
            self.progress = replace(progress, percent=percent)
