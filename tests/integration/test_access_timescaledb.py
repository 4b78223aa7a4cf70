"""What the hub does with a TimescaleDB that hides what the hub reads of its catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.checks.doctor import run_checks
from app.config import Config
from app.database.migrate import MIGRATIONS_DIR
from app.database.pool import Connection, Database
from jobs import compress_chunks, drop_expired_chunks, refresh_rollups
from tests.chunks import DAY, HOUR, MINUTE, NOW, add_updates, every, materialised, starts

pytestmark = pytest.mark.owner

ACCESS = (MIGRATIONS_DIR / "repeatable" / "access_timescaledb.sql").read_text()
CHANGES = {
    "a relation": ("continuous_aggs_", "caggs_"),
    "a column": ("lowest_modified_value", "lowest_value"),
    "a function": ("chunk_status", "status_of_chunk"),
    "the schemas": ("_timescaledb_", "_timescaledb_new_"),
}


@pytest.fixture(params=CHANGES)
def changed(conn: Connection, request: pytest.FixtureRequest) -> Iterator[str]:
    """A change in TimescaleDB's catalog, as the hub's functions meet it."""
    conn.execute("TRUNCATE job_telemetry, disk_telemetry, node_telemetry")
    conn.execute(ACCESS.replace(*CHANGES[request.param]).encode())
    yield request.param
    conn.execute(ACCESS.encode())


def test_rollups_compression_and_retention_go_on(
    conn: Connection, database: Database, config: Config, changed: str
) -> None:
    short = replace(config, late_data_days=1, raw_retention_days=2, rollup_1m_retention_days=30)
    # Only what is dropped and what is written to later: each hour of a chunk costs 20 ms.
    add_updates(conn, every(HOUR, NOW - 74 * HOUR, NOW - 72 * HOUR))
    add_updates(conn, every(HOUR, NOW - 32 * HOUR, NOW))
    refresh_rollups.run_once(database, short, NOW)
    late = NOW - 5 * HOUR + MINUTE
    add_updates(conn, [late], job_id="late")
    refresh_rollups.run_once(database, short, NOW)
    assert ("late", 1) in materialised(conn, "job_speed_1m", "job_id, updates")
    assert ("late", 1) in materialised(conn, "job_speed_1h", "job_id, updates")

    assert compress_chunks.run_once(database, short, NOW)["job_telemetry"] > 0
    compressed_late = NOW - 30 * HOUR + MINUTE
    add_updates(conn, [compressed_late], job_id="compressed")
    refresh_rollups.run_once(database, short, NOW)
    compress_chunks.run_once(database, short, NOW)
    assert ("compressed", 1) in materialised(conn, "job_speed_1m", "job_id, updates")

    counted = sum(n for (n,) in materialised(conn, "job_speed_1m", "updates"))
    dropped = drop_expired_chunks.run_once(database, short, NOW)
    assert dropped["job_telemetry"].chunks > 0, dropped
    assert dropped["job_telemetry"].stayed == 0, dropped
    assert min(starts(conn, "job_telemetry")) > NOW - 3 * DAY
    assert sum(n for (n,) in materialised(conn, "job_speed_1m", "updates")) == counted


def test_a_chart_has_late_updates_at_once(
    conn: Connection, database: Database, config: Config, changed: str
) -> None:
    add_updates(conn, every(HOUR, NOW - DAY, NOW))
    refresh_rollups.run_once(database, config, NOW)
    late = NOW - 5 * HOUR + MINUTE
    add_updates(conn, [late])
    stale = conn.execute(
        "SELECT minutes @> %(at)s::timestamptz FROM stale_parts('job', %(from)s, %(before)s)",
        {
            "at": late,
            "from": (NOW - DAY).replace(minute=0, second=0),
            "before": NOW.replace(minute=0, second=0),
        },
    ).fetchone()
    assert stale == (True,)


def test_doctor_says_so(conn: Connection, config: Config, changed: str) -> None:
    (check,) = (each for each in run_checks(conn, config) if each.name == "rollups")
    hides_changes = changed != "a function"
    assert check.ok is not hides_changes
    assert ("does not show what has changed" in check.detail) is hides_changes
