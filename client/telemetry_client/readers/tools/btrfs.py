"""btrfs send: reports no progress. What it is piped into may."""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.tool import Missing, Tool


class Btrfs(Tool):
    name = "btrfs"
    reads = "nothing: read the pv -n -b or the mbuffer that it is piped into"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind or call.command() not in ("send", "receive"):
            return None
        return Missing("a pipe through pv -n -b or mbuffer, and telemetry exec in front of that,")


TOOL = Btrfs()
