"""Metrics of the database's state: jobs, items of attention, series, nodes, tasks.

They are facts of the database and not of a process, so every web worker has the same ones, and none
is added up over the workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from app import __version__
from app.background import FailureLog
from app.database.pool import Database
from app.errors import HubError
from app.metrics.text import Family, label_text
from app.store.metrics import HubState, SeriesSample, read_state
from app.store.tasks import TaskRun

logger = logging.getLogger("hub.metrics")

# Scrapes within this time share one read. Scrape intervals are longer, so that no counter is read
# from an older copy of another worker.
FRESH_SECONDS = 3.0
WAIT_SECONDS = 5.0  # for the read of another scrape; Prometheus gives up after 10 s
CONNECTION_SECONDS = 2.0


class StateMetrics:
    """Reads the state for scrapes, one read at a time, and keeps it for FRESH_SECONDS. Thread-safe.

    While the database does not answer there is only `hub_database_up`, which is 0.
    """

    def __init__(self, database: Database, limit: int) -> None:
        """`limit`: the most series, and the most nodes."""
        self._database = database
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: Sequence[Family] = ()
        self._kept_at = -FRESH_SECONDS
        self._log = FailureLog(
            logger,
            "the state of the database cannot be read for /metrics",
            "the state of the database can be read again",
        )

    def families(self) -> Sequence[Family]:
        """The families, at most FRESH_SECONDS old. Raises nothing."""
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            return list(describe(None))
        try:
            if time.monotonic() - self._kept_at >= FRESH_SECONDS:
                self._kept = list(describe(self._read()))
                self._kept_at = time.monotonic()
            return self._kept
        finally:
            self._lock.release()

    def _read(self) -> HubState | None:
        with self._log.attempt(HubError), self._database.reading(CONNECTION_SECONDS) as conn:
            return read_state(conn, self._limit)
        return None


def describe(state: HubState | None) -> Iterator[Family]:
    """The families of a state; None: the database does not answer."""
    yield _gauge(
        "hub_database_up",
        "Whether the database answers. If not, there are no metrics of its state.",
        [("", state is not None)],
    )
    if state is not None:
        yield from _of_hub(state)
        yield from _of_series(state.series)
        yield from _of_tasks(state.tasks)


def _of_hub(state: HubState) -> Iterator[Family]:
    yield _gauge(
        "hub_build_info",
        "1, with the version of the hub and of TimescaleDB.",
        [(label_text(version=__version__, timescaledb=state.timescaledb), 1)],
    )
    yield _gauge(
        "hub_jobs",
        "Runs of jobs by status.",
        [(label_text(status=status), count) for status, count in state.jobs.items()],
    )
    ends = [
        (label_text(job_type=each.job_type, status=each.status, ended_by=each.ended_by), each.ends)
        for each in state.ends
    ]
    yield Family("hub_job_ends_total", "counter", "Ends of runs.", ends)
    items = [
        (
            label_text(
                kind=each.kind,
                severity=each.severity,
                acknowledged=str(each.is_acknowledged).lower(),
            ),
            each.items,
        )
        for each in state.items
    ]
    yield _gauge("hub_attention_items", "Open items of attention.", items)
    yield _gauge(
        "hub_node_up",
        "Whether the node reports.",
        [(label_text(node_id=node_id), is_online) for node_id, is_online in state.nodes],
    )
    yield _gauge(
        "hub_metrics_left_out",
        "Series and nodes that are not in these metrics, because of HUB_METRICS_SERIES.",
        [(label_text(kind=kind), count) for kind, count in state.left_out.items()],
    )


def _of_series(series: Sequence[SeriesSample]) -> Iterator[Family]:
    texts = [
        label_text(
            series_id=str(each.id),
            name=each.name,
            job_type=each.job_type,
            repository_id=each.repository_id,
            backup_type=each.backup_type,
        )
        for each in series
    ]
    with_status = (
        f"{text},{label_text(status=each.state)}" for text, each in zip(texts, series, strict=True)
    )
    yield _gauge(
        "hub_series_last_success_timestamp_seconds",
        "When the last good run of the series ended.",
        zip(texts, (each.last_success_at for each in series), strict=True),
    )
    yield _gauge(
        "hub_series_last_run_status",
        "1, with the status of the last ended run of the series.",
        [(text, 1) for text in with_status],
    )
    yield _gauge(
        "hub_series_last_bytes",
        "Bytes that the last ended run of the series moved.",
        zip(texts, (each.last_bytes for each in series), strict=True),
    )
    yield _gauge(
        "hub_series_last_duration_seconds",
        "How long the last ended run of the series took.",
        zip(texts, (each.last_seconds for each in series), strict=True),
    )
    yield _gauge(
        "hub_series_next_expected_timestamp_seconds",
        "When the next run of the series is expected to begin.",
        zip(texts, (each.next_expected_at for each in series), strict=True),
    )


def _of_tasks(tasks: Sequence[TaskRun]) -> Iterator[Family]:
    texts = [label_text(task=task.task_id) for task in tasks]
    ends = [
        None if task.last_finished_at is None else task.last_finished_at.timestamp()
        for task in tasks
    ]
    yield _gauge(
        "hub_task_interval_seconds",
        "How often the task is due.",
        zip(texts, (task.interval_seconds for task in tasks), strict=True),
    )
    yield _gauge(
        "hub_task_last_run_timestamp_seconds",
        "When the last run of the task ended.",
        zip(texts, ends, strict=True),
    )
    yield _gauge(
        "hub_task_duration_seconds",
        "How long the last run of the task took.",
        zip(texts, (task.last_duration_seconds for task in tasks), strict=True),
    )
    yield _gauge(
        "hub_task_failing",
        "Whether the last run of the task failed.",
        zip(texts, (task.last_error is not None for task in tasks), strict=True),
    )


def _gauge(name: str, meaning: str, samples: Iterable[tuple[str, float | None]]) -> Family:
    """A gauge without the samples whose value is not known."""
    known = [(text, value) for text, value in samples if value is not None]
    return Family(name, "gauge", meaning, known)
