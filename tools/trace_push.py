"""What one ordinary push costs the hub itself: calls, changes of file, CPU. `make trace-push`.

The push is a real ASGI request into a real server. Only the database is left out: the writer
acknowledges each update at once, as no part of storing it is measured here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.api.factory import build_app
from app.clock import isoformat, to_micros, utc_now
from app.config import ROOT, Config
from app.domain.updates import Update
from app.hub import Hub
from app.ingest.transaction import Receipt
from app.ingest.writer import Writer
from app.server.asgi import Server

UPDATE = {
    "status": "running",
    "timestamp": isoformat(utc_now()),
    "current_phase": "transferring",
    "bytes_transferred": 5_368_709_120,
    "total_bytes": 10_737_418_240,
    "transfer_speed_bps": 104_857_600,
    "eta_seconds": 51,
    "progress_percent": 50.0,
    "disks": [
        {"disk_index": index, "status": "transferring", "bytes_transferred": 2_684_354_560}
        for index in range(2)
    ],
}
BODY = orjson.dumps(UPDATE)
HEADERS = [
    (b"host", b"localhost:8082"),
    (b"user-agent", b"telemetry-client/0.1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
]
TOGETHER = 50  # pushes that wait for the same commit, as under load
ROUNDS = 15
PATH = "/api/v1/telemetry/backup/nightly-vm-17"


def acknowledge(self: Writer, items: Sequence[Update]) -> list[Receipt]:
    """Instead of the transaction of `Writer`: as if it had committed."""
    now = to_micros(utc_now())
    return [
        Receipt(
            status=item.status,
            is_duplicate=False,
            is_applied=True,
            reason=None,
            time=now,
            received_at=now,
        )
        for item in items
    ]


def make_scope() -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": HEADERS,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8082),
    }


async def push(server: Server) -> int:
    """One push; the status of its answer."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await server(make_scope(), receive, send)
    return statuses[0]


class Trace:
    """Counts the calls of this project's functions in the present thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(f"{ROOT}/app/"):
            self.calls.append((file.removeprefix(f"{ROOT}/"), frame.f_code.co_qualname))

    def print(self, *, each: bool) -> None:
        files = [file for file, _ in self.calls]
        changes = sum(before != after for before, after in pairwise(files))
        print(
            f"calls {len(self.calls)}, functions {len(set(self.calls))}, "
            f"files {len(set(files))}, changes of file {changes}"
        )
        for file, name in self.calls if each else []:
            print(f"  {file:<28} {name}")


async def measure(server: Server, pushes: int, *, each: bool) -> None:
    for _ in range(200):  # caches are filled, as in any hub that runs
        assert await push(server) == 200
    trace = Trace()
    sys.setprofile(trace)
    await push(server)
    sys.setprofile(None)
    trace.print(each=each)
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(pushes // TOGETHER):
            await asyncio.gather(*(push(server) for _ in range(TOGETHER)))
        rounds.append((time.thread_time() - began) / pushes * 1e6)
    print(f"CPU of the event loop: {min(rounds):.1f} µs a push (best of {len(rounds)} rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=2_000, help="in each round")
    parser.add_argument("--each", action="store_true", help="list every call")
    args = parser.parse_args()
    Writer._transaction = acknowledge  # type: ignore[method-assign,assignment]
    logging.disable(logging.WARNING)
    hub = Hub.start(Config(database_url="postgresql://127.0.0.1:9/none"))  # never reached
    server = Server(hub, build_app(hub))
    uvloop.run(measure(server, args.pushes, each=args.each))
    os._exit(0)  # the threads of a hub without a database


if __name__ == "__main__":
    main()
