"""duplicity --progress: lines on stdout.

https://duplicity.gitlab.io/stable/duplicity.1.html; TransferProgress in duplicity/log.py
"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, Reader, failed
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = (
    r"(?P<done>[\d.]+[KMG]B) (?:\d+[a-z]* ?)*[\d:]+ \[[^\]]*/s\] \[[=> ]*\] (?P<percent>\d+)% ETA"
)
_END = r"^TotalDestinationSizeChange (?P<done>\d+)"
_OTHER_COMMANDS = frozenset(
    """verify collection-status list-current-files cleanup remove-older-than
    remove-all-but-n-full remove-all-inc-of-but-n-full""".split()
)


class Duplicity(Tool):
    name = "duplicity"
    reads = "bytes that are uploaded, percent"

    def reader(self, call: Call) -> Reader | Missing | None:
        if _OTHER_COMMANDS & set(call.given):
            return None
        if not (call.is_blind or call.has("--progress")):
            return Missing("--progress")
        return PatternReader([_LINE, _END], base=1024)

    def exits(self, call: Call) -> Exits:
        return {23: failed("the command line or the environment is wrong")}

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run")


TOOL = Duplicity()
