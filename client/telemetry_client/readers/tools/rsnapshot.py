"""rsnapshot: exit codes only. https://rsnapshot.org/rsnapshot/docs/docbook/rest.html"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, warning
from telemetry_client.readers.call import Call
from telemetry_client.readers.tool import Tool


class Rsnapshot(Tool):
    name = "rsnapshot"
    reads = "nothing"

    def exits(self, call: Call) -> Exits:
        return {2: warning("warnings, see its log")}


TOOL = Rsnapshot()
