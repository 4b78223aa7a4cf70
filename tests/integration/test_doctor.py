"""The self-check: it passes on what migrations make, and names whatever was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.config import Config
from app.db import Connection, Database
from app.doctor import ANALYST, Check, run_checks


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection whose every change is undone, with a role as analysts must have it."""
    with database.reading() as conn, conn.transaction(force_rollback=True):
        if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [ANALYST]).fetchone() is None:
            conn.execute(f"CREATE ROLE {ANALYST}")
        conn.execute(f"GRANT USAGE ON SCHEMA public TO {ANALYST}")
        conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ANALYST}")
        yield conn


def check(conn: Connection, config: Config, name: str) -> Check:
    return next(each for each in run_checks(conn, config) if each.name == name)


def test_a_migrated_database_is_healthy(conn: Connection, config: Config) -> None:
    assert [each for each in run_checks(conn, config) if not each.ok] == []


def test_every_check_says_something(conn: Connection, config: Config) -> None:
    for each in run_checks(conn, config):
        assert each.detail.endswith("."), each


@pytest.mark.parametrize(
    "change, name, sentence",
    [
        (
            "ALTER TABLE jobs DROP COLUMN eta_seconds",
            "columns",
            "jobs.eta_seconds is missing.",
        ),
        (
            "ALTER TABLE jobs ALTER COLUMN current_phase SET DEFAULT 'new'",
            "columns",
            "jobs.current_phase has the default 'new'::text and must have 'pending'::text.",
        ),
        (
            "ALTER TABLE jobs ALTER COLUMN transfer_speed_bps DROP DEFAULT",
            "columns",
            "jobs.transfer_speed_bps has the default NULL and must have 0.",
        ),
        (
            "ALTER TABLE jobs ALTER COLUMN last_telemetry_at SET DEFAULT now()",
            "columns",
            "jobs.last_telemetry_at has the default now() and must have NULL.",
        ),
        (
            "ALTER TABLE nodes ALTER COLUMN process_count TYPE integer",
            "columns",
            "nodes.process_count is of type int4 and must be int8.",
        ),
        (
            "DROP TABLE disk_telemetry CASCADE",
            "columns",
            "The table disk_telemetry is missing.",
        ),
        (
            "DROP TABLE disk_telemetry CASCADE; CREATE TABLE disk_telemetry (time timestamptz)",
            "hypertables",
            "disk_telemetry is not a hypertable.",
        ),
        ("DROP INDEX jobs_live_idx", "indexes", "The index jobs_live_idx is missing."),
        (
            "DROP INDEX jobs_live_idx; CREATE INDEX jobs_live_idx ON jobs (status)",
            "indexes",
            "The index jobs_live_idx must be on (status, last_telemetry_at)",
        ),
        (
            "DROP INDEX job_telemetry_key;"
            "CREATE INDEX job_telemetry_key ON job_telemetry (job_id, time, seq)",
            "indexes",
            'The index job_telemetry_key must be on unique (job_id, "time", seq)',
        ),
        (
            "UPDATE schema_migrations SET checksum = 'x' WHERE name = '0001_create_jobs.sql'",
            "migrations",
            "migrations/0001_create_jobs.sql was edited after it was applied",
        ),
        (
            "DELETE FROM schema_migrations WHERE name = '0003_create_nodes.sql'",
            "migrations",
            "migrations/0003_create_nodes.sql is not applied",
        ),
        (
            "INSERT INTO schema_migrations (name, checksum) VALUES ('9999_newer.sql', 'x')",
            "migrations",
            "9999_newer.sql was applied, but this version of the hub does not have it.",
        ),
        ("DROP TABLE schema_migrations", "migrations", "Nothing was ever migrated"),
        (f"GRANT UPDATE ON jobs TO {ANALYST}", "analyst", "analyst can write jobs."),
        (
            f"GRANT UPDATE (status) ON jobs TO {ANALYST}",
            "analyst",
            "analyst can write jobs.",
        ),
        (f"GRANT DELETE ON nodes TO {ANALYST}", "analyst", "analyst can write nodes."),
        (f"REVOKE SELECT ON nodes FROM {ANALYST}", "analyst", "analyst cannot read nodes."),
        (
            f"GRANT CREATE ON SCHEMA public TO {ANALYST}",
            "analyst",
            "analyst may create tables.",
        ),
    ],
)
def test_a_change_is_named(
    conn: Connection, config: Config, change: str, name: str, sentence: str
) -> None:
    assert check(conn, config, name).ok
    for statement in change.split(";"):
        conn.execute(statement)
    found = check(conn, config, name)
    assert not found.ok
    assert sentence in found.detail


def test_a_missing_analyst_is_named(conn: Connection, config: Config) -> None:
    conn.execute(f"ALTER ROLE {ANALYST} RENAME TO somebody_else")
    assert "There is no role analyst" in check(conn, config, "analyst").detail


def test_a_late_horizon_beyond_retention_is_named(conn: Connection) -> None:
    # Config refuses this at the start; doctor does not lean on that.
    config = cast(Config, SimpleNamespace(late_data_days=30, raw_retention_days=30))
    found = check(conn, config, "retention")
    assert not found.ok and "HUB_LATE_DATA_DAYS (30)" in found.detail


def test_several_faults_are_all_named(conn: Connection, config: Config) -> None:
    conn.execute("DROP INDEX jobs_live_idx, jobs_newest_idx")
    detail = check(conn, config, "indexes").detail
    assert "jobs_live_idx" in detail and "jobs_newest_idx" in detail


def test_the_doctor_writes_nothing(database: Database, config: Config) -> None:
    with database.reading() as conn, conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        checks: list[Any] = run_checks(conn, config)
    assert all("could not be looked at" not in each.detail for each in checks)
