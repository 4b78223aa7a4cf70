"""dd status=progress: one line on stderr that overwrites itself.

https://www.gnu.org/software/coreutils/manual/html_node/dd-invocation.html
"""

from __future__ import annotations

import re

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

# `104857600 bytes (105 MB, 100 MiB) copied, 1 s, 105 MB/s`, in any language.
_LINE = r"^(?P<done>\d+) ?[^\W\d].*?\d s\b"
_NOISE = r"^\d+\+\d+ "  # `57+1 records in`
_SIZE = re.compile(r"(\d+)([cwb]|[kKMGTP](?:iB|B)?)?", re.ASCII)
_UNITS = {"": 1, "c": 1, "w": 2, "b": 512}


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
    block = _size_in(operands.get("bs", operands.get("ibs", "512")))
    if block is None or not operands["count"].isdigit():
        return None
    count = int(operands["count"]) * block
    return count if size is None else min(count, size)


def _size_in(text: str) -> int | None:
    """`1M` in powers of 1024, `1MB` in powers of 1000; None for a product and anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    unit = match[2] or ""
    factor = _UNITS.get(unit)
    if factor is None:
        base = 1000 if unit.endswith("B") and not unit.endswith("iB") else 1024
        factor = base ** " KMGTP".index(unit[0].upper())
    return int(match[1]) * factor
