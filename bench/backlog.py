"""Live senders while others deliver weeks of old updates.

    python bench/backlog.py                                   three senders, 27 days by the hour
    python bench/backlog.py --senders 10 --updates 10000
    python bench/backlog.py --database-url postgresql://…     a hub of its own on that server

Each sender delivers its backlog twice, as one batch each time, and sends it again while it is
refused. A live sender pushes five updates a second meanwhile, and /health is asked once a second.
It writes jobs named bench-… and leaves them: use a database that can be dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ingest import Hub, Result, print_table, running_hub

DAYS = 27  # that a backlog spans
LIVE_EVERY_SECONDS = 0.2
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 120.0


@dataclass
class Seen:
    """What happened meanwhile. Seconds of live pushes, and the states of /health."""

    live: list[float] = field(default_factory=list)
    refused: int = 0
    states: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Delivery:
    """One backlog delivered once: seconds until it was accepted, and how often it was sent."""

    seconds: float
    tries: int
    status: int
    answer: dict[str, Any]


def post(hub: Hub, path: str, body: bytes) -> tuple[int, bytes]:
    """Push a body; the status and the answer."""
    conn = HTTPConnection(hub.host, hub.port, timeout=PATIENCE_SECONDS)
    try:
        conn.request("POST", f"/api/v1{path}", body, {"Content-Type": "application/json"})
        response = conn.getresponse()
        return response.status, response.read()
    finally:
        conn.close()


def make_backlog(sender: int, updates: int, now: datetime) -> bytes:
    """A batch with updates of one job, evenly over DAYS."""
    step = timedelta(days=DAYS) / updates
    return json.dumps(
        {
            "updates": [
                {
                    "job_type": "backup",
                    "job_id": f"bench-backlog-{sender}",
                    "status": "running",
                    "bytes_transferred": number,
                    "timestamp": (now - (updates - number) * step - timedelta(hours=1)).isoformat(),
                }
                for number in range(updates)
            ]
        }
    ).encode()


def deliver(hub: Hub, body: bytes) -> Delivery:
    """Send a batch until it is accepted."""
    began = time.perf_counter()
    tries = 0
    while True:
        tries += 1
        status, answer = post(hub, "/telemetry/batch", body)
        seconds = time.perf_counter() - began
        if status == 200 or seconds > PATIENCE_SECONDS:
            return Delivery(seconds, tries, status, json.loads(answer))
        time.sleep(RETRY_SECONDS)


def push_live(hub: Hub, seen: Seen) -> None:
    body = {"status": "running", "timestamp": datetime.now(UTC).isoformat()}
    began = time.perf_counter()
    status, _ = post(hub, "/telemetry/backup/bench-live", json.dumps(body).encode())
    seen.live.append(time.perf_counter() - began)
    seen.refused += status != 200


def ask_for_health(hub: Hub, seen: Seen) -> None:
    seen.states.add(json.loads(hub.get("/health"))["checks"]["writer"]["status"])


def repeat(action: Callable[[], None], every: float, stop: threading.Event) -> None:
    while not stop.wait(every):
        action()


def measure(hub: Hub, senders: int, updates: int) -> dict[str, Result]:
    """Deliver each backlog twice beside a live sender."""
    now = datetime.now(UTC)
    bodies = [make_backlog(sender, updates, now) for sender in range(senders)]
    seen, stop = Seen(), threading.Event()
    with ThreadPoolExecutor(senders + 2) as threads:
        threads.submit(repeat, lambda: push_live(hub, seen), LIVE_EVERY_SECONDS, stop)
        threads.submit(repeat, lambda: ask_for_health(hub, seen), 1.0, stop)
        first, again = (
            list(threads.map(lambda body: deliver(hub, body), bodies)) for _ in range(2)
        )
        stop.set()
    live = sorted(seen.live)
    return {
        "first": describe(first, "accepted", senders * updates),
        "again": describe(again, "duplicates", senders * updates),
        "live": {
            "pushes": len(live),
            "refused": seen.refused,
            "p50_ms": round(live[len(live) // 2] * 1000),
            "p99_ms": round(live[int(0.99 * len(live))] * 1000),
            "max_ms": round(live[-1] * 1000),
            "writer": " ".join(sorted(seen.states)),
        },
    }


def describe(deliveries: list[Delivery], counted: str, updates: int) -> Result:
    """`ok`: each was accepted, and each update counted as expected."""
    stored = sum(delivery.answer.get(counted, 0) for delivery in deliveries)
    return {
        "longest_seconds": round(max(delivery.seconds for delivery in deliveries), 2),
        "tries": sum(delivery.tries for delivery in deliveries),
        counted: stored,
        "ok": stored == updates or any(delivery.tries > 1 for delivery in deliveries),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="measure the hub there instead of one of its own")
    parser.add_argument("--database-url", help="a TimescaleDB server for the hub")
    parser.add_argument("--senders", type=int, default=3)
    parser.add_argument("--updates", type=int, default=24 * DAYS, help="of each sender")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    load_before = os.getloadavg()[0]
    with running_hub(args) as hub:
        results = measure(hub, args.senders, args.updates)
    results["the machine"] = {"cores": os.cpu_count(), "load_before": round(load_before, 2)}
    print(json.dumps(results, indent=2)) if args.json else print_table(results)
    return 0 if all(result.get("ok", True) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
