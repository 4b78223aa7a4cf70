"""pg_dump, pg_dumpall, pg_restore -v: which table, on stderr. Bytes are not reported.

https://www.postgresql.org/docs/current/app-pgdump.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_TABLE = r"^pg_\w+: (?P<phase>(?:dumping contents of|processing data for) table .+)"
_STEP = r"^pg_\w+: (?P<phase>reading|saving|creating|dumping|executing|connecting)\b"
_NOISE = r"^pg_\w+: (?:last built-in|identifying|finding|flagging|dropping|entering|implied)\b"


class PgDump(Tool):
    name = "pg_dump"
    valued = tuple(f"-{letter}" for letter in "dEfFhIjLnNpPStTUZ")
    reads = "the table that is being dumped or restored, as phase"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not (call.is_blind or call.has("--verbose", "v")):
            return Missing("--verbose")
        return PatternReader([_TABLE, _STEP], streams=("stderr",), noise=_NOISE)

    def repository(self, call: Call) -> str | None:
        return call.value("-f", "--file") if call.tool != "pg_restore" else None


TOOL = PgDump()
