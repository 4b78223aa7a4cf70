"""GNU tar: checkpoints on stderr, with or without the bytes (%T), and --totals.

https://www.gnu.org/software/tar/manual/html_node/checkpoints.html and
https://www.gnu.org/software/tar/manual/html_node/Synopsis.html (exit status)
"""

from __future__ import annotations

import re

from telemetry_client.readers.base import Exits, Reader, failed, warning
from telemetry_client.readers.call import Call, size_in_1024s
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_BYTES = r"\b[WR]: (?P<done>\d+)"
_RECORDS = r"^tar: [^:\d]+ (?P<done>\d+)$"  # `tar: Write checkpoint 1000`, in any language
_TOTALS = r"^Total bytes (?:written|read): (?P<done>\d+)"
_BLOCK_BYTES, _BLOCKS = 512, 20  # of a record


class Tar(Tool):
    name = "tar"
    valued = tuple("-b -C -f -g -F -H -I -K -L -N -T -V -X".split())
    reads = "bytes of the archive, not compressed"

    def reader(self, call: Call) -> Reader | Missing | None:
        given = [arg for arg in call.given if arg.startswith("--checkpoint")]
        if not (given or call.is_blind):
            return Missing("--checkpoint=1000 --checkpoint-action=echo=%T")
        actions = call.values("--checkpoint-action")
        if actions and not any("%T" in action for action in actions):
            return Missing("--checkpoint-action=echo=%T")
        if actions or call.is_blind:
            return PatternReader([_BYTES, _TOTALS])
        blocks = size_in_1024s(call.value("-b", "--blocking-factor")) or _BLOCKS
        return PatternReader([_RECORDS], scale=_BLOCK_BYTES * blocks, noise=_TOTALS)

    def exits(self, call: Call) -> Exits:
        if _compares(call):
            return {1: failed("some files differ")}
        return {1: warning("some files changed while they were read")}

    def repository(self, call: Call) -> str | None:
        return call.value("-f", "--file")


TOOL = Tar()


def _compares(call: Call) -> bool:
    """`-d`, `--diff`, or the old style: `tar df archive`."""
    old_style = call.given[0] if call.given and re.fullmatch("[A-Za-z]+", call.given[0]) else ""
    return call.has("--compare") or call.has("--diff", "d") or "d" in old_style
