"""mariabackup, xtrabackup: which file, on stderr. Bytes are not reported.

https://mariadb.com/kb/en/mariabackup-overview/
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_TIME = r"^\[\d+\] [-\d]+ [\d:]+ +"
_FILE = _TIME + r"(?P<phase>(?:Copying|Streaming|Compressing|Encrypting)\b.*?)(?: to |$)"
_STEP = _TIME + r"(?P<phase>(?:Finished|Starting|Executing|Waiting|completed)\b.*)"
_NOISE = rf"\.\.\.done$|>> log scanned up to|{_TIME}[A-Z]\w+ing\b"


class Mariabackup(Tool):
    name = "mariabackup"
    reads = "the file that is being copied, as phase"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not (call.is_blind or call.has("--backup") or call.has("--copy-back")):
            return None
        return PatternReader([_FILE, _STEP], streams=("stderr",), noise=_NOISE)

    def repository(self, call: Call) -> str | None:
        return call.value("--target-dir")


TOOL = Mariabackup()
