"""mbuffer: one line on stderr that overwrites itself.

https://www.maier-komor.de/mbuffer.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = r"\bout @ .*?, +(?P<done>[\d.]+ ?[kMGTP]?i?B) total\b(?:.*?(?P<percent>\d+)% done)?"
_END = r"^summary: +(?P<done>[\d.]+ [kMGTP]?i?)Byte"


class Mbuffer(Tool):
    name = "mbuffer"
    valued = tuple(f"-{letter}" for letter in "aAbDiIlmnoOpPrRsTuvwW")
    reads = "bytes; percent if its input is a file"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.has("--quiet", "q"):
            return Missing("its status, not -q,")
        return PatternReader([_LINE, _END], base=1024, streams=("stderr",))

    def repository(self, call: Call) -> str | None:
        return call.value("-o", "-O")


TOOL = Mbuffer()
