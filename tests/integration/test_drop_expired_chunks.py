"""Retention drops what the rollups have, moves the edge with it, and erases no history."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.retention import RUNS_UNTIL_TRUSTED
from app.domain.rollups import DROPPED_SERIES, ROLLUPS
from app.domain.window import Window
from app.errors import HubError
from app.store import rollups as store
from jobs import compress_chunks, drop_expired_chunks, refresh_rollups
from jobs.drop_expired_chunks import Dropped
from tests.chunks import (
    DAY,
    HOUR,
    NOW,
    add_snapshots,
    add_updates,
    edge_of,
    every,
    keep_alive,
    materialised,
    starts,
    table_of,
)

pytestmark = pytest.mark.owner

# Short, so that a test needs few chunks. The late horizon lies before the drop edge as always.
SETTINGS: dict[str, Any] = {
    "late_data_days": 1,
    "raw_retention_days": 2,
    "rollup_1m_retention_days": 30,
}
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
EXPIRED = MIDNIGHT - 3 * DAY
EDGE = MIDNIGHT - 2 * DAY + 12 * HOUR  # of what is dropped at NOW, in chunks of 6 hours
Run = Callable[..., dict[str, Dropped]]


@pytest.fixture(autouse=True)
def _no_chunks(conn: Connection) -> None:
    """Empty ones of earlier tests would be dropped and counted as well."""
    conn.execute("TRUNCATE job_telemetry, disk_telemetry, node_telemetry")


@pytest.fixture
def short(config: Config) -> Config:
    """Settings with a short retention."""
    return replace(config, **SETTINGS)


@pytest.fixture
def run(conn: Connection, database: Database, short: Config) -> Run:
    """One run of the task in a hub that has been in use until then, by default at NOW."""

    def run(now: datetime = NOW) -> dict[str, Dropped]:
        keep_alive(conn, now)
        return drop_expired_chunks.run_once(database, short, now)

    return run


def series_of(conn: Connection, sql: str) -> list[tuple[object, ...]]:
    return conn.execute(sql.encode()).fetchall()


def history(conn: Connection) -> dict[str, list[object]]:
    """Everything the rollups have materialised."""
    return {rollup.name: materialised(conn, rollup.name) for rollup in ROLLUPS}


# What goes.


def test_what_expired_goes_and_what_did_not_stays(conn: Connection, run: Run) -> None:
    add_updates(conn, every(6 * HOUR, EXPIRED, NOW))
    add_snapshots(conn, [NOW - 20 * DAY, NOW])
    done = run()
    for series in ("job_telemetry", "disk_telemetry"):
        kept = starts(conn, series)
        assert kept[0] == edge_of(conn, series) == EDGE
        assert done[series] == Dropped(chunks=6, stayed=0, why=None)
    assert done["node_telemetry"].chunks == 1
    assert len(starts(conn, "node_telemetry")) == 1
    assert edge_of(conn, "job_speed_1m") is None


def test_charts_keep_what_was_dropped(conn: Connection, run: Run) -> None:
    add_updates(conn, every(HOUR, EXPIRED, NOW))
    add_snapshots(conn, [NOW - 20 * DAY, NOW])
    views = {rollup.name: f"SELECT * FROM {rollup.name} ORDER BY bucket" for rollup in ROLLUPS}
    before = {name: series_of(conn, sql) for name, sql in views.items()}
    run()
    assert {name: series_of(conn, sql) for name, sql in views.items()} == before
    (count,) = conn.execute("SELECT count(*) FROM job_telemetry").fetchone() or (0,)
    assert count < len(before["job_speed_1m"])


def test_compressed_chunks_are_dropped_as_well(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    add_updates(conn, every(HOUR, EXPIRED, NOW))
    refresh_rollups.run_once(database, short, NOW)
    compress_chunks.run_once(database, short, NOW)
    assert run()["job_telemetry"] == Dropped(6, 0, None)


def test_what_came_in_while_no_task_ran_is_refreshed_before_it_is_dropped(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    add_updates(conn, every(HOUR, EXPIRED, NOW))
    refresh_rollups.run_once(database, short, NOW)
    add_updates(conn, [EXPIRED], job_id="late", speed=9)
    assert run()["job_telemetry"].stayed == 0
    for rollup in ("job_speed_1m", "job_speed_1h", "disk_speed_1m"):
        assert ("late", 9) in materialised(conn, rollup, "job_id, speed_max"), rollup


def test_a_series_that_ended_is_dropped_to_its_last_row(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    add_updates(conn, [EXPIRED])  # nothing after it, so no watermark ever passes the chunk's end
    assert run()["job_telemetry"] == Dropped(1, 0, None)
    assert series_of(conn, "SELECT updates FROM job_speed_1m") == [(1,)]


def test_minutes_go_when_the_hours_have_them_and_hours_never_go(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    add_updates(conn, every(HOUR, EXPIRED, EXPIRED + DAY))
    add_snapshots(conn, [NOW - 20 * DAY])
    run()
    hours = {name: materialised(conn, name) for name in ("job_speed_1h", "node_telemetry_1h")}
    done = run(NOW + 400 * DAY)
    for series in ("job_speed_1m", "disk_speed_1m", "node_telemetry_1m"):
        assert starts(conn, series) == []
    assert done["job_speed_1m"] == done["disk_speed_1m"] == Dropped(1, 0, None)
    assert edge_of(conn, "job_speed_1m") == edge_of(conn, "disk_speed_1m") == EXPIRED + DAY
    assert all(set(rows) <= set(materialised(conn, name)) for name, rows in hours.items())
    assert sum(row[0] for row in materialised(conn, "job_speed_1h", "updates")) == 24


def test_a_second_run_has_nothing_to_do(conn: Connection, run: Run) -> None:
    add_updates(conn, [EXPIRED, NOW])
    run()
    edge = edge_of(conn, "job_telemetry")
    done = run()
    assert set(done) == set(DROPPED_SERIES)
    assert set(done.values()) == {Dropped(0, 0, None)}
    assert edge_of(conn, "job_telemetry") == edge
    assert orjson.loads(orjson.dumps(done))["job_telemetry"]["chunks"] == 0


# What stays.


def test_a_chunk_whose_rows_are_not_all_in_the_rollups_stays(
    conn: Connection, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    add_updates(conn, every(HOUR, EXPIRED, NOW))
    store.refresh(conn, ROLLUPS[0], Window(EXPIRED, NOW - HOUR))
    conn.execute(f"DELETE FROM {table_of(conn, 'job_speed_1m')} WHERE bucket = '{EXPIRED}'")
    done = run()["job_telemetry"]
    assert done == Dropped(0, 6, "job_speed_1m has counted 5 of its 6 rows")
    assert starts(conn, "job_telemetry")[0] == EXPIRED
    assert edge_of(conn, "job_telemetry") is None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "job_speed_1m has counted 5 of its 6 rows" in errors[0].message


def test_minutes_that_the_hours_have_not_counted_stay(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    add_updates(conn, every(HOUR, EXPIRED, EXPIRED + DAY))
    run()
    conn.execute(f"DELETE FROM {table_of(conn, 'job_speed_1h')} WHERE bucket = '{EXPIRED}'")
    done = run(NOW + 400 * DAY)
    assert done["job_speed_1m"] == Dropped(0, 1, "job_speed_1h has counted 23 of its 24 rows")
    assert done["disk_speed_1m"] == Dropped(1, 0, None), "it is made into nothing coarser"


def test_a_chunk_stays_while_a_refresh_before_its_end_is_unfinished(
    conn: Connection, run: Run
) -> None:
    """TimescaleDB would finish it with the next refresh it touches, behind the edge by then."""
    add_updates(conn, [EXPIRED, EXPIRED + 6 * HOUR])
    conn.execute(
        """
        INSERT INTO _timescaledb_catalog.continuous_aggs_materialization_ranges
        SELECT mat_hypertable_id, extract(epoch FROM %(from)s::timestamptz) * 1000000,
               extract(epoch FROM %(from)s::timestamptz + interval '1 minute') * 1000000
        FROM _timescaledb_catalog.continuous_agg WHERE user_view_name = 'job_speed_1m'
        """,
        {"from": EXPIRED - DAY},
    )
    try:
        assert run()["job_telemetry"].why == "a refresh of job_speed_1m was not finished"
    finally:
        conn.execute("DELETE FROM _timescaledb_catalog.continuous_aggs_materialization_ranges")
    assert run()["job_telemetry"] == Dropped(2, 0, None)


def test_edge_and_chunk_move_together_or_not_at_all(
    conn: Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_updates(conn, [EXPIRED])
    monkeypatch.setitem(store.SQL, "advance_edge", "SELECT 1 / 0 AS edge")
    with pytest.raises(HubError, match=r"^job_telemetry, disk_telemetry could not be shortened"):
        run()
    assert starts(conn, "job_telemetry") == [EXPIRED]
    assert edge_of(conn, "job_telemetry") is None


def test_a_frozen_chunk_stays_and_so_does_the_edge(conn: Connection, run: Run) -> None:
    add_updates(conn, [EXPIRED])
    name = [store.read_chunks(conn, "job_telemetry")[0].identifier.as_string(conn)]
    conn.execute("SELECT _timescaledb_functions.freeze_chunk(%s::regclass)", name)
    try:
        with pytest.raises(HubError, match=r"^job_telemetry could not be shortened"):
            run()
    finally:
        conn.execute("SELECT _timescaledb_functions.unfreeze_chunk(%s::regclass)", name)
    assert edge_of(conn, "job_telemetry") is None
    assert edge_of(conn, "disk_telemetry") is not None


@pytest.mark.server
def test_a_chunk_that_is_being_read_stays(
    conn: Connection, run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.rollups.LOCK_WAIT_MS", 50)
    add_updates(conn, [EXPIRED])
    with database.connect() as reader:
        reader.execute("SELECT count(*) FROM job_telemetry")
        assert run()["job_telemetry"] == Dropped(0, 1, "it is being read")
    assert run()["job_telemetry"] == Dropped(1, 0, None)


@pytest.mark.server
def test_a_row_that_comes_in_at_the_last_moment_is_not_dropped_uncounted(
    conn: Connection, run: Run, database: Database
) -> None:
    add_updates(conn, [EXPIRED])
    with database.connect() as writer:  # it has the chunk already when the task wants it
        add_updates(writer, [EXPIRED], job_id="last moment")
        thread = threading.Thread(target=run)
        thread.start()
        while conn.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is None:
            assert thread.is_alive()
        writer.commit()
    thread.join(60)
    run()
    assert sum(row[0] for row in materialised(conn, "job_speed_1m", "updates")) == 2


# Behind the edge.


def drop_most(conn: Connection, run: Run) -> dict[str, list[object]]:
    """Updates of days, the older half of them dropped; what the rollups have of them."""
    add_updates(conn, every(HOUR, EXPIRED, MIDNIGHT))
    run()
    assert edge_of(conn, "job_telemetry") == EDGE
    return history(conn)


def test_a_late_row_behind_the_edge_erases_no_history(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    """The settings were raised since; a refresh that reached it would find nothing else there."""
    before = drop_most(conn, run)
    add_updates(conn, [EDGE - DAY], job_id="behind the edge")
    longer = replace(short, late_data_days=50, raw_retention_days=60, rollup_1m_retention_days=90)
    refresh_rollups.run_once(database, longer, NOW)
    after = history(conn)
    for rollup, rows in before.items():
        assert set(rows) <= set(after[rollup]), rollup


def test_no_refresh_at_all_reaches_behind_the_edge(conn: Connection, run: Run) -> None:
    """Not even one whose process was paused after it had chosen its window."""
    before = drop_most(conn, run)
    minutes, hours = ROLLUPS[0], ROLLUPS[1]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="too small"):
        store.refresh(conn, minutes, Window(EXPIRED, EDGE), force=True)
    store.refresh(conn, minutes, Window(EXPIRED, NOW), force=True)
    store.refresh(conn, hours, Window(EXPIRED, NOW))
    after = history(conn)
    assert all(set(before[name]) <= set(after[name]) for name in before)


def test_hours_are_not_erased_when_their_minutes_are_gone(
    conn: Connection, run: Run, database: Database, short: Config
) -> None:
    drop_most(conn, run)
    hours = materialised(conn, "job_speed_1h")
    run(NOW + 400 * DAY)
    assert starts(conn, "job_speed_1m") == []
    add_updates(conn, [NOW + 399 * DAY])
    longer = replace(
        short, late_data_days=700, raw_retention_days=800, rollup_1m_retention_days=900
    )
    refresh_rollups.run_once(database, longer, NOW + 400 * DAY)
    assert set(hours) <= set(materialised(conn, "job_speed_1h"))


def test_rows_behind_the_edge_stay_until_they_are_deleted_by_hand(
    conn: Connection, run: Run
) -> None:
    before = drop_most(conn, run)
    add_updates(conn, [EXPIRED], job_id="behind the edge")
    done = run(NOW + 6 * HOUR)["job_telemetry"]
    assert (done.chunks, done.stayed) == (1, 1)
    assert starts(conn, "job_telemetry")[0] == EXPIRED
    conn.execute("DELETE FROM job_telemetry WHERE time < %s", [EDGE])
    assert run(NOW + 6 * HOUR)["job_telemetry"] == Dropped(1, 0, None)
    assert edge_of(conn, "job_telemetry") == EDGE + 6 * HOUR, "it never goes back"
    after = history(conn)
    assert all(set(before[name]) <= set(after[name]) for name in before)


def test_an_empty_hub_has_nothing_to_drop(run: Run) -> None:
    assert set(run().values()) == {Dropped(0, 0, None)}


def test_the_clock_is_the_databases_without_a_given_time(
    conn: Connection, database: Database, short: Config
) -> None:
    row = conn.execute("SELECT now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    add_updates(conn, [now - 4 * DAY, now - timedelta(minutes=5)])
    refresh_rollups.run_once(database, short)
    done = drop_expired_chunks.run_once(database, short)
    assert done["job_telemetry"] == Dropped(1, 0, None)


# A wrong clock.


def test_a_clock_that_jumps_drops_nothing_for_a_day_of_runs(
    conn: Connection, database: Database, short: Config
) -> None:
    add_updates(conn, every(6 * HOUR, EXPIRED, NOW))
    drop_expired_chunks.run_once(database, replace(short, raw_retention_days=20), NOW)
    kept = starts(conn, "job_telemetry")
    ahead = NOW + 45 * DAY
    add_updates(conn, [ahead])  # received by the same clock
    for run in range(RUNS_UNTIL_TRUSTED):
        with pytest.raises(HubError, match=r"45 days after .* nothing is dropped for a day"):
            drop_expired_chunks.run_once(database, short, ahead + run * HOUR)
    assert starts(conn, "job_telemetry")[: len(kept)] == kept
    done = drop_expired_chunks.run_once(database, short, ahead + RUNS_UNTIL_TRUSTED * HOUR)
    assert done["job_telemetry"].chunks == len(kept), "the clock was right"


def test_a_clock_that_is_set_back_is_trusted_at_once(
    conn: Connection, database: Database, short: Config
) -> None:
    add_updates(conn, every(6 * HOUR, EXPIRED, NOW))
    keep_alive(conn, NOW - HOUR)
    drop_expired_chunks.run_once(database, replace(short, raw_retention_days=20), NOW - HOUR)
    with pytest.raises(HubError, match="nothing is dropped"):
        drop_expired_chunks.run_once(database, short, NOW + 45 * DAY)
    done = drop_expired_chunks.run_once(database, short, NOW)
    assert done["job_telemetry"] == Dropped(6, 0, None)


@pytest.mark.parametrize("days", [45, 400])
def test_a_hub_that_starts_with_a_clock_ahead_keeps_everything(
    conn: Connection, database: Database, short: Config, days: int
) -> None:
    """Not even after a day, while nothing is received by that clock."""
    add_updates(conn, every(6 * HOUR, NOW - DAY, NOW))
    add_snapshots(conn, [NOW])
    refresh_rollups.run_once(database, short, NOW)
    kept = {series: starts(conn, series) for series in DROPPED_SERIES}
    clock = NOW + days * DAY
    for run in range(3 * RUNS_UNTIL_TRUSTED):
        drop_expired_chunks.run_once(database, short, clock + run * HOUR)
    assert {series: starts(conn, series) for series in DROPPED_SERIES} == kept
    assert edge_of(conn, "job_telemetry") is None
