"""s5cmd cp, mv, sync --show-progress: one line that overwrites itself.

progressbar/progressbar.go of its source
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = r"(?P<percent>[\d.]+)%.* (?P<done>[\d.]+ [KMGT]?i?B) / (?P<total>[\d.]+ [KMGT]?i?B) \("


class S5cmd(Tool):
    name = "s5cmd"
    reads = "cp, mv, sync: bytes and the total so far"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not call.is_blind:
            if not {"cp", "mv", "sync"} & set(call.given):
                return None
            if not (call.has("--show-progress") or "-sp" in call.given):
                return Missing("--show-progress")
        return PatternReader([_LINE], base=1024)

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run")

    def repository(self, call: Call) -> str | None:
        targets = [word for word in call.given if word.startswith("s3://")]
        return targets[-1] if targets else None


TOOL = S5cmd()
