"""mydumper, myloader -v 3: which table, on stderr; newer ones say a percent.

src/mydumper and src/myloader of its source
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_TABLES = r"Thread \d+: (?P<phase>\S+) \[ *(?P<percent>\d+)% \] \| Tables: \d+/\d+"
_TABLE = r"Thread \d+:? (?P<phase>(?:dumping (?:data|schema) for|restoring) \S+)"
_NOISE = r"\*\* (?:Message|\(\w+:\d+\): \w+)\b.*Thread \d+"


class Mydumper(Tool):
    name = "mydumper"
    reads = "the table that is being dumped or loaded, as phase"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not call.is_blind and call.value("-v", "--verbose") != "3":
            return Missing("--verbose=3")
        return PatternReader([_TABLES, _TABLE], noise=_NOISE)

    def repository(self, call: Call) -> str | None:
        return call.value("-o", "--outputdir") if call.tool == "mydumper" else None


TOOL = Mydumper()
