"""dd status=progress: one line on stderr that overwrites itself.

https://www.gnu.org/software/coreutils/manual/html_node/dd-invocation.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call, size_in_1024s
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = r"^(?P<done>\d+) bytes?\b.* copied, "
_NOISE = r"^\d+\+\d+ records (?:in|out)$"


class Dd(Tool):
    name = "dd"
    reads = "bytes; the total if the input is a file, or of count= and bs="

    def reader(self, call: Call) -> Reader | Missing | None:
        operands = _operands(call)
        if not call.is_blind and operands.get("status") != "progress":
            return Missing("status=progress")
        total = _total(call, operands)
        return PatternReader([_LINE], streams=("stderr",), total_bytes=total, noise=_NOISE)

    def repository(self, call: Call) -> str | None:
        return _operands(call).get("of")


TOOL = Dd()


def _operands(call: Call) -> dict[str, str]:
    return {name: value for name, _, value in (arg.partition("=") for arg in call.given)}


def _total(call: Call, operands: dict[str, str]) -> int | None:
    """The bytes to copy; None if an option makes it more than a file or a count of blocks."""
    if "skip" in operands or "iflag" in operands or "iseek" in operands:
        return None
    size = call.size_of(operands.get("if", "-"))
    if "count" not in operands:
        return size
    block = size_in_1024s(operands.get("bs", operands.get("ibs", "512")))
    if block is None or not operands["count"].isdigit():
        return None
    count = int(operands["count"]) * block
    return count if size is None else min(count, size)
