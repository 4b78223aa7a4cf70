"""Series of random updates, and the maths of charts done on them one update after the other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby, pairwise
from statistics import median_low

from app.database.pool import Connection
from app.domain.chart import Bucket, job_span
from app.domain.stretches import FEWEST_DISTANCES, LEAST_GAP_SECONDS, Gap, Phase
from app.domain.window import EPOCH, Window
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

    @cached_property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


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


def expect_gap_seconds(rows: Sequence[Row], span: Window) -> float:
    """Three times the median distance, at least a minute; each of a span (see below) is their mean.

    Spans are the minutes of a run, or the hours of one that is longer than two days.
    """
    is_long = span.before_at - span.from_at > timedelta(days=2)
    length = timedelta(hours=1) if is_long else timedelta(minutes=1)
    ordered = in_order(rows, span)
    distances: list[float] = []
    before: datetime | None = None
    for _, held in groupby(ordered, key=lambda row: (row.time - EPOCH) // length):
        times = [milliseconds(row.time) for row in held]
        if before is not None:
            distances.append((times[0] - before).total_seconds())
        inside = len(times) - 1
        distances += [(times[-1] - times[0]).total_seconds() / max(inside, 1)] * inside
        before = times[-1]
    if len(distances) < FEWEST_DISTANCES:
        return LEAST_GAP_SECONDS
    return max(LEAST_GAP_SECONDS, round(3 * median_low(distances), 3))


def expect_gaps(rows: Sequence[Row], span: Window, window: Window) -> list[Gap]:
    times = [milliseconds(row.time) for row in in_order(rows, span)]
    longest = timedelta(seconds=expect_gap_seconds(rows, span))
    return [
        Gap(max(before, window.from_at), min(after, window.before_at), "silence")
        for before, after in pairwise(times)
        if after - before > longest and before < window.before_at and after > window.from_at
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
