"""pgBackRest: log lines on stdout with --log-level-console=detail, also from its configuration.

https://pgbackrest.org/command.html#command-backup
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_FILE = (
    r"P\d+ +(?:INFO|DETAIL): (?P<phase>backup|restore) file .*\((?:[^()]*, )?"
    r"(?P<percent>\d+(?:\.\d+)?)%\)"
)
_END = r"INFO: (?:full|diff|incr) backup size = (?P<done>[\d.]+[KMGT]?B)"
_READABLE = frozenset(("detail", "debug", "trace"))


class Pgbackrest(Tool):
    name = "pgbackrest"
    reads = "backup, restore: percent; bytes at the end"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not (call.is_blind or {"backup", "restore"} & set(call.given)):
            return None
        level = call.value("--log-level-console")
        level = level or call.environ.get("PGBACKREST_LOG_LEVEL_CONSOLE")
        if level is not None and level.lower() not in _READABLE:
            return Missing("--log-level-console=detail")
        return PatternReader([_FILE, _END], base=1024)

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run")


TOOL = Pgbackrest()
