"""kopia snapshot create --progress: one line on stderr that overwrites itself.

cli/cli_progress.go of its source
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = (
    r"\d+ hashing, \d+ hashed \((?P<done>[^)]+)\), .* uploaded [^,]+"
    r"(?:, estimated [^(]*\((?P<percent>[\d.]+)%\))?"
)


class Kopia(Tool):
    name = "kopia"
    reads = "snapshot create: bytes that were read, percent"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not call.is_blind:
            if call.words()[:2] not in (["snapshot", "create"], ["snap", "create"]):
                return None
            if not call.has("--progress"):  # by default only on a terminal
                return Missing("--progress")
        return PatternReader([_LINE], streams=("stderr",))


TOOL = Kopia()
