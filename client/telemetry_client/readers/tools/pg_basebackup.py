"""pg_basebackup -P: one line on stderr that overwrites itself.

https://www.postgresql.org/docs/current/app-pgbasebackup.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = r"^(?P<done>\d+)/(?P<total>\d+) kB \(\d+%\)"
_WITHOUT_TOTAL = r"^(?P<done>\d+)/\d+ kB \(\d+%\)"


class PgBasebackup(Tool):
    name = "pg_basebackup"
    valued = tuple(f"-{letter}" for letter in "cdDFhlprsStTUXZ")
    reads = "bytes and the total that it has estimated"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not (call.is_blind or call.has("--progress", "P")):
            return Missing("-P")
        # Without an estimate, what is done is also printed as the total.
        line = _WITHOUT_TOTAL if call.has("--no-estimate-size") else _LINE
        return PatternReader([line], scale=1024, streams=("stderr",))

    def repository(self, call: Call) -> str | None:
        return call.value("-D", "--pgdata")


TOOL = PgBasebackup()
