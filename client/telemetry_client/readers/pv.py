"""pv -n: numbers on stderr, one a line: percent, or with -b bytes, with -t the seconds before them.

https://www.ivarch.com/programs/quickref/pv.shtml
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import HIGHEST_PERCENT, Reader, Stream

_NUMBERS = re.compile(r"\d{1,18}(?:\.\d+)?(?: \d{1,18}(?:\.\d+)?){0,3}", re.ASCII)


class Pv(Reader):
    """Of an input whose size pv does not know its percent is a number without meaning."""

    tool = "pv"
    streams = ("stderr",)

    def __init__(
        self,
        total_bytes: int | None = None,
        *,
        says_bytes: bool = False,
        has_elapsed: bool = False,
    ) -> None:
        super().__init__()
        self._total = total_bytes or None
        self._says_bytes = says_bytes
        self._has_elapsed = has_elapsed

    def take(self, line: str, stream: Stream) -> None:
        if not _NUMBERS.fullmatch(line):
            self.words.add(line)
            return
        numbers = line.split()[1 if self._has_elapsed else 0 :]
        if not numbers:
            return
        progress = replace(self.progress, phase="transferring")
        if self._says_bytes:
            done = int(numbers[0].partition(".")[0])
            self.progress = replace(progress, bytes_transferred=done, total_bytes=self._total)
        elif self._total is not None:
            percent = min(float(numbers[0]), HIGHEST_PERCENT)
            self.progress = replace(progress, percent=percent)
