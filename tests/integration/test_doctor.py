"""The self-check: it passes on what migrations make, and names whatever was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.checks.doctor import ANALYST, Check, run_checks
from app.checks.schema import read_schema
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rollups import RAW_SERIES, ROLLUPS
from app.domain.window import Window
from app.store.rollups import refresh
from jobs import compress_chunks, drop_expired_chunks, refresh_rollups
from tests.chunks import DAY, HOUR, add_updates, edge_of, table_of

pytestmark = pytest.mark.owner


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection whose every change is undone, with a role as analysts must have it."""
    with database.reading() as conn, conn.transaction(force_rollback=True):
        if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [ANALYST]).fetchone() is None:
            conn.execute(f"CREATE ROLE {ANALYST}")
        conn.execute(f"GRANT USAGE ON SCHEMA public TO {ANALYST}")
        conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ANALYST}")
        conn.execute(f"REVOKE ALL ON destination_addresses FROM {ANALYST}")
        yield conn


def check(conn: Connection, config: Config, name: str) -> Check:
    return next(each for each in run_checks(conn, config) if each.name == name)


def test_a_migrated_database_is_healthy(conn: Connection, config: Config) -> None:
    assert [each for each in run_checks(conn, config) if not each.ok] == []


def test_every_check_says_something(conn: Connection, config: Config) -> None:
    for each in run_checks(conn, config):
        assert each.detail.endswith("."), each


@pytest.mark.parametrize(("newest", "is_newer"), [((2, 19), True), ((99, 0), False)])
def test_a_timescaledb_newer_than_the_tested_ones_is_named(
    conn: Connection,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    newest: tuple[int, int],
    is_newer: bool,
) -> None:
    monkeypatch.setattr("app.checks.doctor.NEWEST_TIMESCALEDB", newest)
    (check,) = (each for each in run_checks(conn, config) if each.name == "timescaledb")
    assert check.ok
    assert ("newer than 2.19, the newest version with which" in check.detail) is is_newer


@pytest.mark.parametrize(
    ("change", "name", "sentence"),
    [
        (
            "ALTER TABLE jobs DROP COLUMN eta_seconds CASCADE",
            "columns",
            "jobs.eta_seconds is missing.",
        ),
        (
            "ALTER TABLE jobs ALTER COLUMN current_phase SET DEFAULT 'new'",
            "columns",
            "jobs.current_phase has the default 'new' and must have 'pending'.",
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
            "nodes.process_count is of type integer and must be bigint.",
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
        (
            "DROP MATERIALIZED VIEW node_telemetry_1h",
            "columns",
            "The table node_telemetry_1h is missing.",
        ),
        (
            "ALTER TABLE series_edges RENAME COLUMN dropped_before TO edge",
            "columns",
            "series_edges.dropped_before is missing.",
        ),
        (
            "DROP MATERIALIZED VIEW node_telemetry_1h",
            "rollups",
            "The rollup node_telemetry_1h is missing: migrations/0006_create_rollups.sql makes it.",
        ),
        (
            "ALTER MATERIALIZED VIEW job_speed_1m SET (timescaledb.materialized_only = true)",
            "rollups",
            "job_speed_1m hides what is not materialised yet: run ALTER MATERIALIZED VIEW",
        ),
        (
            "ALTER MATERIALIZED VIEW job_speed_1h SET (timescaledb.compress = false)",
            "rollups",
            "job_speed_1h cannot be compressed",
        ),
        (
            "ALTER TABLE node_telemetry SET (timescaledb.compress = false)",
            "rollups",
            "node_telemetry cannot be compressed",
        ),
        ("DROP TABLE sender_losses", "columns", "The table sender_losses is missing."),
        ("DROP TABLE sender_losses", "indexes", "The index sender_losses_pkey is missing."),
        ("DROP INDEX jobs_status_idx", "indexes", "The index jobs_status_idx is missing."),
        ("DROP INDEX jobs_unsummarised_idx", "indexes", "jobs_unsummarised_idx is missing."),
        (
            "DROP INDEX jobs_status_idx; CREATE INDEX jobs_status_idx ON jobs (status)",
            "indexes",
            "The index jobs_status_idx must be on (status, started_at DESC, id DESC)",
        ),
        (
            "DROP INDEX job_telemetry_key;"
            "CREATE INDEX job_telemetry_key ON job_telemetry (job_id, time, seq)",
            "indexes",
            "The index job_telemetry_key must be unique on (job_id, time, seq)",
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
            f"GRANT SELECT ON destination_addresses TO {ANALYST}",
            "analyst",
            "analyst can read destination_addresses: run REVOKE ALL ON destination_addresses "
            "FROM analyst.",
        ),
        (
            f"GRANT CREATE ON SCHEMA public TO {ANALYST}",
            "analyst",
            "analyst may create tables.",
        ),
        (
            "DELETE FROM series_edges WHERE series = 'job_speed_1m'",
            "retention",
            "series_edges has no row for job_speed_1m, so its rollups are not refreshed",
        ),
        (
            "SELECT add_retention_policy('job_telemetry', INTERVAL '30 days')",
            "retention",
            "drops chunks of job_telemetry without the hub's control",
        ),
        (
            "SELECT add_continuous_aggregate_policy('job_speed_1m', NULL, INTERVAL '1 minute', "
            "INTERVAL '1 minute')",
            "retention",
            "run SELECT remove_continuous_aggregate_policy('job_speed_1m').",
        ),
        (
            "SELECT add_compression_policy('disk_telemetry', INTERVAL '1 day')",
            "retention",
            "compresses chunks of disk_telemetry without the hub's control",
        ),
        (
            "SELECT add_retention_policy('node_telemetry_1m', INTERVAL '30 days')",
            "retention",
            "drops chunks of node_telemetry_1m without the hub's control",
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


def test_every_object_of_a_migrated_database_is_checked(conn: Connection) -> None:
    schema = read_schema()
    columns = conn.execute(
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    ).fetchall()
    known = {(table, name) for table, names in schema.tables.items() for name in names}
    assert {row for row in columns if row[0] != "schema_migrations"} == known
    indexes = conn.execute("SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public'")
    assert {name for (name,) in indexes} - {"schema_migrations_pkey"} == schema.indexes.keys()
    assert set(schema.rollups) == {rollup.name for rollup in ROLLUPS}
    assert set(schema.hypertables) == set(RAW_SERIES)
    assert set(schema.compressed) == {*schema.rollups, *schema.hypertables}


def test_a_column_that_a_rollup_lost_is_named(conn: Connection, config: Config) -> None:
    conn.execute("DROP MATERIALIZED VIEW disk_speed_1h CASCADE")
    conn.execute("CREATE VIEW disk_speed_1h AS SELECT job_id, disk_index::bigint FROM job_disks")
    detail = check(conn, config, "columns").detail
    assert "disk_speed_1h.bucket is missing." in detail
    assert "disk_speed_1h.disk_index is of type bigint and must be smallint." in detail


def test_a_missing_analyst_is_named(conn: Connection, config: Config) -> None:
    conn.execute(f"ALTER ROLE {ANALYST} RENAME TO somebody_else")
    assert "There is no role analyst" in check(conn, config, "analyst").detail


def test_several_faults_are_all_named(conn: Connection, config: Config) -> None:
    conn.execute("DROP INDEX jobs_status_idx, jobs_newest_idx")
    detail = check(conn, config, "indexes").detail
    assert "jobs_status_idx" in detail
    assert "jobs_newest_idx" in detail


def test_the_doctor_writes_nothing(database: Database, config: Config) -> None:
    with database.reading() as conn, conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        checks: list[Any] = run_checks(conn, config)
    assert all("failed to run" not in each.detail for each in checks)


# Retention: that nothing can be erased. Here time is the database's, which the doctor asks for.


@pytest.fixture
def live(database: Database) -> Iterator[Connection]:
    """A connection whose changes stay until the next test."""
    with database.connect(autocommit=True) as conn:
        yield conn


def clock(conn: Connection) -> datetime:
    row = conn.execute("SELECT now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def faults(conn: Connection, config: Config) -> str:
    """What the doctor says of retention; nothing when all is well."""
    found = check(conn, config, "retention")
    return "" if found.ok else found.detail


def set_edge(conn: Connection, edge: datetime, series: str = "job_telemetry") -> None:
    conn.execute("UPDATE series_edges SET dropped_before = %s WHERE series = %s", [edge, series])


UNSET = {"is_embedded": False, "owner_url": None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"late_data_days": 30}, "HUB_LATE_DATA_DAYS (30) must be smaller than"),
        ({"rollup_1m_retention_days": 30}, "HUB_RAW_RETENTION_DAYS (30) must be smaller than"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    live: Connection, config: Config, change: dict[str, int], sentence: str
) -> None:
    # Config refuses these at the start; doctor does not lean on that.
    settings = {field.name: getattr(config, field.name) for field in fields(config)}
    assert sentence in faults(
        live, cast(Config, SimpleNamespace(**{**settings, **UNSET, **change}))
    )


def test_a_hub_that_has_dropped_and_compressed_is_healthy(
    live: Connection, database: Database, config: Config
) -> None:
    now = clock(live)
    add_updates(live, [now - days * DAY for days in (33, 32, 9, 2, 0)])
    for task in (refresh_rollups, compress_chunks, drop_expired_chunks):
        task.run_once(database, config)
    assert edge_of(live, "job_telemetry") is not None
    assert [each for each in run_checks(live, config) if not each.ok] == []


def test_late_rows_that_wait_for_the_next_tick_are_no_fault(
    live: Connection, database: Database, config: Config
) -> None:
    now = clock(live)
    add_updates(live, [now - 3 * DAY])
    refresh_rollups.run_once(database, config)
    add_updates(live, [now - 3 * DAY], job_id="late")
    assert faults(live, config) == ""


def test_a_late_horizon_that_was_raised_behind_the_edge_is_named(
    live: Connection, config: Config
) -> None:
    set_edge(live, clock(live) - 10 * DAY)
    found = faults(live, config)
    assert "HUB_LATE_DATA_DAYS (28) reaches back behind" in found
    assert "job_telemetry was dropped" in found
    assert found.endswith("Set it to 10 at most.")
    assert faults(live, replace(config, late_data_days=10)) == ""


def test_rows_behind_the_edge_are_named(live: Connection, config: Config) -> None:
    now = clock(live)
    set_edge(live, now - 29 * DAY)
    add_updates(live, [now - 29 * DAY - HOUR])
    assert "job_telemetry has rows from before" in faults(live, config)
    live.execute("DELETE FROM job_telemetry")
    assert faults(live, config) == ""


def test_minutes_behind_their_edge_are_named(live: Connection, config: Config) -> None:
    now = clock(live)
    add_updates(live, [now - 29 * DAY])
    refresh(live, ROLLUPS[0], Window(now - 30 * DAY, now))
    set_edge(live, now - 28 * DAY - HOUR, "job_speed_1m")
    assert "job_speed_1m has rows from before" in faults(live, config)


def test_an_unfinished_refresh_behind_the_edge_is_named(live: Connection, config: Config) -> None:
    set_edge(live, clock(live) - 40 * DAY)
    live.execute(
        """
        INSERT INTO _timescaledb_catalog.continuous_aggs_materialization_ranges
        SELECT mat_hypertable_id, 0, 1 FROM _timescaledb_catalog.continuous_agg
        WHERE user_view_name = 'job_speed_1m'
        """
    )
    try:
        assert "A refresh of job_speed_1m that reaches behind" in faults(live, config)
    finally:
        live.execute("DELETE FROM _timescaledb_catalog.continuous_aggs_materialization_ranges")


def test_a_rollup_that_has_lost_rows_of_the_oldest_chunk_is_named(
    live: Connection, database: Database, config: Config
) -> None:
    now = clock(live)
    add_updates(live, [now - 3 * DAY, now - 3 * DAY + HOUR])
    refresh_rollups.run_once(database, config)
    assert faults(live, config) == ""
    live.execute(f"DELETE FROM {table_of(live, 'job_speed_1m')}".encode())
    found = faults(live, config)
    assert "could not be dropped: job_speed_1m has counted 0 of its" in found
    assert "Run `python -m app repair --rollups --from " in found


def test_a_chunk_that_should_have_been_dropped_is_named(live: Connection, config: Config) -> None:
    now = clock(live)
    add_updates(live, [now - 30 * DAY - 12 * HOUR])
    assert faults(live, config) == "", "the next run may drop it"
    add_updates(live, [now - 40 * DAY])
    found = faults(live, config)
    assert "The oldest chunk of job_telemetry, from" in found
    assert "should have been dropped: job_speed_1m is not up to date there." in found
