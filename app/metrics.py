"""The hub's own metrics, for GET /metrics.

With several web workers `serve` names a folder in their environment (`metrics_folder`), and
prometheus_client keeps their values in files there. Any worker answers with those of all, and what
a worker counted stays when it ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.config import metrics_folder

SAMPLE_SECONDS = 1.0  # how old a gauge of another worker may be
REGISTRY = CollectorRegistry()

UPDATES = Counter(
    "hub_updates_total",
    "Updates and snapshots by result.",
    ["result"],
    registry=REGISTRY,
)
LOST = Counter(
    "hub_sender_lost_updates_total",
    "Updates that senders report as dropped.",
    registry=REGISTRY,
)
REFUSED = Counter(
    "hub_refused_total",
    "Requests refused before anything was stored.",
    ["reason"],
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "hub_commit_seconds",
    "Duration of one ingest transaction, from its first statement to its commit.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
COMMIT_UPDATES = Histogram(
    "hub_commit_updates",
    "Updates in one ingest transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    registry=REGISTRY,
)
WAITING_PUSHES = Gauge(
    "hub_waiting_pushes",
    "Pushes that wait for their commit.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
QUEUED = Gauge(
    "hub_queue_updates",
    "Updates that wait to be stored.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REQUESTS = Counter(
    "hub_http_requests_total",
    "Requests answered.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "hub_http_request_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)

_watched: dict[Gauge, Callable[[], float]] = {}
_GAUGE_FILE = re.compile(r"gauge_live[a-z]*_([0-9]+)\.db")

_ACCEPTED = UPDATES.labels("accepted")
_DUPLICATE = UPDATES.labels("duplicate")
_REJECTED = UPDATES.labels("rejected")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request. `route` is the rule; a path would have the job's id in it."""
    requests_total, request_seconds = _children(method, route, status)
    requests_total.inc()
    request_seconds.observe(seconds)


@lru_cache(maxsize=1024)  # looking a child up by its labels costs more than counting
def _children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return (
        REQUESTS.labels(method, route, str(status)),
        REQUEST_SECONDS.labels(method, route),
    )


def count_commit(accepted: int, duplicates: int, rejected: int, seconds: float) -> None:
    """Count one ingest transaction."""
    _ACCEPTED.inc(accepted)
    _DUPLICATE.inc(duplicates)
    _REJECTED.inc(rejected)
    COMMIT_SECONDS.observe(seconds)
    COMMIT_UPDATES.observe(accepted + duplicates + rejected)


def count_lost(count: int) -> None:
    """Count updates that senders have dropped and the hub has not received."""
    LOST.inc(count)


def count_rejected(count: int) -> None:
    """Count items of a batch that were refused before a transaction."""
    _REJECTED.inc(count)


def watch(gauge: Gauge, read: Callable[[], float]) -> None:
    """Have `sample` set a gauge."""
    _watched[gauge] = read


def sample() -> None:
    """Set the gauges of this process: before it answers, and now and then for the other workers."""
    for gauge, read in _watched.items():
        gauge.set(read())


def expose() -> bytes:
    """The metrics of all web workers, in the text format of Prometheus."""
    sample()
    folder = metrics_folder()
    if folder is None:
        return generate_latest(REGISTRY)
    _forget_gauges_of_dead(folder)
    of_all = CollectorRegistry()
    MultiProcessCollector(of_all, folder)  # type: ignore[no-untyped-call]  # has no types
    return generate_latest(of_all)


def _forget_gauges_of_dead(folder: str) -> None:
    for name in os.listdir(folder):
        if found := _GAUGE_FILE.fullmatch(name):
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                mark_process_dead(int(found[1]), folder)  # type: ignore[no-untyped-call]
