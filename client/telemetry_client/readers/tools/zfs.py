"""zfs send -v or -P: a line a second on stderr, with what was sent of the current snapshot.

https://openzfs.github.io/openzfs-docs/man/master/8/zfs-send.8.html
"""

from __future__ import annotations

import re
from dataclasses import replace

from telemetry_client.readers.base import Reader, Stream, count_of
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import size_in
from telemetry_client.readers.tool import Missing, Tool

# `15:15:40 294320456 pool/fs@snap`, `15:15:40   1.23M   pool/fs@snap`
_SENT = re.compile(r"\d\d:\d\d:\d\d\s+([\d.]+[KMGTPE]?)B?\s+(\S+@\S+)$", re.ASCII)
_TOTAL = re.compile(r"(?:size|total estimated size is)\s+([\d.]+[KMGTPE]?)B?$", re.ASCII)
_NOISE = re.compile(r"(?:full|incremental|TIME)\s|.* estimated size is ")


class Zfs(Tool):
    name = "zfs"
    valued = tuple("-i -I -t -X -o -x".split())
    reads = "send: bytes and the total that it has estimated"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.is_blind:
            return ZfsSendReader()
        if call.command() != "send":
            return None
        if not call.has("--verbose", "v"):
            return Missing("-v, and -P for exact numbers")
        return ZfsSendReader()

    def is_dry_run(self, call: Call) -> bool:
        return call.command() == "send" and call.has("--dryrun", "n")


TOOL = Zfs()


class ZfsSendReader(Reader):
    """The total is that of all snapshots, while the bytes are counted for each."""

    def __init__(self) -> None:
        super().__init__()
        self._snapshot = ""
        self._sent = 0  # of this snapshot
        self._before = 0  # of those before it
        self._total: int | None = None

    def take(self, line: str, stream: Stream) -> None:
        if match := _SENT.match(line):
            self._take_sent(size_in(match[1], 1024) or 0, match[2])
        elif match := _TOTAL.match(line):
            self._total = size_in(match[1], 1024)
        elif not _NOISE.match(line):
            super().take(line, stream)

    def _take_sent(self, sent: int, snapshot: str) -> None:
        if snapshot != self._snapshot:
            self._before += self._sent
            self._snapshot = snapshot
        self._sent = sent
        self.progress = replace(
            self.progress,
            bytes_transferred=count_of(self._before + sent),
            total_bytes=self._total,
            phase="transferring",
        )
