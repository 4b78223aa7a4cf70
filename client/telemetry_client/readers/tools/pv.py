"""pv -n: numbers on stderr, one per line: percent, or bytes (-b), after the seconds (-t).

https://www.ivarch.com/programs/quickref/pv.shtml
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import HIGHEST_PERCENT, Reader, Stream
from telemetry_client.readers.call import Call, size_in_1024s
from telemetry_client.readers.tool import Missing, Tool

_NUMBERS = re.compile(r"\d{1,18}(?:\.\d+)?(?: \d{1,18}(?:\.\d+)?){0,3}", re.ASCII)
_VALUED = (
    *"-s -i -w -H -N -L -B -R -P -d -m -A -F -D".split(),
    *("--size", "--interval", "--width", "--height", "--name", "--rate-limit", "--buffer-size"),
    *("--remote", "--pidfile", "--watchfd", "--last-written", "--format", "--delay-start"),
)


class Pv(Tool):
    name = "pv"
    valued = _VALUED
    reads = "bytes (-b), else percent; the total if pv reads files or has -s"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind:
            return PvReader(has_bytes=True)
        if not call.has("--numeric", "n"):
            return Missing("-n -b")
        if call.has("--line-mode", "l"):
            return Missing("bytes, not lines (-l)")
        if call.has("--quiet", "q"):
            return Missing("-n -b and without -q")
        total = size_in_1024s(call.value("-s", "--size"))
        if total is None:
            sizes = [call.size_of(name) for name in call.words() or ["-"]]
            total = sum(size or 0 for size in sizes) if all(sizes) else None
        has_bytes = call.has("--bytes", "b")
        if total is None and not has_bytes:
            return Missing("-b, or -s with the size,")
        return PvReader(total, has_bytes=has_bytes, has_elapsed=call.has("--timer", "t"))


TOOL = Pv()


class PvReader(Reader):
    """Without the size of its input, pv prints a percent that has no meaning."""

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
