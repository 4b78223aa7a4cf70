"""The statements of charts, against the same maths done in Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from app.database.pool import Connection, Database
from app.domain.chart import job_span, window_step
from app.domain.stretches import Gap, Phase, Stretches
from app.domain.window import Window
from app.store import history, stretches
from app.store.history import Series
from tests.series import (
    JOB,
    LARGEST,
    START,
    Row,
    expect_bucket,
    expect_buckets,
    expect_gaps,
    expect_phases,
    in_order,
    random_rows,
    store,
    windows_of,
)


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.transaction() as conn:
        yield conn


def read_stretches(conn: Connection, span: Window, window: Window | None = None) -> Stretches:
    job = history.read_charted_job(conn, "j")
    assert job is not None
    stale = history.read_stale(conn, JOB, span.widened(3600))
    return stretches.read_stretches(conn, job, span, window or span, stale)


# Updates and buckets.


@pytest.mark.parametrize("seed", range(24))
def test_every_bucket_of_a_random_series_is_right(conn: Connection, seed: int) -> None:
    rows = random_rows(seed)
    span = store(conn, rows)
    for window in windows_of(span, seed):
        for points in (10, 37, 300):
            step = window_step(window.within(span), points)
            wide = window.within(span).widened(step)
            buckets = history.read_buckets(conn, JOB, wide, step)
            expected = expect_buckets(rows, wide, step)
            assert [bucket._replace(speed_sum=None) for bucket in buckets] == [
                bucket._replace(speed_sum=None) for bucket in expected
            ]
            assert [bucket.speed_sum for bucket in buckets] == pytest.approx(
                [bucket.speed_sum for bucket in expected]
            )
            assert len(buckets) <= points


@pytest.mark.parametrize("seed", range(8))
def test_every_update_of_a_random_series_is_a_bucket_of_its_own(
    conn: Connection, seed: int
) -> None:
    rows = random_rows(seed)
    span = store(conn, rows)
    for window in windows_of(span, seed):
        assert history.read_updates(conn, JOB, window, 1000) == [
            expect_bucket(row.time, [row])._replace(speed_sum=row.speed)
            for row in in_order(rows, window)
        ]


@pytest.mark.parametrize("seed", range(24))
def test_gaps_and_phases_of_a_random_series_are_right(conn: Connection, seed: int) -> None:
    rows = random_rows(seed, has_steady_bytes=True)
    span = store(conn, rows)
    for window in windows_of(span, seed):
        found = read_stretches(conn, span, window)
        assert found.gaps == expect_gaps(rows, span, window)
        assert found.phases == expect_phases(rows, span)
        assert (found.gaps_omitted, found.phases_omitted) == (0, 0)


def test_of_two_updates_in_one_instant_the_later_seq_is_the_last(conn: Connection) -> None:
    span = store(conn, [Row(0, bytes=1, seq=0), Row(0, bytes=3, seq=2), Row(0, bytes=2, seq=1)])
    assert [bucket.bytes for bucket in history.read_updates(conn, JOB, span, 1000)] == [1, 2, 3]
    assert [bucket.bytes for bucket in history.read_buckets(conn, JOB, span, 1)] == [3]


def test_the_highest_seq_is_still_before_the_next_microsecond(conn: Connection) -> None:
    span = store(conn, [Row(0, bytes=1, seq=32_767), Row(0.000001, bytes=2), Row(5, speed=1)])
    assert history.read_buckets(conn, JOB, span.widened(60), 60)[0].bytes == 2


def test_the_largest_numbers_can_be_summed(conn: Connection) -> None:
    rows = [Row(second, speed=LARGEST, bytes=LARGEST) for second in range(100)]
    span = store(conn, rows)
    [bucket] = history.read_buckets(conn, JOB, span.widened(300), 300)
    assert bucket.speed_sum == pytest.approx(100 * LARGEST)
    assert (bucket.speed_min, bucket.speed_max, bucket.bytes) == (LARGEST, LARGEST, LARGEST)


def test_a_bucket_of_a_day_begins_at_midnight_utc_on_the_day_the_clocks_change(
    conn: Connection,
) -> None:
    spring = datetime(2026, 3, 29, tzinfo=UTC)
    rows = [Row((spring - START).total_seconds() + hour * 3600, speed=hour) for hour in range(30)]
    span = store(conn, rows)
    conn.execute("SET LOCAL timezone = 'Europe/Berlin'")
    buckets = history.read_buckets(conn, JOB, span.widened(86_400), 86_400)
    assert [(bucket.at, bucket.updates) for bucket in buckets] == [
        (spring, 24),
        (spring + timedelta(days=1), 6),
    ]


def test_updates_are_counted_no_further_than_the_limit(conn: Connection) -> None:
    span = store(conn, [Row(second) for second in range(20)])
    assert history.count_updates(conn, JOB, span, 11) == 11
    assert history.count_updates(conn, JOB, span, 100) == 20


def test_another_job_is_not_charted(conn: Connection) -> None:
    span = store(conn, [Row(0, speed=1)])
    store(conn, [Row(0, speed=2), Row(1, speed=2)], job_id="J")
    assert history.count_updates(conn, JOB, span, 10) == 1


def test_a_hundred_thousand_updates_in_one_hour_keep_their_peak(conn: Connection) -> None:
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps,
               bytes_transferred, current_phase)
           SELECT %s + make_interval(secs => i * 0.036), 0, 'j', 'running',
                  CASE i WHEN 77777 THEN 1000 ELSE i %% 10 END, i, 'transferring'
           FROM generate_series(0, 99999) AS i""",
        (START,),
    )
    span = job_span(START, START + timedelta(seconds=99_999 * 0.036))
    buckets = history.read_buckets(conn, JOB, span.widened(15), 15)
    assert len(buckets) <= 300
    assert sum(bucket.updates for bucket in buckets) == 100_000
    assert max(bucket.speed_max or 0 for bucket in buckets) == 1000


# Gaps and phases.


def test_sixty_seconds_are_no_gap_yet(conn: Connection) -> None:
    span = store(conn, [Row(0), Row(60), Row(120.001)])
    [gap] = read_stretches(conn, span).gaps
    assert (gap.from_at, gap.to_at) == (Row(60).time, Row(120.001).time)


def test_a_window_inside_a_gap_is_all_gap(conn: Connection) -> None:
    span = store(conn, [Row(0), Row(1000)])
    inside = Window(Row(100).time, Row(200).time)
    assert read_stretches(conn, span, inside).gaps == [
        Gap(inside.from_at, inside.before_at, "silence")
    ]


def test_nothing_before_or_after_the_run_is_a_gap(conn: Connection) -> None:
    span = store(conn, [Row(0), Row(10)])
    assert read_stretches(conn, span, Window(Row(-900).time, Row(900).time)).gaps == []
    assert read_stretches(conn, span, Window(Row(500).time, Row(900).time)).gaps == []


def test_a_phase_ends_where_the_next_begins(conn: Connection) -> None:
    span = store(
        conn,
        [
            Row(0, phase="snapshot", bytes=0),
            Row(5, bytes=0),
            Row(10, phase="transferring", bytes=0),
            Row(15, phase="transferring", bytes=700),
            Row(20, phase="finalizing", bytes=1000),
            Row(25),
        ],
    )
    assert read_stretches(conn, span).phases == [
        Phase("snapshot", Row(0).time, Row(10).time, 0),
        Phase("transferring", Row(10).time, Row(20).time, 1000),
        Phase("finalizing", Row(20).time, Row(25).time, 0),
    ]


def test_a_counter_that_restarts_moves_nothing(conn: Connection) -> None:
    rows = [Row(0, phase="a", bytes=900), Row(1, phase="b", bytes=20), Row(2, bytes=50)]
    assert [phase.bytes for phase in read_stretches(conn, store(conn, rows)).phases] == [0, 30]


def test_the_bytes_of_a_phase_are_unknown_while_none_were_reported(conn: Connection) -> None:
    rows = [Row(0, phase="a"), Row(5), Row(10, phase="b"), Row(15, bytes=7), Row(20, bytes=9)]
    assert [phase.bytes for phase in read_stretches(conn, store(conn, rows)).phases] == [None, 2]


def test_of_too_many_gaps_and_phases_the_longest_are_kept(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "MOST_STRETCHES", 2)
    lengths = [100, 300, 200, 70]
    ends = [sum(lengths[: n + 1]) for n in range(4)]
    rows = [Row(n - 9, phase="0") for n in range(10)]  # of one a second
    rows += [Row(end, phase=str(n + 1)) for n, end in enumerate(ends)]
    found = read_stretches(conn, store(conn, rows))
    assert [gap.to_at - gap.from_at for gap in found.gaps] == [
        timedelta(seconds=300),
        timedelta(seconds=200),
    ]
    assert [phase.phase for phase in found.phases] == ["1", "2"]
    assert (found.gaps_omitted, found.phases_omitted) == (2, 3)


# Jobs and disks.


def test_an_unknown_job_is_none(conn: Connection) -> None:
    assert history.read_charted_job(conn, "nobody") is None


def store_disk_update(conn: Connection, seconds: float, disk: int, speed: int) -> None:
    conn.execute(
        """INSERT INTO disk_telemetry (time, job_id, disk_index, transfer_speed_bps,
               bytes_transferred, total_bytes)
           VALUES (%s, 'j', %s, %s, %s, 1000)""",
        (Row(seconds).time, disk, speed, seconds * 10),
    )


def test_a_disk_has_its_own_series(conn: Connection) -> None:
    span = store(conn, [Row(0, speed=9), Row(5, speed=9)])
    store_disk_update(conn, 0, 0, 1)
    store_disk_update(conn, 5, 0, 2)
    store_disk_update(conn, 5, 1, 3)
    buckets = history.read_updates(conn, Series("j", disk=0), span, 1000)
    assert [bucket.speed_max for bucket in buckets] == [1, 2]
    buckets = history.read_buckets(conn, Series("j", disk=1), span.widened(60), 60)
    assert [bucket.speed_max for bucket in buckets] == [3]


def test_a_disk_is_known_by_its_row_or_its_updates(conn: Connection) -> None:
    span = store(conn, [Row(0), Row(5)])
    conn.execute(
        """INSERT INTO job_disks (job_id, disk_index, bytes_transferred, total_bytes)
           VALUES ('j', 0, 40, 400)"""
    )
    store_disk_update(conn, 5, 0, 1)
    store_disk_update(conn, 5, 1, 1)
    sizes = [history.read_charted_disk(conn, Series("j", disk=disk), span) for disk in range(3)]
    assert sizes == [history.ChartedDisk(40, 400), history.ChartedDisk(50, 1000), None]


# One snapshot.


@pytest.mark.server
def test_a_chart_is_of_one_state(database: Database, owner: Database) -> None:
    with database.transaction() as conn:
        span = store(conn, [Row(0), Row(5)])
    with database.transaction() as conn:
        history.use_one_snapshot(conn)
        assert history.count_updates(conn, JOB, span, 10) == 2
        with owner.transaction() as other:
            store(other, [Row(0), Row(1)], job_id="k")
            other.execute("UPDATE job_telemetry SET job_id = 'j', seq = 1 WHERE job_id = 'k'")
        assert history.count_updates(conn, JOB, span, 10) == 2


def test_a_chart_writes_nothing(conn: Connection) -> None:
    history.use_one_snapshot(conn)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), conn.transaction():
        conn.execute("DELETE FROM jobs")


def test_the_reason_of_a_gap_is_looked_up_in_an_index(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(100.0 * n + second) for n in range(50) for second in range(3)]
    span = store(conn, rows)
    conn.execute(
        "INSERT INTO sender_losses SELECT 'j', %s + n * interval '1 second', 1, now() "
        "FROM generate_series(1, 20000) AS n",
        (START,),
    )
    conn.execute("ANALYZE sender_losses")
    assert {gap.reason for gap in read_stretches(conn, span).gaps} == {"sender_lost"}
    statement = stretches._statement

    def explained(minutes: str, **options: Any) -> Any:
        explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
        return explain + statement(minutes, **options)

    plans: list[str] = []

    class Explaining:
        def execute(self, query: Any, values: Any) -> Any:
            plans.extend(row[0] for row in conn.execute(query, values))
            return conn.execute("SELECT 'rhythm', NULL, NULL, NULL, 60000, 1")

    monkeypatch.setattr(stretches, "_statement", explained)
    job = history.read_charted_job(conn, "j")
    assert job is not None
    stale = history.read_stale(conn, JOB, span.widened(3600))
    stretches.read_stretches(Explaining(), job, span, span, stale)  # type: ignore[arg-type]
    (scan,) = [line for line in plans if "sender_losses" in line]
    assert "sender_losses_pkey" in scan
    assert "rows=1 loops=49" in scan.replace(".00", "")


def test_every_statement_walks_the_unique_index(conn: Connection) -> None:
    span = store(conn, [Row(second, speed=1) for second in range(1000)])
    for other in range(20):
        store(conn, [Row(second) for second in range(1000)], job_id=f"other-{other}")
    conn.execute("ANALYZE job_telemetry")
    # Small tables are cheapest read whole: forbid that, and the index must be the way left.
    conn.execute("SET LOCAL enable_seqscan = off")
    statements = [
        (JOB.statement("count_updates", "updates"), {"limit": 301}),
        (JOB.statement("read_updates", "updates"), {"limit": 301}),
        (JOB.statement("read_buckets", "updates"), {"step_seconds": 5}),
    ]
    for statement, values in statements:
        rows = conn.execute("EXPLAIN " + statement, JOB.values(span) | values)
        plan = "\n".join(row[0] for row in rows)
        assert "job_telemetry_key" in plan
        assert "Seq Scan" not in plan
