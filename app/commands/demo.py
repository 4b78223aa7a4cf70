"""`python -m app demo`: simulated senders, so that a new user sees charts within a minute.

It pushes a day of history and then live data until it is stopped. It uses HTTP and the standard
library only, as any sender could. `app.commands.simulation` generates the data, and
`app.commands.troubles` what needs attention.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from app.clock import isoformat, utc_now
from app.commands import troubles
from app.commands.simulation import (
    HISTORY,
    NODES,
    PUSH_SECONDS,
    SNAPSHOT_SECONDS,
    Body,
    Push,
    Senders,
    SimulatedJob,
    plan_history,
    snapshots,
    updates,
)
from app.commands.troubles import FULL_NODE, TroubledJob, TroubledSenders
from app.config import Config

PREFIX = "/api/v1"
BATCH = 1_000  # updates or snapshots per request of the history
LARGEST_BACKLOG = 10_000  # pushes kept while the hub is away
TRIES = 20  # of one batch, at the rate that the hub asks for


class _HubAway(Exception):
    """The hub could not be reached, or refused the request for now."""

    def __init__(self, reason: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class _HubClient:
    """One keep-alive connection to the hub."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _HubAway("the address must be like http://127.0.0.1:8082")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._conn = kind(parts.hostname, parts.port, timeout=15)
        self._base = parts.path.rstrip("/") + PREFIX
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> int:
        """The status of the answer. Raises _HubAway if there is none."""
        return self._request("GET", path)[0]

    def post(self, path: str, body: Any, *, is_packed: bool = False) -> tuple[int, Any]:
        """Status and JSON of the answer. Raises _HubAway if there is none, or for a 503."""
        data = json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        if is_packed:
            data, headers["Content-Encoding"] = gzip.compress(data, 5), "gzip"
        return self._request("POST", path, data, headers)

    def _request(
        self, method: str, path: str, data: bytes | None = None, headers: Body | None = None
    ) -> tuple[int, Any]:
        try:
            all_headers = {**self._headers, **(headers or {})}
            self._conn.request(method, self._base + path, data, all_headers)
            answer = self._conn.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self._conn.close()  # the next request connects again
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise _HubAway(reason.lower()) from exc
        if answer.status == 503 and method == "POST":
            pause = answer.headers.get("Retry-After", "1")
            raise _HubAway(
                "it does not accept updates now", float(pause) if pause.isdigit() else 1.0
            )
        is_json = "json" in (answer.headers.get_content_type() or "")
        return answer.status, json.loads(text) if is_json else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--url", help="address of the hub (default: from HUB_HOST and HUB_PORT)")
    parser.add_argument("--token", help="token of scope ingest, if the hub requires one")
    parser.add_argument(
        "--minutes", type=float, help="stop after this many minutes (0: push only the history)"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="make live jobs X times shorter (default: 1)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the random data (default: 1)")


def run(config: Config, args: argparse.Namespace) -> int:
    """Push a day of history, then live data until Ctrl-C or `--minutes`. 1 if no hub answers."""
    if args.speed <= 0:
        print("demo: --speed must be greater than 0.", file=sys.stderr)
        return 1
    url = args.url or config.url
    try:
        client = _HubClient(url, args.token)
        client.get("/health")
        now = utc_now().replace(microsecond=0)
        senders = Senders(args.seed, now, args.speed)
        troubled = TroubledSenders(now)
        nodes = {node_id: snapshots(node_id, args.seed) for node_id in NODES}
        nodes[FULL_NODE] = troubles.full_node(args.seed)
        _backfill(client, senders, troubled, nodes, args.seed, now)
        _print_addresses(url.rstrip("/") + PREFIX, senders.jobs)
    except _HubAway as exc:
        print(f"demo: No hub answers at {url} ({exc}). Start one with `make run`.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    seconds = None if args.minutes is None else args.minutes * 60
    _LiveSenders(client, senders, troubled, nodes).run(seconds)
    return 0


def _backfill(
    client: _HubClient,
    senders: Senders,
    troubled: TroubledSenders,
    nodes: dict[str, Iterator[Body]],
    seed: int,
    now: datetime,
) -> None:
    """Push a day of history, and the nights of troubled machines, in the order of time, so that a
    batch covers few hours.
    """
    began = time.monotonic()
    past: list[tuple[datetime, SimulatedJob | TroubledJob, Body]] = [
        *_past_updates(plan_history(seed, now), seed),
        *senders.past(now),
        *troubles.past(now),
        *troubled.past(),
    ]
    items = [
        {"job_id": job.job_id, "job_type": job.job_type, "timestamp": isoformat(at), **body}
        for at, job, body in sorted(past, key=lambda entry: entry[0])
    ]
    for batch in _chunks(items):
        _push_batch(client, "/telemetry/batch", {"updates": batch})
    count = HISTORY // timedelta(seconds=SNAPSHOT_SECONDS)
    times = [now - timedelta(seconds=SNAPSHOT_SECONDS * (count - i)) for i in range(count)]
    health = [{**next(node), "timestamp": isoformat(at)} for at in times for node in nodes.values()]
    health.append(troubles.gone_node(seed, now))
    for batch in _chunks(health):
        _push_batch(client, "/telemetry/snapshot", {"snapshots": batch})
    print(
        f"Pushed {len(items)} updates of {len({item['job_id'] for item in items})} jobs and "
        f"{len(health)} snapshots of {len(nodes)} nodes in {time.monotonic() - began:.1f} s."
    )


def _past_updates(
    jobs: Iterable[SimulatedJob], seed: int
) -> Iterator[tuple[datetime, SimulatedJob, Body]]:
    for job in jobs:
        for step, body in enumerate(updates(job, seed)):
            yield job.started_at + timedelta(seconds=step * PUSH_SECONDS), job, body


def _chunks(items: list[Body]) -> Iterator[list[Body]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _push_batch(client: _HubClient, path: str, body: Body) -> None:
    """Push until it is accepted, at the rate that the hub asks for. Raises _HubAway."""
    for tries_left in reversed(range(TRIES)):
        try:
            status, answer = client.post(path, body, is_packed=True)
        except _HubAway as exc:
            if not tries_left:
                raise
            time.sleep(exc.retry_after_seconds)
            continue
        if status != 200 or answer["rejected"]:
            raise _HubAway(f"it refused the history: {status} {str(answer)[:200]}")
        return


def _print_addresses(base: str, jobs: list[SimulatedJob]) -> None:
    running, completed, failed = jobs[0].job_id, jobs[1].job_id, jobs[2].job_id
    print("\nOpen these in a browser or with curl:")
    for meaning, path in (
        ("API documentation", "/docs"),
        ("the hub's health", "/health"),
        ("jobs, newest first", "/jobs?limit=10"),
        ("jobs by status", "/jobs/summary"),
        ("machines", "/machines"),
        ("what needs attention", "/attention"),
        ("series of runs", "/series"),
        ("a running job", f"/jobs/{running}"),
        ("its chart", f"/telemetry/history/{running}?points=60"),
        ("a chart as CSV", f"/telemetry/history/{completed}?format=csv"),
        ("a job that will fail", f"/jobs/{failed}/events"),
        ("nodes", "/nodes"),
        ("a node's chart", f"/nodes/{NODES[0]}/history?metrics=cpu_percent&points=60"),
        ("the hub's metrics", "/metrics"),
    ):
        print(f"  {meaning:<24} {base}{path}")
    print(
        "\nA silent run is noticed after a minute, a node that is gone after three, "
        "a hung run after 15."
        "\nPushing live data every 5 seconds; stop with Ctrl-C.",
        flush=True,
    )


class _LiveSenders:
    """Pushes live data. What the hub does not accept now is kept and sent later, in order."""

    def __init__(
        self,
        client: _HubClient,
        senders: Senders,
        troubled: TroubledSenders,
        nodes: dict[str, Iterator[Body]],
    ) -> None:
        self._client = client
        self._senders = senders
        self._troubled = troubled
        self._nodes = nodes
        self._backlog: deque[Push] = deque(maxlen=LARGEST_BACKLOG)
        self._sent_count = self._refused_count = 0
        self._trouble = ""

    def run(self, seconds: float | None) -> None:
        """Push every PUSH_SECONDS, for this many seconds or until Ctrl-C.

        Shows the state in one line: rewritten on a terminal, else printed once a minute.
        """
        began = time.monotonic()
        tick = 0
        try:
            while True:
                due = began + tick * PUSH_SECONDS
                if seconds is not None and due - began >= seconds:
                    break
                time.sleep(max(0.0, due - time.monotonic()))
                self._tick(tick)
                if sys.stdout.isatty():
                    print(f"\r{self._status(tick):<100}", end="", flush=True)
                elif tick % (60 // PUSH_SECONDS) == 0:
                    print(self._status(tick), flush=True)
                tick += 1
        except KeyboardInterrupt:
            pass
        print(f"\r{self._status(tick):<100}" if sys.stdout.isatty() else self._status(tick))
        print("Stopped. The hub will mark the running jobs stalled, then failed.")

    def _tick(self, tick: int) -> None:
        now = utc_now()
        self._backlog.extend(self._senders.tick(now))
        self._backlog.extend(self._troubled.tick(now))
        if tick % (SNAPSHOT_SECONDS // PUSH_SECONDS) == 0:
            stamp = {"timestamp": isoformat(now)}
            self._backlog.extend(
                ("/telemetry/snapshot", {**next(node), **stamp}) for node in self._nodes.values()
            )
        self._trouble = ""
        try:
            while self._backlog:
                status, _ = self._client.post(*self._backlog[0])
                self._backlog.popleft()
                self._sent_count += status < 300
                self._refused_count += status >= 300
        except _HubAway as exc:
            self._trouble = f", hub not available ({exc}): {len(self._backlog)} pushes kept"

    def _status(self, tick: int) -> str:
        minutes, seconds = divmod(tick * PUSH_SECONDS, 60)
        refused = f", {self._refused_count} refused" if self._refused_count else ""
        return (
            f"{minutes:02}:{seconds:02}  {self._senders.running_count} jobs running, "
            f"{self._senders.quiet_count} silent, {self._sent_count} pushes{refused}"
            f"{self._trouble}"
        )
