"""vzdump of Proxmox VE: log lines about one guest after the other.

https://pve.proxmox.com/pve-docs/vzdump.1.html; PVE/VZDump/QemuServer.pm of its source
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_GUEST = r"INFO: (?P<phase>(?:Starting|Finished) Backup of VM \d+)"
_SIZE = r"[\d.]+ [KMGTP]?i?B"
_NOW = rf"INFO: +\d+% \((?P<done>{_SIZE}) of (?P<total>{_SIZE})\) in "
_OLD = r"INFO: status: \d+% \((?P<done>\d+)/(?P<total>\d+)\)"  # before 6.3
_CONTAINER = r"INFO: Total bytes written: (?P<done>\d+)"
_NOISE = r"^INFO: "


class Vzdump(Tool):
    name = "vzdump"
    reads = "bytes and total of one guest after the other, whose number is the phase"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.has("--quiet"):
            return Missing("its log, not --quiet,")
        return PatternReader([_NOW, _OLD, _GUEST, _CONTAINER], base=1024, noise=_NOISE)

    def repository(self, call: Call) -> str | None:
        return call.value("--storage", "--dumpdir")


TOOL = Vzdump()
