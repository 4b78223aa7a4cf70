"""The statements of charts, against the same maths done in Python."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import psycopg
import pytest

from app.db import Connection, Database
from app.domain.chart import EPOCH, Bucket, Window, job_span, window_step
from app.domain.stretches import Gap, Phase, Stretches
from app.store import history, stretches
from app.store.history import Series

START = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)
LARGEST = 2**63 - 1
JOB = Series("j")
TEN_YEARS = 3650 * 86_400  # seconds


@dataclass(frozen=True)
class Row:
    """One update, `seconds` after START."""

    seconds: float
    speed: int | None = None
    percent: float | None = None
    bytes: int | None = None
    phase: str | None = None
    seq: int = 0

    @property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.transaction() as conn:
        yield conn


def store(conn: Connection, rows: Sequence[Row], job_id: str = "j") -> Window:
    """Store a job with these updates in any order; returns its span."""
    shuffled = random.Random(1).sample(rows, len(rows))
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, seq, status, current_phase,
               bytes_transferred, transfer_speed_bps, progress_percent)
           SELECT v.time, 0, %s, v.seq, 'running', v.phase, v.bytes, v.speed, v.percent
           FROM unnest(%s::timestamptz[], %s::smallint[], %s::text[], %s::bigint[], %s::bigint[],
                       %s::float8[]) AS v (time, seq, phase, bytes, speed, percent)""",
        (
            job_id,
            [row.time for row in shuffled],
            [row.seq for row in shuffled],
            [row.phase for row in shuffled],
            [row.bytes for row in shuffled],
            [row.speed for row in shuffled],
            [row.percent for row in shuffled],
        ),
    )
    times = [row.time for row in rows]
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, started_at, newest_update_at)
           VALUES (%s, 'backup', 'running', %s, %s)""",
        (job_id, min(times), max(times)),
    )
    return job_span(min(times), max(times))


def read_stretches(conn: Connection, span: Window, window: Window | None = None) -> Stretches:
    job = history.read_charted_job(conn, "j")
    assert job is not None
    return stretches.read_stretches(conn, job, span, window or span)


# The same maths, one update after the other.


def in_order(rows: Sequence[Row], window: Window) -> list[Row]:
    held = [row for row in rows if window.from_at <= row.time < window.before_at]
    return sorted(held, key=lambda row: (row.time, row.seq))


def expect_bucket(at: datetime, rows: Sequence[Row]) -> Bucket:
    speeds = [row.speed for row in rows if row.speed is not None]
    moving = [speed for speed in speeds if speed > 0]
    return Bucket(
        at=at,
        updates=len(rows),
        speed_sum=float(sum(speeds)) if speeds else None,
        speed_count=len(speeds),
        speed_min=min(speeds, default=None),
        speed_max=max(speeds, default=None),
        moving_count=len(moving),
        moving_min=min(moving, default=None),
        progress_bp=next(
            (round(row.percent * 100) for row in reversed(rows) if row.percent is not None), None
        ),
        bytes=next((row.bytes for row in reversed(rows) if row.bytes is not None), None),
    )


def expect_buckets(rows: Sequence[Row], window: Window, step_seconds: int) -> list[Bucket]:
    step = timedelta(seconds=step_seconds)
    return [
        expect_bucket(EPOCH + number * step, list(held))
        for number, held in groupby(
            in_order(rows, window), key=lambda row: (row.time - EPOCH) // step
        )
    ]


def milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def expect_gaps(rows: Sequence[Row], span: Window, window: Window) -> list[Gap]:
    times = [milliseconds(row.time) for row in in_order(rows, span)]
    return [
        Gap(max(before, window.from_at), min(after, window.before_at), "silence")
        for before, after in zip(times, times[1:], strict=False)
        if after - before > timedelta(seconds=60)
        and before < window.before_at
        and after > window.from_at
    ]


def expect_phases(rows: Sequence[Row], span: Window) -> list[Phase]:
    ordered = in_order(rows, span)
    first = next((row.bytes for row in ordered if row.bytes is not None), None)
    known: int | None = None
    starts: list[tuple[str, datetime, int | None]] = []
    for row in ordered:
        known = known if row.bytes is None else row.bytes
        if row.phase is not None and (not starts or row.phase != starts[-1][0]):
            starts.append((row.phase, milliseconds(row.time), known))
    ends = [(at, so_far) for _, at, so_far in starts[1:]]
    ends.append((milliseconds(ordered[-1].time), known))
    return [
        Phase(
            phase,
            from_at,
            to_at,
            None if end is None else max(end - ((first or 0) if start is None else start), 0),
        )
        for (phase, from_at, start), (to_at, end) in zip(starts, ends, strict=False)
    ]


def random_rows(seed: int, *, has_steady_bytes: bool = False) -> list[Row]:
    """A job that says little, restarts its counter, repeats instants and falls silent.

    `has_steady_bytes`: every update counts its bytes, or none does.
    """
    chance = random.Random(seed)
    silence = chance.choice([70, 86_400, TEN_YEARS])
    largest = chance.choice([5, 10**9, LARGEST])
    says = chance.choice([0.1, 0.5, 1.0])
    counts = chance.choice([0.0, 1.0]) if has_steady_bytes else says
    rows: list[Row] = []
    seconds, seq = 0.0, 0
    for _ in range(chance.choice([1, 2, 40, 400])):
        row = Row(
            seconds=seconds,
            speed=chance.choice([0, chance.randint(0, largest)])
            if chance.random() < says
            else None,
            percent=chance.uniform(0, 100) if chance.random() < says else None,
            bytes=chance.randint(0, largest) if chance.random() < counts else None,
            phase=chance.choice("abc") if chance.random() < 0.2 else None,
            seq=seq,
        )
        rows.append(row)
        seq = seq + 1 if chance.random() < 0.3 else 0
        if not seq:
            seconds += chance.choice([1, 5, 5, 59.999999, 60, 60.000001, 0.000001])
            seconds += silence if chance.random() < 0.02 else 0
            seconds = round(seconds, 6)
    return rows


def windows_of(span: Window, seed: int) -> list[Window]:
    """The whole run, parts of it, and more than it."""
    chance = random.Random(seed)
    day = timedelta(days=1)
    length = span.before_at - span.from_at
    parts = [sorted((chance.random(), chance.random())) for _ in range(3)]
    return [
        span,
        Window(span.from_at - day, span.before_at + day),
        *(Window(span.from_at + a * length, span.from_at + b * length) for a, b in parts),
    ]


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
            assert [replace(bucket, speed_sum=None) for bucket in buckets] == [
                replace(bucket, speed_sum=None) for bucket in expected
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
            replace(expect_bucket(row.time, [row]), speed_sum=row.speed)
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
    rows = [Row(0, phase="0"), *(Row(end, phase=str(n + 1)) for n, end in enumerate(ends))]
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
def test_a_chart_is_of_one_state(database: Database) -> None:
    with database.transaction() as conn:
        span = store(conn, [Row(0), Row(5)])
    with database.transaction() as conn:
        history.use_one_snapshot(conn)
        assert history.count_updates(conn, JOB, span, 10) == 2
        with database.transaction() as other:
            store(other, [Row(0), Row(1)], job_id="k")
            other.execute("UPDATE job_telemetry SET job_id = 'j', seq = 1 WHERE job_id = 'k'")
        assert history.count_updates(conn, JOB, span, 10) == 2


def test_a_chart_writes_nothing(conn: Connection) -> None:
    history.use_one_snapshot(conn)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), conn.transaction():
        conn.execute("DELETE FROM jobs")


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
        rows = conn.execute("EXPLAIN " + statement.as_string(conn), JOB.values(span) | values)
        plan = "\n".join(row[0] for row in rows)
        assert "job_telemetry_key" in plan
        assert "Seq Scan" not in plan
