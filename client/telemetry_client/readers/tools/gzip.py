"""gzip, pigz: exit codes only. https://www.gnu.org/software/gzip/manual/gzip.html"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, warning
from telemetry_client.readers.call import Call
from telemetry_client.readers.tool import Tool


class Gzip(Tool):
    name = "gzip"
    reads = "nothing"

    def exits(self, call: Call) -> Exits:
        return {2: warning("warnings, see its messages")} if call.tool == "gzip" else {}


TOOL = Gzip()
