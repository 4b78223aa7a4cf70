"""Metrics of the database's state: from stored runs to what a scrape reads."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.api.context import hub_of
from app.config import Config
from app.database.migrate import read_migrations
from app.database.pool import Database
from app.domain.statuses import JOB_STATUSES
from app.domain.updates import Update
from app.errors import DatabaseUnavailable
from app.metrics.state import StateMetrics, describe
from app.metrics.text import format_families
from app.store import metrics as store_metrics
from app.store.counts import fold_changes, fold_ends, recount
from app.store.metrics import OTHER_TYPES, read_state
from jobs import find_attention, fold_job_counts
from tests.factories import fresh
from tests.integration.test_attention import DAY, GIB, Fleet
from tests.storing import store

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
def fleet(owner: Database, config: Config) -> Fleet:
    find_attention._thresholds.clear()
    return Fleet(owner, config)


def samples_of(text: str) -> Samples:
    """The samples by name and labels; fails if one is repeated."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            by_labels = found.setdefault(sample.name, {})
            key = frozenset((name, value) for name, value in sample.labels.items() if value)
            assert key not in by_labels, (sample.name, key)
            by_labels[key] = sample.value
    return found


def read(database: Database, limit: int = 100) -> Samples:
    """What a scrape of the state would read now."""
    with database.reading() as conn:
        families = list(describe(read_state(conn, limit)))
    return samples_of(format_families(families, is_openmetrics=False))


def where(samples: Samples, metric: str, /, **labels: str) -> list[float]:
    """The values of the samples that have these labels."""
    wanted = set(labels.items())
    return [value for key, value in samples.get(metric, {}).items() if wanted <= key]


# Series.


def test_a_series_shows_its_last_run(fleet: Fleet, database: Database) -> None:
    fleet.nights(6, 1, repository_id="repo")
    fleet.judge()
    samples = read(database)
    about = {"name": "db1", "job_type": "backup", "repository_id": "repo"}
    ended = fleet.now.timestamp() - DAY + 3_600
    expect = {
        "hub_series_last_success_timestamp_seconds": ended,
        "hub_series_last_bytes": 100 * GIB,
        "hub_series_last_duration_seconds": 3_600,
        "hub_series_next_expected_timestamp_seconds": fleet.now.timestamp(),
    }
    for name, value in expect.items():
        assert where(samples, name, **about) == [pytest.approx(value, abs=2)], name
    assert where(samples, "hub_series_last_run_status", status="good", **about) == [1]


def test_a_failed_run_changes_the_status_and_not_the_success(
    fleet: Fleet, database: Database
) -> None:
    fleet.run(2)
    fleet.run(1, 40 * GIB, seconds=60, status="failed")
    fleet.judge()
    samples = read(database)
    [success] = where(samples, "hub_series_last_success_timestamp_seconds")
    assert success == pytest.approx(fleet.now.timestamp() - 2 * DAY + 3_600, abs=2)
    assert where(samples, "hub_series_last_run_status") == [1]
    assert where(samples, "hub_series_last_run_status", status="failed") == [1]
    assert where(samples, "hub_series_last_bytes") == [40 * GIB]
    assert where(samples, "hub_series_last_duration_seconds") == [60]


def test_a_live_run_does_not_hide_the_last_ended_one(fleet: Fleet, database: Database) -> None:
    fleet.run(1)
    fleet.update("now", 60, bytes_transferred=5)
    fleet.judge()
    samples = read(database)
    assert where(samples, "hub_series_last_bytes") == [100 * GIB]
    assert where(samples, "hub_series_last_run_status", status="good") == [1]


def test_what_is_not_known_is_left_out(fleet: Fleet, database: Database) -> None:
    fleet.update("first", 60)
    fleet.judge()
    samples = read(database)
    assert where(samples, "hub_series_last_run_status", status="running") == [1]
    for name in ("last_success_timestamp_seconds", "last_bytes", "last_duration_seconds"):
        assert f"hub_series_{name}" not in samples


def test_a_machine_and_a_job_of_one_name_are_two_series(fleet: Fleet, database: Database) -> None:
    fleet.run(2, vm_name="same", job_id="x")
    fleet.run(1, vm_name=None, job_id="same")
    fleet.judge()
    assert where(read(database), "hub_series_last_run_status", name="same") == [1, 1]


NASTY = 'vm "a"\\b\\n=,{} ü'


def test_any_name_is_escaped(fleet: Fleet, database: Database) -> None:
    fleet.run(1, vm_name=NASTY)
    fleet.judge()
    assert where(read(database), "hub_series_last_bytes", name=NASTY) == [100 * GIB]


def test_the_newest_series_and_nodes_are_kept_and_the_others_counted(
    fleet: Fleet, owner: Database, database: Database
) -> None:
    for days in range(1, 6):
        fleet.run(days, vm_name=f"vm{days}")
    fleet.judge()
    with owner.transaction() as conn:
        conn.execute(
            "INSERT INTO nodes (node_id, newest_snapshot_at, last_seen_at)"
            " SELECT 'n' || n, now(), now() - n * interval '1 hour' FROM generate_series(1, 4) AS n"
        )
    samples = read(database, limit=2)
    kept = {dict(key)["name"] for key in samples["hub_series_last_bytes"]}
    assert kept == {"vm1", "vm2"}
    assert set(samples["hub_node_up"]) == {frozenset({("node_id", n)}) for n in ("n1", "n2")}
    assert where(samples, "hub_metrics_left_out", kind="series") == [3]
    assert where(samples, "hub_metrics_left_out", kind="nodes") == [2]
    assert where(read(database), "hub_metrics_left_out") == [0, 0]
    assert "hub_series_last_bytes" not in read(database, limit=0)


# Jobs and their ends.


def ends(database: Database) -> dict[tuple[str, str, str], float]:
    """The counter by type, status and actor."""
    found = read(database).get("hub_job_ends_total", {})
    by_labels = {
        tuple(dict(key)[n] for n in ("job_type", "status", "ended_by")): value
        for key, value in found.items()
    }
    return by_labels  # type: ignore[return-value]


def test_jobs_are_counted_by_every_status(fleet: Fleet, database: Database) -> None:
    fleet.update("live", 60)
    fleet.run(1)
    jobs = {dict(key)["status"]: value for key, value in read(database)["hub_jobs"].items()}
    assert jobs == dict.fromkeys(JOB_STATUSES, 0) | {"running": 1, "completed": 1}


def test_every_end_is_counted_once(
    fleet: Fleet, owner: Database, database: Database, config: Config
) -> None:
    fleet.run(3)
    fleet.run(2)
    fleet.run(1, status="failed")
    fleet.run(1, status="failed")  # repeated
    fleet.update("job-1", DAY - 3_610, status="failed", vm_name="named later")
    expected = {("backup", "completed", "sender"): 2, ("backup", "failed", "sender"): 1}
    assert ends(database) == expected
    for _ in range(2):
        fold_job_counts.run_once(owner, config)
        assert ends(database) == expected
    with owner.connect() as conn:
        assert conn.execute("SELECT count(*) FROM job_ends").fetchone() == (2,)


def test_the_detectors_end_and_the_senders_are_two(
    fleet: Fleet, owner: Database, database: Database
) -> None:
    with owner.connect() as conn:
        store(conn, fresh(-60))
        conn.execute(
            "UPDATE jobs SET status = 'failed', completed_at = now(), ended_by = 'detector'"
        )
        conn.commit()
        store(conn, fresh(-1))
        store(conn, fresh(status="completed"))
    assert ends(database) == {
        ("backup", "failed", "detector"): 1,
        ("backup", "completed", "sender"): 1,
    }


def test_nothing_decreases_the_ends(
    fleet: Fleet, owner: Database, database: Database, config: Config
) -> None:
    fleet.run(2)
    fleet.run(1)
    before = ends(database)
    assert before == {("backup", "completed", "sender"): 2}
    with owner.transaction() as conn:
        recount(conn)
    assert ends(database) == before
    with owner.transaction() as conn:
        conn.execute("DELETE FROM jobs")
        fold_changes(conn)
    assert ends(database) == before
    with owner.transaction() as conn:
        conn.execute("TRUNCATE jobs CASCADE")
    assert ends(database) == before
    fleet.run(3)
    fold_job_counts.run_once(owner, config)
    assert ends(database) == {("backup", "completed", "sender"): 3}


def test_the_migration_counts_the_ends_so_far(
    fleet: Fleet, owner: Database, database: Database
) -> None:
    [migration] = [each for each in read_migrations() if each.name.startswith("0029_")]
    fleet.run(3)
    fleet.run(2, status="failed")
    fleet.update("live", 60)
    fleet.judge()
    with owner.reading() as conn, conn.transaction(force_rollback=True):
        conn.execute("DROP VIEW series_state")
        conn.execute("ALTER TABLE series DROP COLUMN last_bytes, DROP COLUMN last_seconds")
        conn.execute("DROP TABLE job_ends")
        conn.execute(migration.sql.encode())
        rows = conn.execute("SELECT status, ends FROM job_ends ORDER BY n").fetchall()
        assert rows == [("completed", 1), ("failed", 1)]
        assert conn.execute("SELECT count(*) FROM changed_runs").fetchone() == (1,)


def test_the_first_types_are_named_and_the_others_counted_together(
    owner: Database, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_metrics, "MOST_TYPES", 2)

    for number, job_type in enumerate(("zz", "yy", "aa", "zz", "bb")):
        with owner.transaction() as conn:
            store(conn, Update(job_type, f"job-{number}", "completed", time=fresh().time))
            fold_ends(conn)
    counts = {job_type: value for (job_type, _, _), value in ends(database).items()}
    assert counts == {"zz": 2, "yy": 1, OTHER_TYPES: 2}


# Everything else.


def test_items_nodes_and_tasks(
    fleet: Fleet, owner: Database, database: Database, config: Config
) -> None:
    fleet.run(1, status="failed")
    fleet.find()
    with owner.transaction() as conn:
        conn.execute(
            "INSERT INTO nodes (node_id, newest_snapshot_at, state)"
            " VALUES ('up', now(), 'online'), ('down', now(), 'offline');"
            "INSERT INTO tasks (task_id, interval_seconds, last_finished_at,"
            " last_duration_seconds, last_error) VALUES ('good', 30, 'epoch'::timestamptz"
            " + interval '1000 s', 0.25, NULL), ('bad', 60, now(), 1, 'no'),"
            " ('new', 60, NULL, NULL, NULL)"
        )
    samples = read(database)
    assert where(samples, "hub_attention_items", kind="failed", acknowledged="false") == [1]
    assert where(samples, "hub_node_up", node_id="up") == [1]
    assert where(samples, "hub_node_up", node_id="down") == [0]
    assert where(samples, "hub_task_last_run_timestamp_seconds", task="good") == [1000]
    assert where(samples, "hub_task_duration_seconds", task="good") == [0.25]
    assert where(samples, "hub_task_interval_seconds", task="new") == [60]
    assert where(samples, "hub_task_last_run_timestamp_seconds", task="new") == []
    failing = samples["hub_task_failing"]
    assert {dict(key)["task"]: value for key, value in failing.items()} == {
        "good": 0,
        "bad": 1,
        "new": 0,
    }
    [build] = samples["hub_build_info"]
    assert dict(build)["version"] == __version__
    assert re.match(r"2\.\d+\.\d+", dict(build)["timescaledb"])


class CountedDatabase:
    """A database that counts how often it is read, and may be away."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reads = 0
        self.is_away = False

    def reading(self, wait_seconds: float) -> Any:
        self.reads += 1
        if self.is_away:
            raise DatabaseUnavailable
        return self.database.reading(wait_seconds)


@pytest.fixture
def counted(database: Database) -> CountedDatabase:
    return CountedDatabase(database)


def up(metrics: StateMetrics) -> float:
    text = format_families(metrics.families(), is_openmetrics=False)
    return samples_of(text)["hub_database_up"][frozenset()]


def test_scrapes_share_a_read(counted: CountedDatabase) -> None:
    metrics = StateMetrics(counted, 10)  # type: ignore[arg-type]
    threads = [threading.Thread(target=metrics.families) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.reads == 1
    metrics._kept_at -= 10
    metrics.families()
    assert counted.reads == 2


def test_without_the_database_there_is_nothing_old(counted: CountedDatabase) -> None:
    metrics = StateMetrics(counted, 10)  # type: ignore[arg-type]
    assert up(metrics) == 1
    assert len(metrics.families()) > 10
    counted.is_away = True
    metrics._kept_at -= 10
    assert up(metrics) == 0
    assert len(metrics.families()) == 1
    assert counted.reads == 2  # a failure is kept as well
    counted.is_away = False
    metrics._kept_at -= 10
    assert up(metrics) == 1


def test_a_scrape_does_not_wait_for_ever_for_another_ones_read(
    counted: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.metrics.state.WAIT_SECONDS", 0.01)
    metrics = StateMetrics(counted, 10)  # type: ignore[arg-type]
    with metrics._lock:
        assert up(metrics) == 0


# The route.


@pytest.fixture
def scraped(client: FlaskClient) -> Iterator[FlaskClient]:
    """A client whose scrapes read the tables as they are now."""
    hub_of(client.application).state_metrics._kept_at -= 10
    yield client
    hub_of(client.application).state_metrics._kept_at -= 10


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics"])
def test_both_paths_have_everything(scraped: FlaskClient, path: str) -> None:
    answer = scraped.get(path, headers={"Accept-Encoding": "identity"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert {"Accept", "Accept-Encoding"} <= set(
        ", ".join(answer.headers.getlist("Vary")).split(", ")
    )
    samples = samples_of(answer.get_data(as_text=True))
    assert {"hub_jobs", "hub_database_up", "hub_updates_total", "process_open_fds"} <= set(samples)


def test_process_metrics_are_of_this_process(scraped: FlaskClient) -> None:
    first = samples_of(scraped.get("/metrics").get_data(as_text=True))
    second = samples_of(scraped.get("/metrics").get_data(as_text=True))
    cpu = [samples["process_cpu_seconds_total"][frozenset()] for samples in (first, second)]
    assert 0 < cpu[0] <= cpu[1]
    assert 1e7 < first["process_resident_memory_bytes"][frozenset()] < 1e10
    assert first["process_start_time_seconds"][frozenset()] > 1e9


def test_a_large_answer_is_compressed(scraped: FlaskClient) -> None:
    answer = scraped.get("/metrics", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
