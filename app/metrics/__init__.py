"""The metrics of GET /metrics: here what web workers count, in `state` what the database says.

With several web workers `serve` names a folder in their environment (`metrics_folder`), and
prometheus_client keeps their values in files there. Any worker answers with those of all, and what
a worker counted stays when it ends.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.config import metrics_folder
from app.metrics.text import Family, format_families

SAMPLE_SECONDS = 1.0  # how old a gauge of another worker may be
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_END = b"# EOF\n"
# As many series again, which few databases use.
disable_created_metrics()  # type: ignore[no-untyped-call]
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
PROCESS_CPU = Counter(
    "process_cpu_seconds_total",
    "CPU time of the web workers.",
    registry=REGISTRY,
)
PROCESS_GAUGES = {
    name: Gauge(name, meaning, multiprocess_mode="livesum", registry=REGISTRY)
    for name, meaning in (
        ("process_resident_memory_bytes", "Resident memory of the web workers."),
        ("process_virtual_memory_bytes", "Virtual memory of the web workers."),
        ("process_open_fds", "Open file descriptors of the web workers."),
        ("process_max_fds", "File descriptors that the web workers may open."),
    )
} | {
    "process_start_time_seconds": Gauge(
        "process_start_time_seconds",
        "When the newest web worker started.",
        multiprocess_mode="livemax",
        registry=REGISTRY,
    )
}


class _Process:
    """Samples this process into what is added up over all workers. Thread-safe.

    prometheus_client's own collector would give those of whichever worker answers.
    """

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._lock = threading.Lock()
        self._cpu_seconds = 0.0

    def sample(self) -> None:
        with self._lock:
            for family in self._collector.collect():
                value = family.samples[0].value
                if family.name == "process_cpu_seconds":
                    PROCESS_CPU.inc(value - self._cpu_seconds)
                    self._cpu_seconds = value
                else:
                    PROCESS_GAUGES[family.name].set(value)


_process = _Process()
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
    """Set the gauges of this process: before it answers, and now and then for the other workers.

    Thread-safe.
    """
    for gauge, read in _watched.items():
        gauge.set(read())
    _process.sample()


def expose(accepted: str, state: Iterable[Family]) -> tuple[bytes, str]:
    """What all web workers count, then `state`; and the Content-Type.

    The text format of Prometheus, or OpenMetrics if an Accept header names it.
    """
    sample()
    encode, content_type = choose_encoder(accepted)
    counted, is_openmetrics = encode(_of_all_workers()), content_type.startswith(OPENMETRICS)
    text = format_families(state, is_openmetrics=is_openmetrics).encode()
    if is_openmetrics:
        return counted.removesuffix(OPENMETRICS_END) + text + OPENMETRICS_END, content_type
    return counted + text, content_type


def _of_all_workers() -> CollectorRegistry:
    folder = metrics_folder()
    if folder is None:
        return REGISTRY
    _forget_gauges_of_dead(folder)
    of_all = CollectorRegistry()
    MultiProcessCollector(of_all, folder)  # type: ignore[no-untyped-call]  # has no types
    return of_all


def _forget_gauges_of_dead(folder: str) -> None:
    for name in os.listdir(folder):
        if found := _GAUGE_FILE.fullmatch(name):
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                mark_process_dead(int(found[1]), folder)  # type: ignore[no-untyped-call]
