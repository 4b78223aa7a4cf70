"""proxmox-backup-client backup: lines about each archive, and one a minute, on stderr.

https://pbs.proxmox.com/docs/backup-client.html; pbs-client/src/backup_writer.rs of its source
"""

from __future__ import annotations

from telemetry_client.readers.base import Reader
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_RUNNING = r"\bprocessed (?P<done>[\d.]+ [KMGTP]?i?B) in .*, uploaded "
_ARCHIVE = r"had to backup [\d.]+ [KMGTP]?i?B of (?P<done>[\d.]+ [KMGTP]?i?B) "
_START = r"^(?:Starting (?P<phase>backup)|Upload directory)"


class ProxmoxBackupClient(Tool):
    name = "proxmox-backup-client"
    valued = ("--repository", "--ns")
    reads = "backup: bytes that were read, of one archive after the other"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not (call.is_blind or call.command() == "backup"):
            return None
        return PatternReader([_RUNNING, _ARCHIVE, _START], base=1024)

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dry-run")

    def repository(self, call: Call) -> str | None:
        return call.value("--repository") or call.environ.get("PBS_REPOSITORY")


TOOL = ProxmoxBackupClient()
