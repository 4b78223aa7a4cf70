"""The hub's own metrics, for GET /metrics. Each web process has its own."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

UPDATES = Counter(
    "hub_updates_total",
    "Updates and snapshots by result, in this process.",
    ["result"],
    registry=REGISTRY,
)
LOST = Counter(
    "hub_sender_lost_updates_total",
    "Updates that senders report as dropped, in this process.",
    registry=REGISTRY,
)
REFUSED = Counter(
    "hub_refused_total",
    "Requests refused before anything was stored, in this process.",
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
    "hub_waiting_pushes", "Pushes that wait for their commit.", registry=REGISTRY
)
QUEUED = Gauge(
    "hub_queue_updates", "Updates that wait to be stored in this process.", registry=REGISTRY
)
REQUESTS = Counter(
    "hub_http_requests_total",
    "Requests answered by this process.",
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
