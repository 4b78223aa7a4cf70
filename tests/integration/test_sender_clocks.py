"""The clock of a sender: set back in the run, set right again, or wrong by a constant."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from psycopg.errors import InvalidParameterValue

from app.charts.job import read_history
from app.clock import from_micros, to_micros, utc_now
from app.database.pool import Connection, Database
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.ingest.snapshots import store_snapshots
from tests.factories import fresh
from tests.storing import LATE_DAYS, store

SHOWN = """
SELECT status, bytes_transferred, total_bytes, current_phase, warnings, clock_offset_seconds
FROM jobs WHERE job_id = 'j'
"""


def shown(conn: Connection) -> Any:
    return conn.execute(SHOWN.encode()).fetchone()


def run(first: int, last: int, ahead: float = 0, **fields: Any) -> list[Update]:
    """An update every 10 s, the last one now; bytes by tens. `ahead`: of the hub's clock."""
    return [
        fresh(10 * (n - last) + ahead, bytes_transferred=10 * n, **(fields if n == first else {}))
        for n in range(first, last + 1)
    ]


def push(conn: Connection, *updates: Update) -> None:
    for update in updates:
        store(conn, update)


@pytest.mark.parametrize("skew", [0, -40, 106])
def test_a_clock_set_back_in_the_run(conn: Connection, skew: int) -> None:
    push(conn, *run(0, 19, skew, total_bytes=1000, current_phase="transferring"))
    push(conn, *[fresh(skew - 90 + n / 40, bytes_transferred=10 * (20 + n)) for n in range(40)])
    status, done, total, phase, warnings, offset = shown(conn)
    assert (status, done, total, phase) == ("running", 590, 1000, "transferring")
    assert list(warnings) == ["clock_set_back"]
    said = re.search(r"set back by (\d+) s during the run", warnings["clock_set_back"])
    assert said
    assert abs(int(said[1]) - 90) <= 10
    assert abs(offset - 90) <= 10

    push(conn, fresh(skew - 88, status="completed"))
    status, done, total, phase, warnings, _ = shown(conn)
    assert (status, done, total, phase) == ("completed", 590, 1000, "transferring")
    history = read_history(conn, "j", points=5000)
    assert history.statistics.updates == 61
    assert history.job.completed_at is not None
    assert history.points[-1].t <= (history.duration_seconds or 0)
    assert max(bucket.at for bucket in history.buckets) <= history.job.completed_at
    assert [gap.reason for gap in history.stretches.gaps] == []
    events = conn.execute("SELECT reason FROM job_events WHERE kind = 'warning'").fetchall()
    assert len([1 for (reason,) in events if "set back" in reason]) == 1


def test_a_clock_set_back_of_a_job_that_reports_its_disks(conn: Connection) -> None:
    disks = [{0: {"bytes_transferred": 10 * n, "total_bytes": 1000}} for n in range(30)]
    push(conn, *[fresh(10 * (n - 19), disks=disks[n]) for n in range(20)])
    push(conn, *[fresh(-90 + n / 40, disks=disks[20 + n]) for n in range(10)])
    assert shown(conn)[1] == 290
    assert list(shown(conn)[4]) == ["clock_set_back"]


def test_a_clock_that_is_set_right_again(conn: Connection) -> None:
    push(conn, *run(0, 19))
    push(conn, fresh(-90, bytes_transferred=200), fresh(-89, bytes_transferred=210))
    push(conn, fresh(2, bytes_transferred=220))
    assert shown(conn)[1] == 220
    (newest,) = conn.execute("SELECT newest_update_at FROM jobs").fetchone() or (None,)
    assert abs((newest - utc_now()).total_seconds()) < 5


def test_repeats_across_the_set_back_are_stored_once(conn: Connection) -> None:
    before = run(0, 19)
    after = [fresh(-90 + n, bytes_transferred=200 + 10 * n) for n in range(3)]
    push(conn, *before, *after)
    again = [
        Update(u.job_type, u.job_id, u.status, u.timestamp, fields=dict(u.fields))
        for u in (*before, *after)
    ]
    assert all(receipt.is_duplicate for update in again for receipt in store(conn, update))
    assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (23,)


def test_a_clock_is_set_back_in_one_run_after_another(conn: Connection) -> None:
    for ahead in (0, 60, 120):
        whole = run(0, 4, ahead)
        whole[0].is_start = True
        push(conn, *whole)
        push(conn, *[fresh(ahead - 90 + n, bytes_transferred=50 + n) for n in range(3)])
        push(conn, fresh(ahead - 87, status="completed", bytes_transferred=70))
    rows = "SELECT status, bytes_transferred, warnings ? 'clock_set_back' FROM jobs"
    assert conn.execute(rows).fetchall() == [("completed", 70, True)] * 3


def test_late_updates_are_no_clock_that_was_set_back(conn: Connection) -> None:
    """A backlog comes beside live updates: it has less bytes."""
    whole = run(0, 30)
    push(conn, *whole[:5], *whole[25:], *whole[5:25])
    assert shown(conn)[1] == 300
    assert shown(conn)[4:] == ({}, None)
    times = conn.execute("SELECT time FROM job_telemetry ORDER BY time").fetchall()
    assert [time for (time,) in times] == [from_micros(u.timestamp or 0) for u in whole]


# Skew.


@pytest.mark.parametrize("skew", [106, 3, -106, -3])
def test_the_skew_is_measured_by_the_quickest_update(conn: Connection, skew: int) -> None:
    updates = [fresh(-seconds + skew, bytes_transferred=1) for seconds in (300, 0, 200, 700)]
    push(conn, *updates)
    (measured,) = conn.execute("SELECT clock_skew_seconds FROM jobs").fetchone() or (None,)
    assert abs(measured - skew) < 3


def test_old_updates_tell_no_skew(conn: Connection) -> None:
    push(conn, fresh(-700, bytes_transferred=1))
    assert conn.execute("SELECT clock_skew_seconds FROM jobs").fetchone() == (None,)


@pytest.mark.parametrize("skew", [0, 106, -106])
def test_the_hubs_own_absence_is_hub_away_whatever_the_skew(
    owner: Database, conn: Connection, skew: int
) -> None:
    push(conn, *[fresh(n + skew, bytes_transferred=1) for n in (-310, -305, -300, 0)])
    with owner.connect(autocommit=True) as absences:
        absences.execute("DELETE FROM hub_absences")
        now = utc_now()
        absences.execute(
            "INSERT INTO hub_absences VALUES (%s, %s)",
            [now - timedelta(seconds=298), now - timedelta(seconds=2)],
        )
        try:
            [gap] = read_history(conn, "j", points=300).stretches.gaps
        finally:
            absences.execute("DELETE FROM hub_absences")
    assert gap.reason == "hub_away"


# The hub's own clock.


def _move_to_future(owner: Database, days: int) -> None:
    """As if the job's last update had been stored by a hub whose clock was ahead."""
    with owner.connect(autocommit=True) as conn:
        conn.execute("DELETE FROM wide_writes")
        conn.execute(
            """
            WITH taken AS (
                DELETE FROM job_telemetry
                WHERE time = (SELECT max(time) FROM job_telemetry) RETURNING *
            )
            INSERT INTO job_telemetry
            SELECT (jsonb_populate_record(NULL::job_telemetry, to_jsonb(taken)
                || jsonb_build_object('time', time + %(ahead)s, 'sender_time', time))).*
            FROM taken
            """,
            {"ahead": timedelta(days=days)},
        )
        conn.execute(
            """
            WITH taken AS (
                DELETE FROM disk_telemetry
                WHERE time = (SELECT max(time) FROM disk_telemetry) RETURNING *
            )
            INSERT INTO disk_telemetry
            SELECT (jsonb_populate_record(NULL::disk_telemetry, to_jsonb(taken)
                || jsonb_build_object('time', time + %(ahead)s))).*
            FROM taken
            """,
            {"ahead": timedelta(days=days)},
        )
        micros = days * 86_400_000_000
        conn.execute(
            """
            UPDATE jobs SET
                newest_update_at = newest_update_at + %(ahead)s,
                last_telemetry_at = last_telemetry_at + %(ahead)s,
                clock_offset_seconds = extract(epoch FROM %(ahead)s::interval),
                warnings = '{"clock_shifted": "The sender''s clock is wrong"}',
                field_times = (SELECT array_agg(t + %(micros)s ORDER BY n)
                               FROM unnest(field_times) WITH ORDINALITY AS times (t, n))
            """,
            {"ahead": timedelta(days=days), "micros": micros},
        )
        conn.execute(
            """
            UPDATE job_disks SET
                newest_update_at = newest_update_at + %(ahead)s,
                field_times = (SELECT array_agg(t + %(micros)s ORDER BY n)
                               FROM unnest(field_times) WITH ORDINALITY AS times (t, n))
            """,
            {"ahead": timedelta(days=days), "micros": micros},
        )
        conn.execute(
            """
            INSERT INTO job_events (job_id, time, kind, actor, reason)
            VALUES ('j', now() + %s, 'warning', 'hub', 'The sender''s clock is wrong: …')
            """,
            [timedelta(days=days)],
        )


@pytest.mark.parametrize("days", [45, 400])
def test_what_was_stored_while_the_hubs_clock_was_ahead(
    owner: Database, conn: Connection, days: int
) -> None:
    disks: dict[int, dict[str, Any]] = {0: {"bytes_transferred": 20, "total_bytes": 50}}
    push(conn, fresh(-60, bytes_transferred=10, total_bytes=100, current_phase="transferring"))
    push(conn, fresh(-40, bytes_transferred=20, disks=disks))
    sent = conn.execute("SELECT time FROM job_telemetry ORDER BY time").fetchall()
    _move_to_future(owner, days)

    push(conn, fresh(-20, bytes_transferred=30, disks={0: {"bytes_transferred": 30}}))
    push(conn, fresh(0, bytes_transferred=40))
    status, done, total, phase, warnings, offset = shown(conn)
    assert (status, done, total, phase) == ("running", 40, 100, "transferring")
    assert list(warnings) == ["hub_clock_ahead"]
    assert f"The hub's clock was {days - 1} days" in warnings["hub_clock_ahead"] or (
        f"The hub's clock was {days} days" in warnings["hub_clock_ahead"]
    )
    assert offset is None
    times = conn.execute("SELECT time, sender_time FROM job_telemetry ORDER BY time").fetchall()
    assert [time for time, _ in times[:2]] == [time for (time,) in sent]
    assert [named for _, named in times] == [None] * 4
    found = conn.execute("SELECT time FROM disk_telemetry ORDER BY time").fetchall()
    assert found == [(time,) for time, _ in times[1:3]]
    history = read_history(conn, "j", points=300)
    assert history.statistics.updates == 4
    assert conn.execute("SELECT bytes_transferred FROM job_disks").fetchone() == (30,)
    reasons = conn.execute("SELECT reason FROM job_events WHERE kind = 'warning'").fetchall()
    assert [reason for (reason,) in reasons if "sender's clock" in reason] == []


def test_only_what_is_in_the_future_is_moved(conn: Connection) -> None:
    with pytest.raises(InvalidParameterValue, match="stays"):
        conn.execute("SELECT return_from_future('j', now() - interval '1 day')")


def test_snapshots_that_were_stored_while_the_hubs_clock_was_ahead(
    owner: Database, conn: Connection
) -> None:
    def snapshot(seconds: float, cpu: float) -> None:
        at = to_micros(utc_now() + timedelta(seconds=seconds))
        with conn.transaction():
            store_snapshots(conn, [Snapshot("n", at, {"cpu_percent": cpu})], LATE_DAYS)

    snapshot(-60, 1)
    snapshot(-40, 2)
    sent = conn.execute("SELECT time FROM node_telemetry ORDER BY time").fetchall()
    ahead = timedelta(days=45)
    with owner.connect(autocommit=True) as wrong:
        wrong.execute(
            """
            WITH taken AS (DELETE FROM node_telemetry WHERE cpu_percent = 2 RETURNING *)
            INSERT INTO node_telemetry
            SELECT (jsonb_populate_record(NULL::node_telemetry, to_jsonb(taken)
                || jsonb_build_object('time', time + %s, 'sender_time', time))).*
            FROM taken
            """,
            [ahead],
        )
        wrong.execute(
            "UPDATE nodes SET newest_snapshot_at = newest_snapshot_at + %s,"
            " clock_offset_seconds = extract(epoch FROM %s::interval)",
            [ahead, ahead],
        )
    snapshot(0, 3)
    shown = conn.execute("SELECT cpu_percent, clock_offset_seconds FROM nodes").fetchone()
    assert shown == (3, None)
    times = conn.execute("SELECT time, sender_time FROM node_telemetry ORDER BY time").fetchall()
    assert [time for time, _ in times[:2]] == [time for (time,) in sent]
    assert [named for _, named in times] == [None] * 3
