"""Rollups have what their series have: at once where it is fresh, after one tick where it is late.

Time is a parameter: nothing waits for a bucket to close.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import orjson
import psycopg
import pytest

from app.checks.rollups import judge_retention
from app.clock import from_micros
from app.config import Config
from app.database.migrate import version_tuple
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS, Rollup
from app.domain.window import EPOCH, Window
from app.errors import HubError
from app.ingest.known_jobs import KnownJobs
from app.ingest.transaction import store_updates
from app.store import rollups as store
from jobs import refresh_rollups, summarise_finished_jobs
from jobs.runner import Runner
from jobs.schedule import Task
from tests.chunks import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    add_snapshots,
    add_updates,
    every,
    materialised,
    versions,
)
from tests.factories import fresh, make_update

pytestmark = pytest.mark.owner

THIS_MINUTE = NOW.replace(second=0)
Tick = Callable[..., dict[str, float]]
# What TimescaleDB's refreshes have still to do.
RANGES = "_timescaledb_catalog.continuous_aggs_materialization_ranges"
LOG = "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log"
REGISTERED = "_timescaledb_catalog.continuous_aggs_jobs_refresh_ranges"


@pytest.fixture
def tick(database: Database, config: Config) -> Tick:
    """One run of the task, by default at NOW."""
    return lambda now=NOW: refresh_rollups.run_once(database, config, now)


def seen(conn: Connection, rollup: str, column: str = "updates") -> dict[datetime, int]:
    """The buckets that a reader of the rollup sees, with a count each."""
    sql = f"SELECT bucket, sum({column})::bigint FROM {rollup} GROUP BY bucket ORDER BY bucket"
    return dict(conn.execute(sql.encode()).fetchall())


# What is fresh.


def test_the_newest_buckets_are_seen_before_any_refresh(conn: Connection) -> None:
    add_updates(conn, [NOW - MINUTE, NOW])
    add_snapshots(conn, [NOW])
    assert seen(conn, "job_speed_1m") == {THIS_MINUTE - MINUTE: 1, THIS_MINUTE: 1}
    assert seen(conn, "job_speed_1h") == {NOW.replace(minute=0, second=0): 2}
    assert seen(conn, "disk_speed_1m") == {THIS_MINUTE - MINUTE: 1, THIS_MINUTE: 1}
    assert seen(conn, "node_telemetry_1m", "snapshots") == {THIS_MINUTE: 1}
    assert sum(seen(conn, "node_telemetry_1h", "snapshots").values()) == 1


def test_a_bucket_is_materialised_once_it_has_been_closed_for_a_minute(
    conn: Connection, tick: Tick
) -> None:
    add_updates(conn, every(30 * timedelta(seconds=1), NOW - 4 * MINUTE, NOW))
    before = seen(conn, "job_speed_1m")
    tick()
    assert max(versions(conn, "job_speed_1m")) == THIS_MINUTE - 2 * MINUTE
    assert seen(conn, "job_speed_1m") == before, "the others are still seen"
    tick(NOW + MINUTE)
    assert max(versions(conn, "job_speed_1m")) == THIS_MINUTE - MINUTE


def test_an_open_hour_is_seen_and_not_materialised(conn: Connection, tick: Tick) -> None:
    add_updates(conn, [NOW - HOUR, NOW])
    tick()
    hour = NOW.replace(minute=0, second=0)
    assert seen(conn, "job_speed_1h") == {hour - HOUR: 1, hour: 1}
    assert list(versions(conn, "job_speed_1h")) == [hour - HOUR]


def test_a_closed_bucket_is_not_made_again(conn: Connection, tick: Tick) -> None:
    add_updates(conn, every(MINUTE, NOW - 3 * HOUR, NOW))
    tick()
    before = {rollup.name: versions(conn, rollup.name) for rollup in ROLLUPS}
    add_updates(conn, [NOW])
    tick(NOW + 2 * MINUTE)
    for name, made in before.items():
        after = versions(conn, name)
        assert {bucket: after[bucket] for bucket in made} == made, name


def test_a_sender_ahead_of_its_time_is_seen_and_materialised_when_it_is_due(
    conn: Connection, tick: Tick
) -> None:
    ahead = NOW + 5 * MINUTE
    add_updates(conn, [NOW - 5 * MINUTE, ahead])
    tick()
    assert ahead.replace(second=0) in seen(conn, "job_speed_1m")
    assert ahead.replace(second=0) not in versions(conn, "job_speed_1m")
    tick(NOW + 10 * MINUTE)
    assert ahead.replace(second=0) in versions(conn, "job_speed_1m")


def test_without_a_given_time_the_clock_is_the_databases(
    conn: Connection, database: Database, config: Config
) -> None:
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status)
           SELECT now() - interval '5 minutes', 0, 'j', 'running'"""
    )
    refresh_rollups.run_once(database, config)
    assert len(versions(conn, "job_speed_1m")) == 1


# What is late.


def test_an_update_of_two_days_ago_is_in_every_rollup_after_one_tick(
    conn: Connection, tick: Tick
) -> None:
    add_updates(conn, every(HOUR, NOW - 3 * DAY, NOW))
    tick()
    add_updates(conn, [NOW - 2 * DAY], job_id="late", speed=77)
    tick(NOW + MINUTE)
    for rollup in ("job_speed_1m", "job_speed_1h", "disk_speed_1m"):
        rows = materialised(conn, rollup, "job_id, speed_max, updates")
        assert ("late", 77, 1) in rows, rollup


def test_late_updates_rebuild_their_own_buckets_and_no_others(conn: Connection, tick: Tick) -> None:
    add_updates(conn, every(MINUTE, NOW - 3 * DAY, NOW))
    tick()
    before = {name: versions(conn, name) for name in ("job_speed_1m", "job_speed_1h")}
    late = [NOW - 2 * DAY, NOW - 26 * HOUR, NOW - 5 * HOUR]
    for at in late:  # each from another sender, in its own transaction, as ingest stores them
        add_updates(conn, [at], job_id=f"late-{at}")
    tick(NOW + MINUTE)
    minutes = _rebuilt(before["job_speed_1m"], versions(conn, "job_speed_1m"))
    assert minutes == {at.replace(second=0) for at in late}
    hours = _rebuilt(before["job_speed_1h"], versions(conn, "job_speed_1h"))
    assert hours == {at.replace(minute=0, second=0) for at in late}


def test_one_transaction_of_far_apart_updates_rebuilds_their_hours_and_no_others(
    conn: Connection, database: Database, config: Config
) -> None:
    """As a backlog is stored. TimescaleDB records one range for all of it."""
    with conn.transaction():
        steady = [make_update(-600 * n, job_id="steady") for n in range(1, 6 * 24 * 3)]
        assert len(store_updates(conn, steady, 28)) == len(steady)
    refresh_rollups.run_once(database, config)
    before = {name: versions(conn, name) for name in ("job_speed_1m", "job_speed_1h")}
    late = [-2.5 * 86_400, -26 * 3_600, -5 * 3_600]
    with conn.transaction():
        updates = [make_update(at, job_id="late", disks={0: {}}) for at in late]
        store_updates(conn, updates, 28)
    hours = {from_micros(u.time - u.time % 3_600_000_000) for u in updates}
    refresh_rollups.run_once(database, config)
    for name, made in before.items():
        rebuilt = _rebuilt(made, versions(conn, name))
        assert {bucket.replace(minute=0) for bucket in rebuilt} == hours, name
    assert sum(row[0] for row in materialised(conn, "disk_speed_1m", "updates")) == len(late)
    assert (
        conn.execute(
            "SELECT rollup, hour FROM stale_hours WHERE hour < now() - INTERVAL '2 hours'"
        ).fetchall()
        == []
    )
    assert conn.execute("SELECT count(*) FROM wide_writes").fetchone() == (0,)


@pytest.mark.parametrize("order", [("all", "ends"), ("ends", "all")])
def test_transactions_with_the_same_range_hide_each_other_from_no_refresh(
    conn: Connection, database: Database, config: Config, order: tuple[str, str]
) -> None:
    """One sender has an update for each hour of an outage, another for its first and last."""
    hours = {"all": range(10, 20), "ends": (10, 19)}
    with conn.transaction():
        store_updates(conn, [make_update(-3_600 * n, job_id="steady") for n in range(2, 60)], 28)
    refresh_rollups.run_once(database, config)
    for job_id in order:
        with conn.transaction():
            updates = [make_update(-3_600 * n, job_id=job_id) for n in hours[job_id]]
            store_updates(conn, updates, 28)
    refresh_rollups.run_once(database, config)
    made = materialised(conn, "job_speed_1m", "job_id, updates")
    assert made.count(("all", 1)) == 10
    assert made.count(("ends", 1)) == 2


def test_what_another_process_records_meanwhile_is_not_forgotten(
    conn: Connection, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -m app repair` does beside the tasks: the embedded engine has no lock for both."""
    add_updates(conn, every(MINUTE, NOW - DAY, NOW))
    tick()
    late = NOW - 5 * HOUR
    add_updates(conn, [late], job_id="late")
    one_snapshot = store._one_snapshot
    pending = [late + timedelta(seconds=1)]

    @contextmanager
    def interrupted(first: Connection) -> Iterator[None]:
        with one_snapshot(first):
            yield
        if pending:
            add_updates(conn, [pending.pop()], job_id="later")
            store.refresh(conn, ROLLUPS[0], Window(NOW - 20 * HOUR, NOW - 19 * HOUR))

    monkeypatch.setattr(store, "_one_snapshot", interrupted)
    for n in range(2):
        tick(NOW + n * MINUTE)
    assert {("late",), ("later",)} <= set(materialised(conn, "job_speed_1m", "job_id"))


def test_jobs_are_summarised_while_the_first_refresh_runs(
    conn: Connection, database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_updates(conn, every(MINUTE, NOW - HOUR, NOW))

    def fail(*args: object) -> None:
        raise HubError("it fails")

    monkeypatch.setattr(store, "note_refresh", fail)
    _ignore_failure(lambda: refresh_rollups.run_once(database, config))
    assert summarise_finished_jobs.run_once(database, config).written == 0


def test_the_doctor_reports_a_rollup_that_hides_late_updates(
    conn: Connection, config: Config
) -> None:
    sql = """CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous) AS
             SELECT time_bucket('1 day', {time}) AS day, count(*) FROM {source} GROUP BY 1
             WITH NO DATA"""
    conn.execute(sql.format(name="mine", time="time", source="job_telemetry").encode())
    conn.execute(sql.format(name="harmless", time="bucket", source="job_speed_1h").encode())
    try:
        faults = list(judge_retention(conn, config))
    finally:
        conn.execute("DROP MATERIALIZED VIEW mine")
        conn.execute("DROP MATERIALIZED VIEW harmless")
    assert len(faults) == 1
    assert faults[0].startswith("The continuous aggregate public.mine is made from job_telemetry")
    assert list(judge_retention(conn, config)) == []


def test_a_range_that_ingest_has_not_noted_is_refreshed_whole(conn: Connection, tick: Tick) -> None:
    """As when an operator imports updates."""
    add_updates(conn, every(MINUTE, NOW - 3 * DAY, NOW))
    tick()
    with conn.transaction():
        for at in (NOW - 50 * HOUR, NOW - 40 * HOUR, NOW - 30 * HOUR):
            add_updates(conn, [at], job_id="imported")
    tick(NOW + MINUTE)
    made = materialised(conn, "job_speed_1m", "job_id, updates")
    assert made.count(("imported", 1)) == 3


def test_hours_that_were_written_to_while_a_refresh_ran_are_refreshed_next(
    conn: Connection, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_updates(conn, every(MINUTE, NOW - DAY, NOW))
    tick()
    add_updates(conn, [NOW - 5 * HOUR], job_id="late")
    refresh = store.refresh
    pending = [NOW - 20 * HOUR]

    def write_and_refresh(conn: Connection, rollup: Rollup, window: Window) -> None:
        if pending:
            add_updates(conn, [pending.pop()], job_id="later")
        refresh(conn, rollup, window)

    monkeypatch.setattr(store, "refresh", write_and_refresh)
    tick(NOW + MINUTE)
    tick(NOW + 2 * MINUTE)
    made = materialised(conn, "job_speed_1h", "job_id")
    assert {("late",), ("later",)} <= set(made)


def test_a_refresh_that_fails_is_repeated(
    conn: Connection, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TimescaleDB's log is already empty by then."""
    add_updates(conn, every(MINUTE, NOW - DAY, NOW))
    tick()
    add_updates(conn, [NOW - 5 * HOUR], job_id="late")
    refresh = store.refresh

    def record_and_fail(conn: Connection, rollup: Rollup, window: Window) -> None:
        refresh(conn, rollup, Window(NOW - 2 * DAY, NOW - 47 * HOUR))
        raise HubError("it fails")

    with monkeypatch.context() as patch:
        patch.setattr(store, "refresh", record_and_fail)
        _ignore_failure(lambda: tick(NOW + MINUTE))
    tick(NOW + 2 * MINUTE)
    assert ("late",) in materialised(conn, "job_speed_1h", "job_id")


def _rebuilt(before: dict[datetime, str], after: dict[datetime, str]) -> set[datetime]:
    return {bucket for bucket, version in before.items() if after.get(bucket) != version}


def test_late_updates_into_a_compressed_rollup_double_no_bucket(
    conn: Connection, tick: Tick
) -> None:
    """A day of minutes is more than one compressed batch; TimescaleDB 2.23.1 had doubled some."""
    midnight = (NOW - 9 * DAY).replace(hour=0, minute=0, second=0)
    sql = """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status)
             SELECT %s + n * interval '1 minute', 0, 'job-' || job, 'running'
             FROM generate_series(0, 1439) AS n, generate_series(1, 3) AS job"""
    conn.execute(sql, [midnight])
    tick()
    for chunk in store.read_chunks(conn, "job_speed_1m"):
        store.compress_chunk(conn, chunk)
    late = [midnight + timedelta(hours=h, minutes=7, seconds=1) for h in (5, 17, 18, 6, 23)]
    for n, at in enumerate(late, start=1):
        add_updates(conn, [at], job_id="job-2")
        tick()
        buckets = seen(conn, "job_speed_1m")
        assert sum(buckets.values()) == 3 * 1440 + n
        assert buckets[at.replace(second=0)] == 4


def test_late_snapshots_reach_both_rollups_of_nodes(conn: Connection, tick: Tick) -> None:
    add_snapshots(conn, every(MINUTE, NOW - 3 * HOUR, NOW))
    tick()
    late = NOW - 2 * HOUR + timedelta(seconds=7)
    add_snapshots(conn, [late], node_id="late")
    tick()
    for rollup in ("node_telemetry_1m", "node_telemetry_1h"):
        assert ("late", 1) in materialised(conn, rollup, "node_id, snapshots")


def test_updates_at_the_late_horizon_are_refreshed_even_by_a_tick_that_is_hours_late(
    conn: Connection, tick: Tick, config: Config
) -> None:
    add_updates(conn, [NOW - config.late_data_days * DAY])
    tick(NOW + 11 * HOUR)
    assert len(versions(conn, "job_speed_1m")) == len(versions(conn, "job_speed_1h")) == 1


# What rollups hold.

# The sum last: it is the only one that is not exact.
_COLUMNS = """
    bucket, updates, speed_count, speed_min, speed_max, moving_count, bytes_first, bytes_last,
    progress_last_bp, phase_first, phase_last, coalesce(speed_sum, -1)
    """


@pytest.mark.parametrize("seed", range(2))
def test_after_random_late_updates_a_rollup_is_what_its_series_says(
    conn: Connection, tick: Tick, seed: int
) -> None:
    chance = random.Random(seed)
    rows = [_random_row(chance, seq) for seq in range(240)]
    for part in range(4):
        for row in rows[60 * part : 60 * part + 60]:  # a transaction each: late one by one
            _add_row(conn, row)
        tick(NOW + part * MINUTE)
    tick(NOW + DAY)  # now every bucket is closed
    for rollup, length in (("job_speed_1m", MINUTE), ("job_speed_1h", HOUR)):
        found = materialised(conn, rollup, _COLUMNS)
        expected = _expected(rows, length)
        assert [row[:-1] for row in found] == [row[:-1] for row in expected], rollup
        assert [row[-1] for row in found] == pytest.approx([row[-1] for row in expected], rel=1e-9)


def _random_row(chance: random.Random, seq: int) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return chance.choice([None, value, value])

    age = chance.choice([HOUR, DAY, 3 * DAY])
    return {
        "time": (NOW - chance.random() * age).replace(microsecond=0, second=chance.choice([0, 30])),
        "seq": seq,
        "speed": maybe(chance.choice([0, chance.randint(1, 10**10)])),
        "bytes": maybe(chance.randint(0, 10**12)),
        "percent": maybe(chance.randint(0, 100)),
        "phase": maybe(chance.choice("abc")),
    }


def _add_row(conn: Connection, row: dict[str, Any]) -> None:
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, seq, status,
               transfer_speed_bps, bytes_transferred, progress_percent, current_phase)
           VALUES (%(time)s, 0, 'j', %(seq)s, 'running', %(speed)s, %(bytes)s, %(percent)s,
               %(phase)s)""",
        row,
    )


def _expected(rows: Sequence[dict[str, Any]], length: timedelta) -> list[tuple[Any, ...]]:
    def bucket(row: dict[str, Any]) -> datetime:
        at: datetime = row["time"]
        return at - (at - NOW.replace(hour=0, minute=0, second=0)) % length

    ordered = sorted(rows, key=lambda row: (row["time"], row["seq"]))
    return [_expected_bucket(at, list(held)) for at, held in groupby(ordered, key=bucket)]


def _expected_bucket(at: datetime, rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    def reported(field: str) -> list[Any]:
        return [row[field] for row in rows if row[field] is not None]

    def ends(values: list[Any]) -> tuple[Any, Any]:
        return (values[0], values[-1]) if values else (None, None)

    speeds, percents = reported("speed"), reported("percent")
    return (
        at,
        len(rows),
        len(speeds),
        min(speeds, default=None),
        max(speeds, default=None),
        len([speed for speed in speeds if speed > 0]),
        *ends(reported("bytes")),
        percents[-1] * 100 if percents else None,
        *ends(reported("phase")),
        sum(speeds) if speeds else -1,
    )


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_day_on_which_clocks_change_has_24_hours(conn: Connection, tick: Tick, day: str) -> None:
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    add_updates(conn, every(MINUTE, start, start + DAY))
    tick(start + DAY + 2 * MINUTE)
    with conn.transaction():
        conn.execute("SET LOCAL timezone TO 'Europe/Berlin'")
        hours = conn.execute("SELECT bucket, updates FROM job_speed_1h ORDER BY 1").fetchall()
    assert [(at.astimezone(UTC), count) for at, count in hours] == [
        (at, 60) for at in every(HOUR, start, start + DAY)
    ]


# What may go wrong.


def test_an_empty_hub_has_nothing_to_refresh(tick: Tick) -> None:
    seconds = tick()
    assert list(seconds) == [rollup.name for rollup in ROLLUPS]
    assert orjson.loads(orjson.dumps(seconds)) == seconds


@pytest.mark.parametrize("is_late", [False, True], ids=["empty", "just-begun"])
def test_hours_before_the_first_update_are_not_made_once_it_is_there(
    conn: Connection, tick: Tick, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """They are made by the first refresh, also where updates have come before it."""
    hour = NOW.replace(minute=0, second=0)
    if is_late:
        add_updates(conn, [hour + 10 * MINUTE])
    tick(hour + 10 * MINUTE)
    add_updates(conn, [hour + 10 * MINUTE])
    made: list[str] = []
    refresh = store.refresh

    def note(conn: Connection, rollup: Rollup, window: Window) -> None:
        made.append(rollup.name)
        refresh(conn, rollup, window)

    monkeypatch.setattr(store, "refresh", note)
    tick(hour + 30 * MINUTE)
    assert made.count("job_speed_1m") == 1
    assert "job_speed_1h" not in made
    assert seen(conn, "job_speed_1h") == {hour: 1}
    assert materialised(conn, "job_speed_1m", "bucket, updates") == [(hour + 10 * MINUTE, 1)]
    tick(hour + HOUR + MINUTE)
    assert materialised(conn, "job_speed_1h", "bucket, updates") == [(hour, 1)]


def test_hours_are_not_made_all_at_once_before_their_minutes(conn: Connection) -> None:
    """As when the refresh of the minutes has failed: the view reads the updates themselves."""
    add_updates(conn, [NOW - DAY])
    assert store.refresh_stale(conn, ROLLUPS[1], EPOCH, NOW) == 0
    assert not materialised(conn, "job_speed_1h")


def test_block_ranges_that_fail_stop_no_refresh(
    conn: Connection, database: Database, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(conn: Connection) -> None:
        conn.execute("SELECT 1 / 0")

    monkeypatch.setattr(database, "is_embedded", True)
    monkeypatch.setattr(store, "summarise_block_ranges", fail)
    add_updates(conn, [NOW - 2 * MINUTE])
    with pytest.raises(HubError, match="block ranges"):
        tick()
    assert materialised(conn, "job_speed_1m")


def test_hours_outlive_a_series_that_was_dropped_by_hand(conn: Connection, tick: Tick) -> None:
    """No edge has moved, and there is nothing left that a refresh could make them from."""
    add_updates(conn, [NOW - 3 * HOUR])
    tick()
    before = materialised(conn, "job_speed_1h")
    for series in ("job_telemetry", "job_speed_1m"):
        conn.execute("SELECT drop_chunks(%s::regclass, older_than => %s)", [series, NOW + DAY])
    tick()
    assert before
    assert materialised(conn, "job_speed_1h") == before


def test_a_refresh_finds_what_came_by_block_ranges(
    conn: Connection, database: Database, tick: Tick
) -> None:
    """Without them the refresh of an hour looks at every row since the engine was last vacuumed."""
    add_updates(conn, every(timedelta(milliseconds=1), NOW, NOW + MINUTE))  # two ranges
    tick()
    left = conn.execute(
        "SELECT coalesce(sum(brin_summarize_new_values(indexrelid)), 0) FROM pg_index"
        " JOIN pg_class ON oid = indexrelid WHERE relkind = 'i'"
        " AND relam = (SELECT oid FROM pg_am WHERE amname = 'brin')"
    ).fetchone()
    assert left == (0,) or not database.is_embedded  # a server's autovacuum does it


def test_a_clock_that_is_set_back_behind_the_edge_does_no_harm(
    conn: Connection, tick: Tick
) -> None:
    add_updates(conn, [NOW - HOUR])
    conn.execute("UPDATE series_edges SET dropped_before = %s", [NOW + DAY])
    tick()
    assert versions(conn, "job_speed_1m") == {}


def test_one_rollup_that_fails_does_not_stop_the_others(
    conn: Connection, tick: Tick, caplog: pytest.LogCaptureFixture
) -> None:
    add_updates(conn, [NOW - 2 * HOUR])
    add_snapshots(conn, [NOW - 2 * HOUR])
    conn.execute("UPDATE disk_telemetry SET progress_percent = 1e30")  # no integer basis points
    with pytest.raises(HubError, match=r"^disk_speed_1m could not be refreshed; the reason is in"):
        tick()
    for rollup in ("job_speed_1m", "job_speed_1h", "node_telemetry_1m", "node_telemetry_1h"):
        assert len(versions(conn, rollup)) == 1, rollup
    assert "disk_speed_1m could not be refreshed" in caplog.messages


@pytest.mark.steps
def test_a_step_is_committed_at_once(conn: Connection, tick: Tick) -> None:
    """TimescaleDB from 2.28 on would commit every ten buckets, the newest ones first."""
    add_updates(conn, every(MINUTE, NOW - 2 * HOUR, NOW))
    tick()
    buckets = versions(conn, "job_speed_1m")
    assert len(buckets) == 2 * 60 - 1  # the last minute is not settled
    assert len(set(buckets.values())) == 2  # until noon, and after it


def test_a_rollup_that_is_not_there_is_a_failure(conn: Connection, tick: Tick) -> None:
    conn.execute("ALTER MATERIALIZED VIEW node_telemetry_1h RENAME TO elsewhere")
    try:
        with pytest.raises(HubError, match=r"^node_telemetry_1h could not be refreshed"):
            tick()
    finally:
        conn.execute("ALTER MATERIALIZED VIEW elsewhere RENAME TO node_telemetry_1h")


def test_a_series_without_an_edge_is_not_refreshed(conn: Connection) -> None:
    add_updates(conn, [NOW - HOUR])
    with conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM series_edges WHERE series = 'job_telemetry'")
        row = conn.execute("SELECT refreshable_from('job_telemetry', now())::text").fetchone()
    assert row == ("infinity",)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="too small"):
        conn.execute(
            "CALL refresh_continuous_aggregate('job_speed_1m', 'infinity'::timestamptz, %s)", [NOW]
        )


def test_what_a_killed_refresh_has_left_is_finished_by_the_next(
    conn: Connection, tick: Tick
) -> None:
    add_updates(conn, every(MINUTE, NOW - 3 * HOUR, NOW))
    tick()
    late = NOW - 2 * HOUR
    add_updates(conn, [late], job_id="late")
    _leave_unfinished(
        conn, "job_speed_1m", late.replace(second=0), RANGES if _notes_ranges(conn) else LOG
    )
    conn.execute("INSERT INTO stale_hours SELECT 'job_speed_1m', date_trunc('hour', %s), 1", [late])
    tick()
    for rollup in ("job_speed_1m", "job_speed_1h"):
        assert ("late", 1) in materialised(conn, rollup, "job_id, updates"), rollup


def _leave_unfinished(conn: Connection, rollup: str, bucket: datetime, into: str) -> None:
    """As a refresh does that is killed after it has noted what it is about to do."""
    conn.execute(
        f"""
        WITH taken AS (DELETE FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log)
        INSERT INTO {into}
        SELECT mat_hypertable_id, extract(epoch FROM %(bucket)s::timestamptz) * 1000000,
               extract(epoch FROM %(bucket)s::timestamptz + interval '1 minute') * 1000000
        FROM _timescaledb_catalog.continuous_agg WHERE user_view_name = %(rollup)s
        """.encode(),
        {"rollup": rollup, "bucket": bucket},
    )


def _notes_ranges(conn: Connection) -> bool:
    """Whether a refresh notes its ranges apart: TimescaleDB from 2.27 on keeps them in its log."""
    sql = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    (version,) = conn.execute(sql).fetchone() or ("",)
    return version_tuple(version) < (2, 27)


def test_an_unfinished_refresh_that_reaches_behind_the_edge_is_not_finished(
    conn: Connection, tick: Tick
) -> None:
    add_updates(conn, every(HOUR, NOW - 2 * DAY, NOW))
    tick()
    _leave_unfinished(conn, "job_speed_1m", (NOW - DAY).replace(second=0), RANGES)
    conn.execute(
        "UPDATE series_edges SET dropped_before = %s WHERE series = 'job_telemetry'", [NOW - HOUR]
    )
    try:
        with pytest.raises(HubError, match=r"^job_speed_1m could not be refreshed"):
            tick()
    finally:
        conn.execute(f"DELETE FROM {RANGES}".encode())


@pytest.mark.server
def test_a_refresh_killed_in_the_middle_is_finished_by_the_next(
    conn: Connection, database: Database, tick: Tick
) -> None:
    add_updates(conn, every(MINUTE, NOW - 3 * HOUR, NOW))
    chunk = store.read_chunks(conn, "job_telemetry")[0].identifier.as_string(conn)
    with database.connect() as holder:
        holder.execute(f"LOCK TABLE {chunk} IN ACCESS EXCLUSIVE MODE".encode())
        thread = threading.Thread(target=_ignore_failure, args=(tick,))
        thread.start()
        _kill_one_that_waits(conn)
        thread.join(60)
    left = RANGES if _notes_ranges(conn) else REGISTERED
    sql = f"SELECT count(*) FROM {left}".encode()
    assert conn.execute(sql).fetchone() != (0,), "it was killed too early for this test"
    tick()
    assert conn.execute(sql).fetchone() == (0,)
    assert sum(row[0] for row in materialised(conn, "job_speed_1m", "updates")) == 3 * 60 - 1


@pytest.mark.server
def test_what_is_committed_while_a_refresh_begins_is_refreshed(
    conn: Connection, database: Database, tick: Tick
) -> None:
    """TimescaleDB from 2.27 on empties its log later than the hub reads it."""
    store_updates(conn, [make_update(-120, job_id="late")], 28)
    tick(datetime.now(UTC))
    with database.connect() as holder:
        holder.execute(
            "SELECT FROM _timescaledb_catalog.continuous_aggs_invalidation_threshold FOR UPDATE"
        )
        store_updates(conn, [make_update(-4 * 3_600, job_id="other")], 28)
        thread = threading.Thread(target=tick, args=(datetime.now(UTC) + MINUTE,))
        thread.start()
        _wait_for_lock(conn)
        late = [make_update(at, job_id="late") for at in (-3 * 3_600, -2.5 * 3_600)]
        store_updates(conn, late, 28)
        holder.rollback()
        thread.join(60)
    tick(datetime.now(UTC) + MINUTE)
    updates = materialised(conn, "job_speed_1m", "job_id, updates")
    assert sum(n for job_id, n in updates if job_id == "late") == 3


@pytest.mark.parametrize(("age", "is_noted"), [(0, False), (120, True)])
def test_late_updates_of_known_jobs_are_noted(conn: Connection, age: int, is_noted: bool) -> None:
    """They are written in one statement."""
    known = KnownJobs()
    with conn.transaction():
        store_updates(conn, [make_update(-300, job_id="known")], 28, known)
    conn.execute("DELETE FROM wide_writes")
    update = fresh(-age, job_id="known", disks={0: {}})
    store_updates(conn, [update], 28, known)
    assert conn.execute("SELECT series, hours FROM wide_writes ORDER BY id").fetchall() == (
        [(series, [update.time // 3_600_000_000]) for series in ("job_telemetry", "disk_telemetry")]
        if is_noted
        else []
    )


def _wait_for_lock(conn: Connection) -> None:
    sql = """SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    deadline = time.monotonic() + 20
    while not conn.execute(sql).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _ignore_failure(tick: Tick) -> None:
    with pytest.raises(HubError):
        tick()


def _kill_one_that_waits(conn: Connection) -> None:
    sql = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
        """
    deadline = time.monotonic() + 20
    while not conn.execute(sql).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_dropped_since_it_was_found_stale_is_not_refreshed(
    conn: Connection, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_updates(conn, [NOW - 2 * HOUR])
    tick()
    add_updates(conn, [NOW - 2 * HOUR + timedelta(seconds=1)])
    read = store.read_stale_windows

    def read_and_drop(conn: Connection, rollup: Rollup, window: Window) -> list[Window]:
        stale = read(conn, rollup, window)
        conn.execute("UPDATE series_edges SET dropped_before = %s", [NOW])
        return stale

    monkeypatch.setattr(store, "read_stale_windows", read_and_drop)
    assert tick()


def test_tasks_of_one_process_wait_for_each_other(conn: Connection, tick: Tick) -> None:
    """Also on the embedded engine, in which an advisory lock has no effect."""
    with store.alone(conn), store.alone(conn):
        thread = threading.Thread(target=tick)
        thread.start()
        thread.join(1)
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.server
def test_only_one_refreshes_compresses_or_drops_at_a_time(conn: Connection, tick: Tick) -> None:
    with conn.transaction():
        conn.execute(store.SQL["lock"])  # as another process has it
        thread = threading.Thread(target=tick)
        thread.start()
        sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        deadline = time.monotonic() + 20
        while conn.execute(sql).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        conn.execute(store.SQL["unlock"])
    thread.join(60)
    assert not thread.is_alive()


def test_the_runner_records_a_tick(conn: Connection, database: Database, config: Config) -> None:
    add_updates(conn, [NOW - HOUR])
    task = Task("refresh_rollups", refresh_rollups.run_once, 60)
    assert Runner(database, config).run(task, now=NOW)
    row = conn.execute("SELECT last_error, last_result FROM tasks").fetchone()
    assert row is not None
    assert row[0] is None
    assert row[1].keys() == {rollup.name for rollup in ROLLUPS}


def test_ingest_and_refresh_agree_on_the_past(
    conn: Connection, database: Database, config: Config
) -> None:
    """An update as ingest stores it, a day late, is in the rollups after a tick."""
    with conn.transaction():
        store_updates(conn, [make_update(-86_400, transfer_speed_bps=3)], 28)
    refresh_rollups.run_once(database, config)
    with conn.transaction():
        store_updates(conn, [make_update(-86_390, transfer_speed_bps=4)], 28)
    refresh_rollups.run_once(database, config)
    rows = materialised(conn, "job_speed_1h", "updates, speed_max")
    assert sum(row[0] for row in rows) == 2
    assert max(row[1] for row in rows) == 4
