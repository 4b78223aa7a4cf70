"""The embedded engine has no autovacuum; the task is it."""

from __future__ import annotations

import time

import pytest

from app.config import Config
from app.database.pool import Database
from jobs import vacuum_tables
from jobs.schedule import tasks


def test_dead_rows_are_reclaimed(owner: Database, config: Config) -> None:
    with owner.reading() as conn:
        conn.execute("INSERT INTO jobs (job_id, job_type) VALUES ('j', 'backup')")
    _rewrite(owner)
    vacuum_tables.run_once(owner, config)
    size = _size(owner)
    _rewrite(owner)
    assert _size(owner) == size, "the room of the dead rows is used again"


def test_what_has_statistics_is_not_analysed_again_at_once(
    owner: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owner.reading() as conn:
        conn.execute("INSERT INTO jobs (job_id, job_type) VALUES ('j', 'backup')")
    vacuum_tables.run_once(owner, config)
    assert "jobs" not in _analysed(owner, config)
    monkeypatch.setattr(vacuum_tables, "ANALYSE_SECONDS", 1)
    time.sleep(1.1)
    assert "jobs" in _analysed(owner, config)


def test_a_large_table_is_analysed_from_a_small_sample(
    owner: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacuum_tables, "ANALYSE_SECONDS", 1)
    time.sleep(1.1)  # another test may have analysed it
    with owner.reading() as conn:
        conn.execute(
            "INSERT INTO jobs (job_id, job_type)"
            " SELECT n::text, 'backup' FROM generate_series(1, 5000) AS n"
        )
    assert "jobs" in _analysed(owner, config)
    with owner.reading() as conn:
        bounds = conn.execute(
            "SELECT cardinality(histogram_bounds::text::text[]) FROM pg_stats"
            " WHERE tablename = 'jobs' AND attname = 'job_id'"
        ).fetchone()
        assert bounds == (11,)
        assert conn.execute("SHOW default_statistics_target").fetchone() == ("100",)


def _analysed(owner: Database, config: Config) -> list[str]:
    """What the next run analyses."""
    result: list[str] = vacuum_tables.run_once(owner, config)["analysed"]
    return result


def _rewrite(database: Database) -> None:
    with database.reading() as conn:
        for _ in range(300):
            conn.execute(
                "UPDATE jobs SET status = 'running', last_telemetry_at = clock_timestamp()"
            )


def _size(database: Database) -> int:
    with database.reading() as conn:
        row = conn.execute("SELECT pg_relation_size('jobs')").fetchone()
    assert row is not None
    return int(row[0])


def test_only_the_embedded_engine_needs_it(config: Config) -> None:
    embedded = [task.id for task in tasks(Config())]
    server = [task.id for task in tasks(Config(database_url="postgresql://server/hub"))]
    assert set(embedded) - set(server) == {"vacuum_tables"}
