"""`python -m telemetry_client.agent.selftest`: checks that the installation works.

It uses a real queue in a temporary folder and a server of its own. The hub and the queue of a
running agent are not used.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

Check = Callable[[Path], None]

MODULES = (
    "psutil",
    "websockets",
    "telemetry_client.queue",
    "telemetry_client.tracker",
    "telemetry_client.wire.poster",
    "telemetry_client.agent.collector",
    "telemetry_client.agent.stream",
    "telemetry_client.agent.daemon",
)


def main() -> int:
    """Run all checks, by section; returns 1 if one fails."""
    failed = 0
    for section, checks in SECTIONS.items():
        print(f"\n=== {section} ===")
        for check in checks:
            with tempfile.TemporaryDirectory(prefix="telemetry-selftest-") as folder:
                failed += not _passes(check, Path(folder))
    print(f"\n{failed} FAILED" if failed else "\nAll tests passed!")
    return min(failed, 1)


def _passes(check: Check, folder: Path) -> bool:
    try:
        check(folder)
    except Exception:
        print(f"FAILED  {check.__doc__}")
        traceback.print_exc(file=sys.stdout)
        return False
    print(f"ok      {check.__doc__}")
    return True


def expect(actual: object, wanted: object) -> None:
    """Raise unless they are equal; works under `python -O` as well."""
    if actual != wanted:
        raise AssertionError(f"{actual!r} is not {wanted!r}")


def modules_can_be_imported(folder: Path) -> None:
    """every module can be imported"""
    for name in MODULES:
        import_module(name)


def first_id_is_one(folder: Path) -> None:
    """the first entry has the id 1 and is removed by mark_sent"""
    from telemetry_client.queue import TelemetryQueue

    with TelemetryQueue(folder / "queue.db") as queue:
        expect(queue.enqueue({"node_id": "a"}), 1)
        expect(queue.get_queue_size(), 1)
        expect([entry.payload for entry in queue.dequeue()], [{"node_id": "a"}])
        queue.mark_sent(1)
        expect(queue.get_queue_size(), 0)


def oldest_comes_first(folder: Path) -> None:
    """entries come back in order, after a restart as well"""
    from telemetry_client.queue import TelemetryQueue

    with TelemetryQueue(folder / "queue.db") as queue:
        for number in range(3):
            queue.enqueue({"node_id": f"node-{number}"})
    with TelemetryQueue(folder / "queue.db") as queue:
        entries = queue.dequeue(limit=2)
        expect([entry.payload["node_id"] for entry in entries], ["node-0", "node-1"])


def failing_entries_end_as_dead_letters(folder: Path) -> None:
    """an entry that fails too often becomes a dead letter with its reason"""
    from telemetry_client.queue import TelemetryQueue

    with TelemetryQueue(folder / "queue.db") as queue:
        queue.enqueue({"node_id": "a"})
        (entry,) = queue.dequeue()
        queue.mark_failed(entry.id, max_retries=1, reason="hub failed")
        expect(["hub failed" in letter.reason for letter in queue.dead_letters()], [True])
        expect(queue.get_stats()["dead"], 1)


def snapshots_are_posted(folder: Path) -> None:
    """a snapshot is posted, with the token"""
    from telemetry_client.wire.poster import TelemetryPoster

    with _hub() as hub, TelemetryPoster(hub.url, jwt_token="secret") as poster:
        expect(poster.post_snapshot({"node_id": "a"}), (True, None))
        expect(hub.snapshots, [{"node_id": "a"}])
        expect(hub.tokens, {"Bearer secret"})


def an_unreachable_hub_is_reported(folder: Path) -> None:
    """a hub that cannot be reached is a connection_error"""
    from telemetry_client.wire.poster import TelemetryPoster

    with TelemetryPoster(f"http://127.0.0.1:{_free_port()}", timeout=2) as poster:
        expect(poster.post_snapshot({"node_id": "a"}), (False, "connection_error"))


def this_machine_reaches_the_hub(folder: Path) -> None:
    """a snapshot of this machine is measured, queued, posted and acknowledged"""
    from telemetry_client.agent.collector import Collector
    from telemetry_client.agent.transform import to_snapshot
    from telemetry_client.queue import TelemetryQueue
    from telemetry_client.queue.drain import Drain
    from telemetry_client.wire.client import TelemetryClient

    collector = Collector("selftest")
    collector.prime()
    time.sleep(0.2)
    snapshot = to_snapshot(collector.collect())
    with (
        _hub() as hub,
        TelemetryQueue(folder / "queue.db") as queue,
        TelemetryClient(hub.url) as client,
    ):
        queue.enqueue(snapshot)
        _empty(Drain(queue, client), queue)
        expect(hub.snapshots, [snapshot])


def an_outage_loses_nothing(folder: Path) -> None:
    """while the hub cannot be reached the queue keeps its entries, and uses no try"""
    from telemetry_client.queue import TelemetryQueue
    from telemetry_client.queue.drain import Drain
    from telemetry_client.wire.client import TelemetryClient

    port = _free_port()
    with (
        TelemetryQueue(folder / "queue.db") as queue,
        TelemetryClient(f"http://127.0.0.1:{port}") as client,
    ):
        for number in range(3):
            queue.enqueue({"node_id": "a", "process_count": number})
        drain = Drain(queue, client, probe_seconds=0.1)
        drain.step()
        expect(queue.get_queue_size(), 3)
        with _hub(port) as hub:
            _empty(drain, queue)
            expect([snapshot["process_count"] for snapshot in hub.snapshots], [0, 1, 2])
        expect(queue.get_stats()["dead"], 0)


SECTIONS: dict[str, tuple[Check, ...]] = {
    "Imports": (modules_can_be_imported,),
    "TelemetryQueue": (first_id_is_one, oldest_comes_first, failing_entries_end_as_dead_letters),
    "TelemetryPoster": (snapshots_are_posted, an_unreachable_hub_is_reported),
    "Integration": (this_machine_reaches_the_hub, an_outage_loses_nothing),
}


def _empty(drain: Any, queue: Any) -> None:
    deadline = time.monotonic() + 10
    while queue.get_queue_size():
        if time.monotonic() > deadline:
            raise AssertionError(f"{queue.get_queue_size()} entries were not sent within 10 s")
        time.sleep(min(drain.step() or 0.0, 0.5))


class _Hub(ThreadingHTTPServer):
    """Accepts every snapshot as the hub does."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.snapshots: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, _Hub)
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            data = import_module("gzip").decompress(data)
        body = json.loads(data)
        snapshots = body.get("snapshots", [body])
        self.server.snapshots += snapshots
        self.server.tokens.add(self.headers.get("Authorization"))
        answer = {"accepted": len(snapshots), "duplicates": 0, "rejected": []}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def _hub(port: int = 0) -> Iterator[_Hub]:
    with _Hub(port) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    logging.disable()  # the checks print what matters
    raise SystemExit(main())
