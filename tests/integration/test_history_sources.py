"""Charts are the same whatever they are made of: updates, minutes, hours or the stored summary."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.charts.job import History, read_chart, read_history
from app.charts.summary import summarise_job
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.chart import Bucket, job_span, summarise, to_points
from app.domain.summary import MOST_BYTES
from app.domain.window import EPOCH, Window
from app.store import history as store
from app.store.history import ChartedJob
from jobs import refresh_rollups, summarise_finished_jobs
from tests import series
from tests.series import START, Row, expect_buckets, expect_gaps, expect_phases, random_rows

NEVER = datetime(9999, 1, 1, tzinfo=UTC)  # the edge of what is all gone


def refresh(owner: Database, config: Config) -> None:
    """Materialise all rollups, long after everything has come."""
    refresh_rollups.run_once(owner, config, START + timedelta(days=3))


def end(conn: Connection, status: str = "completed") -> None:
    conn.execute(
        """UPDATE jobs SET status = %s, ended_by = 'sender', completed_at = newest_update_at
           WHERE job_id = 'j'""",
        (status,),
    )


def forget_absences(owner: Database) -> None:
    with owner.transaction() as conn:
        conn.execute("DELETE FROM hub_absences")


def job(conn: Connection) -> ChartedJob:
    found = store.read_charted_job(conn, "j")
    assert found is not None
    return found


def without(job: ChartedJob, *gone: str) -> ChartedJob:
    """The job as it is read once its updates, and then its minutes, are gone."""
    changes: dict[str, Any] = {f"job_{name}_from": NEVER for name in gone}
    return replace(job, **changes)


def close(buckets: list[Bucket]) -> list[Bucket]:
    return [bucket._replace(speed_sum=None) for bucket in buckets]


def near(value: float | None, expected: float | None) -> bool:
    if value is None or expected is None:
        return value is expected
    return value == pytest.approx(expected, rel=1e-9, abs=0.01)  # means have two decimals


def assert_exact(rows: list[Row], history: History) -> None:
    """Exactly for counts, lowest, highest and last; sums and means within 1e-9."""
    span = job_span(history.job.started_at, history.job.newest_update_at)
    step = history.resolution_seconds
    shown = history.window.within(span).widened(step)
    expected = expect_buckets(rows, shown, step)
    assert close(history.buckets) == close(expected)
    for bucket, other in zip(history.buckets, expected, strict=True):
        assert near(bucket.speed_sum, other.speed_sum)
    statistics = summarise(expected)
    assert replace(history.statistics, avg_speed_bps=None) == replace(
        statistics, avg_speed_bps=None
    )
    assert near(history.statistics.avg_speed_bps, statistics.avg_speed_bps)


def short(rows: list[Row]) -> list[Row]:
    """The first day of a series: what the refresh of these tests reaches."""
    return [row for row in rows if row.seconds < 86_400]


@pytest.mark.parametrize("seed", range(16))
def test_minutes_and_hours_agree_with_the_updates(
    owner: Database, config: Config, conn: Connection, seed: int
) -> None:
    rows = short(random_rows(seed, has_steady_bytes=True))
    span = series.store(conn, rows)
    if seed % 2:
        refresh(owner, config)
    for window in series.windows_of(span, seed):
        points = random.Random(seed).choice([10, 37, 300])
        bounds = window.from_at, max(window.before_at, window.from_at)
        minutes = read_chart(conn, without(job(conn), "updates"), points, *bounds)
        hours = read_chart(conn, without(job(conn), "updates", "minutes"), points, *bounds)
        assert (minutes.source, hours.source) == ("1m", "1h")
        assert_exact(rows, minutes)
        assert_exact(rows, hours)
        assert len(minutes.buckets) <= points
        assert minutes.stretches.gaps == expect_gaps(rows, span, minutes.window)


@pytest.mark.parametrize("seed", range(12))
def test_the_summary_agrees_with_the_updates(
    owner: Database, config: Config, conn: Connection, seed: int
) -> None:
    rows = short(random_rows(seed, has_steady_bytes=True))
    span = series.store(conn, rows)
    end(conn)
    refresh(owner, config)
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    stored = job(conn)
    live = read_chart(conn, replace(stored, summary=None), 300)
    history = read_chart(conn, without(stored, "updates", "minutes"), 300)
    assert history.source == "summary"
    assert history.statistics == live.statistics
    if not live.stretches.gaps_omitted and not stored.summary["gaps_omitted"]:  # type: ignore[index]
        assert history.stretches.gaps == live.stretches.gaps
    step = history.resolution_seconds
    shown = span.widened(step) if step else span
    drawn = to_points(
        expect_buckets(rows, shown, step)
        if step
        else [series.expect_bucket(row.time, [row]) for row in series.in_order(rows, span)],
        stored.started_at,
        0,
    )
    for point, expected in zip(history.points, drawn, strict=True):
        assert (point.t, point.s_max, point.p) == (expected.t, expected.s_max, expected.p)
        assert near(point.s, expected.s)
        assert point.s_min in (None, expected.s_min)
        assert point.b in (None, expected.b)
    coarse = read_chart(conn, without(stored, "updates", "minutes"), 10)
    assert len(coarse.points) <= 10
    assert max((p.s_max or 0 for p in coarse.points), default=0) == max(
        (p.s_max or 0 for p in history.points), default=0
    )


def every_5_seconds(count: int) -> list[Row]:
    phases = ["snapshot", "transferring", "finalizing"]
    return [
        Row(
            seconds=5.0 * n + n % 7 / 1000,
            speed=200_000_000 + n * 7919 % 100_000_000,
            percent=round(100 * n / count, 2),
            bytes=n * 1_500_000_000,
            phase=phases[0 if n < 60 else 2 if n > count - 60 else 1],
        )
        for n in range(count)
    ]


def test_a_day_is_summarised_in_two_to_five_kilobytes(
    owner: Database, config: Config, conn: Connection
) -> None:
    rows = every_5_seconds(17_280)
    rows[9000] = replace(rows[9000], speed=999_999_999)
    series.store(conn, rows)
    end(conn)
    refresh(owner, config)
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    row = conn.execute(
        "SELECT performance_metrics, octet_length(performance_metrics::text) FROM jobs"
    ).fetchone()
    assert row is not None
    summary, size = row
    assert 2_000 <= size <= MOST_BYTES
    assert 24 < len(summary["chart_data"]) <= 80
    assert max(point["s_max"] for point in summary["chart_data"]) == 999_999_999
    assert summary["peak_speed_bps"] == 999_999_999
    assert summary["snapshots"] == 17_280
    assert [phase["phase"] for phase in summary["phases"]] == [
        "snapshot",
        "transferring",
        "finalizing",
    ]
    assert {"t", "s", "s_max", "p"} <= set(summary["chart_data"][0])


def test_a_wild_job_is_summarised_in_five_kilobytes(
    owner: Database, config: Config, conn: Connection
) -> None:
    rows = [
        Row(100.0 * n + second, 2**62 + n, percent=n / 10, bytes=n, phase=f"{n}" + "ü" * 250)
        for n in range(800)
        for second in range(3)
    ]
    series.store(conn, rows)
    end(conn, "failed")
    refresh(owner, config)
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    summary = job(conn).summary
    assert summary is not None
    assert len(json.dumps(summary, ensure_ascii=False).encode()) <= MOST_BYTES
    assert summary["phases_omitted"] + len(summary["phases"]) == 800
    assert summary["gaps_omitted"] + len(summary["gaps"]) == 799


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_every_kind_of_end_is_summarised_once(
    owner: Database, config: Config, conn: Connection, status: str
) -> None:
    series.store(conn, [Row(0, speed=1), Row(5, speed=3)])
    assert summarise_finished_jobs.run_once(owner, config).written == 0  # it runs
    end(conn, status)
    refresh(owner, config)
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    assert summarise_finished_jobs.run_once(owner, config).written == 0


def test_a_job_without_telemetry_is_summarised(
    owner: Database, database: Database, config: Config, conn: Connection
) -> None:
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, ended_by, completed_at, bytes_transferred)
           VALUES ('j', 'backup', 'completed', 'sender', now(), 7)"""
    )
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    summary = job(conn).summary
    assert summary is not None
    assert (summary["snapshots"], summary["chart_data"]) == (0, [])
    assert read_history(conn, "j", points=300).points == []


def test_a_summary_does_not_wait_for_a_refresh(
    owner: Database, config: Config, conn: Connection
) -> None:
    rows = every_5_seconds(1000)
    series.store(conn, rows[100:200], job_id="other")
    refresh(owner, config)
    series.store(conn, rows)
    end(conn)
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    summary = job(conn).summary
    assert summary is not None
    assert summary["snapshots"] == 1000
    assert [phase["phase"] for phase in summary["phases"]] == [
        "snapshot",
        "transferring",
        "finalizing",
    ]


def test_a_summary_waits_while_updates_come(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(0), Row(5)])
    end(conn)
    conn.execute("UPDATE jobs SET last_telemetry_at = now()")
    assert summarise_finished_jobs.run_once(owner, config).written == 0
    conn.execute("UPDATE jobs SET last_telemetry_at = now() - interval '2 seconds'")
    assert summarise_finished_jobs.run_once(owner, config).written == 1


def test_a_summary_does_not_wait_for_a_clock_that_was_set_back(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(0), Row(5)])
    end(conn)
    conn.execute("UPDATE jobs SET last_telemetry_at = now() + interval '1 hour'")
    assert summarise_finished_jobs.run_once(owner, config).written == 1


def test_an_update_that_overtakes_the_summary_is_not_forgotten(
    owner: Database, config: Config, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.store(conn, [Row(0), Row(5)])
    end(conn)
    refresh(owner, config)

    def slow(read: Connection, job_id: str) -> object:
        answer = summarise_job(read, job_id)
        read.commit() if read.autocommit is False else None
        return ("0", answer[1])  # the row has become another version meanwhile

    monkeypatch.setattr(summarise_finished_jobs, "summarise_job", slow)
    assert summarise_finished_jobs.run_once(owner, config).overtaken == 1
    monkeypatch.undo()
    assert summarise_finished_jobs.run_once(owner, config).written == 1


def test_one_job_that_cannot_be_summarised_does_not_stop_the_others(
    owner: Database, config: Config, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.store(conn, [Row(0)])
    series.store(conn, [Row(0)], job_id="k")
    conn.execute(
        "UPDATE jobs SET status = 'completed', ended_by = 'sender', completed_at = started_at"
    )
    refresh(owner, config)

    def broken(read: Connection, job_id: str) -> object:
        if job_id == "j":
            raise ValueError("broken")
        return summarise_job(read, job_id)

    monkeypatch.setattr(summarise_finished_jobs, "summarise_job", broken)
    done = summarise_finished_jobs.run_once(owner, config)
    assert (done.written, done.errors) == (1, 1)


# Phases and gaps without the updates.


def test_phases_are_exact_while_updates_are_kept_and_to_the_minute_later(
    owner: Database, config: Config, conn: Connection
) -> None:
    rows = every_5_seconds(1000)
    span = series.store(conn, rows)
    refresh(owner, config)
    assert read_chart(conn, job(conn), 300).stretches.phases == expect_phases(rows, span)
    later = read_chart(conn, without(job(conn), "updates"), 300).stretches.phases
    for phase, exact in zip(later, expect_phases(rows, span), strict=True):
        assert phase.phase == exact.phase
        assert abs(phase.from_at - exact.from_at) < timedelta(minutes=1)


@pytest.mark.parametrize("days", [1, 5])
def test_a_gap_is_found_in_a_run_of_any_length(
    owner: Database, config: Config, conn: Connection, days: int
) -> None:
    count = days * 1440
    rows = [Row(60.0 * n + 30, phase="a") for n in range(count) if not 700 <= n < 704]
    rows.append(Row(60.0 * 100 + 31.5, phase="a"))
    span = series.store(conn, rows)
    [gap] = read_chart(conn, job(conn), 300).stretches.gaps
    assert (gap.from_at, gap.to_at) == (Row(60.0 * 699 + 30).time, Row(60.0 * 704 + 30).time)
    window = Window(Row(60.0 * 700).time, Row(60.0 * 701).time)
    [cut] = read_chart(conn, job(conn), 300, window.from_at, window.before_at).stretches.gaps
    assert (cut.from_at, cut.to_at) == (window.from_at, window.before_at)
    assert span.from_at == Row(30).time


@pytest.mark.parametrize(
    ("absences", "reason"),
    [
        ([], "silence"),
        ([(10, 290)], "hub_away"),
        ([(-900, 900)], "hub_away"),
        ([(0, 100), (150, 300)], "hub_away"),  # what is left is a minute at the most
        ([(100, 130)], "silence"),  # a restart within a long silence
        ([(-900, 0), (300, 900)], "silence"),
    ],
)
def test_a_gap_while_the_hub_was_away_is_not_the_jobs(
    owner: Database, conn: Connection, absences: list[tuple[int, int]], reason: str
) -> None:
    series.store(conn, [Row(0), Row(300)])
    forget_absences(owner)
    for from_at, to_at in absences:
        conn.execute(
            "INSERT INTO hub_absences VALUES (%s, %s)", [Row(from_at).time, Row(to_at).time]
        )
    [gap] = read_chart(conn, job(conn), 300).stretches.gaps
    assert gap.reason == reason
    forget_absences(owner)


def lose(conn: Connection, seconds: float, job_id: str = "j") -> None:
    """Let the update of an instant tell of losses."""
    conn.execute("INSERT INTO sender_losses VALUES (%s, %s, 7, now())", [job_id, Row(seconds).time])


@pytest.mark.parametrize("is_ended", [False, True])
@pytest.mark.parametrize("days", [1, 5])
def test_every_source_says_that_the_sender_lost_what_is_missing(
    owner: Database, config: Config, conn: Connection, days: int, is_ended: bool
) -> None:
    loss_at = 7 * 3600 + 3.456789  # the end of the second gap
    rows = [Row(second) for second in range(-9, 1)]
    rows += [Row(3 * 3600 + 1.5), Row(loss_at), Row(loss_at + 0.0002), Row(loss_at + 59)]
    rows.append(Row((days - 0.1) * 86_400))
    series.store(conn, rows)
    lose(conn, loss_at)
    expected = ["silence", "sender_lost", "silence"]
    if is_ended:
        end(conn)
        refresh(owner, config)
    for gone in ((), ("updates",), ("updates", "minutes")):
        history = read_chart(conn, without(job(conn), *gone), 300)
        assert history.source == ("updates", "1m", "1h")[len(gone)]
        assert [gap.reason for gap in history.stretches.gaps] == expected
        window = Row(4 * 3600).time, Row(5 * 3600).time
        [cut] = read_chart(conn, without(job(conn), *gone), 300, *window).stretches.gaps
        assert cut.reason == "sender_lost"
    if is_ended:
        assert summarise_finished_jobs.run_once(owner, config).written == 1
        summarised = read_chart(conn, without(job(conn), "updates", "minutes"), 300)
        assert summarised.source == "summary"
        assert [gap.reason for gap in summarised.stretches.gaps] == expected


@pytest.mark.parametrize("seed", range(6))
def test_only_gaps_that_end_with_a_loss_are_lost(
    owner: Database, config: Config, conn: Connection, seed: int
) -> None:
    rows = short(random_rows(seed + 100, has_steady_bytes=True))
    span = series.store(conn, rows)
    chance = random.Random(seed)
    tellers = chance.sample(sorted({row.seconds for row in rows}), k=(len(rows) + 5) // 6)
    series.store(conn, [Row(0)], job_id="other")
    for seconds in tellers:
        lose(conn, seconds)
    for row in rows:  # of no other job
        conn.execute(
            "INSERT INTO sender_losses VALUES ('other', %s, 1, now()) ON CONFLICT DO NOTHING",
            [row.time],
        )
    if seed % 2:
        refresh(owner, config)
    losses_ms = {series.milliseconds(Row(seconds).time) for seconds in tellers}
    expected = [
        replace(gap, reason="sender_lost") if gap.to_at in losses_ms else gap
        for gap in expect_gaps(rows, span, span)
    ]
    for gone in ((), ("updates",)):
        chart = read_chart(conn, without(job(conn), *gone), 300)
        assert chart.stretches.gaps == expected


@pytest.mark.parametrize(("away", "reason"), [((10, 290), "hub_away"), ((10, 30), "sender_lost")])
def test_what_was_lost_while_the_hub_was_away_is_the_hubs(
    owner: Database, conn: Connection, away: tuple[int, int], reason: str
) -> None:
    series.store(conn, [Row(0), Row(300)])
    lose(conn, 300)
    lose(conn, 0)  # before the gap
    forget_absences(owner)
    conn.execute("INSERT INTO hub_absences VALUES (%s, %s)", [Row(at).time for at in away])
    [gap] = read_chart(conn, job(conn), 300).stretches.gaps
    assert gap.reason == reason
    forget_absences(owner)


# What is marked, and odd series.


def test_the_unfinished_last_bucket_of_a_live_job_is_marked(conn: Connection) -> None:
    series.store(conn, every_5_seconds(1000))
    live = read_chart(conn, job(conn), 50)
    assert live.resolution_seconds == 120
    assert live.last_point_unfinished
    end(conn)
    assert not read_chart(conn, job(conn), 50).last_point_unfinished


def test_a_chart_of_single_updates_has_no_unfinished_bucket(conn: Connection) -> None:
    series.store(conn, every_5_seconds(20))
    assert not read_chart(conn, job(conn), 50).last_point_unfinished


def test_ten_years_between_two_updates_are_two_points(conn: Connection) -> None:
    series.store(conn, [Row(0, speed=5), Row(series.TEN_YEARS, speed=7)])
    history = read_chart(conn, job(conn), 300)
    assert [bucket.speed_max for bucket in history.buckets] == [5, 7]
    assert len(history.stretches.gaps) == 1


def test_a_crowded_hour_is_charted_by_the_minute(
    owner: Database, config: Config, conn: Connection
) -> None:
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps,
               current_phase)
           SELECT %s + n * interval '1 hour' / 50000, 0, 'j', 'running', n %% 1000,
                  'phase ' || n %% 2
           FROM generate_series(0, 49999) AS n""",
        (START,),
    )
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, started_at, newest_update_at)
           VALUES ('j', 'backup', 'running', %(start)s, %(start)s + interval '1 hour')""",
        {"start": START},
    )
    refresh(owner, config)
    history = read_chart(conn, job(conn), 300)
    assert (history.source, history.statistics.updates) == ("1m", 50_000)
    assert len(history.buckets) == 61
    assert history.statistics.peak_speed_bps == 999


def test_updates_that_the_rollup_does_not_have_yet_never_exceed_the_points(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(600.0 * n, speed=n) for n in range(30)])
    refresh(owner, config)
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status)
           SELECT %s + n * interval '1 minute', 0, 'j', 'running'
           FROM generate_series(1, 9) AS n""",
        (START,),
    )
    assert len(read_chart(conn, job(conn), 30).buckets) <= 30
    assert len(read_chart(conn, job(conn), 39).buckets) == 39


def test_no_chart_is_older_than_time(conn: Connection) -> None:
    series.store(conn, [Row(0)])
    assert read_chart(conn, job(conn), 10, EPOCH, EPOCH).buckets == []


# The rhythm of the sender.


@pytest.mark.parametrize("days", [0.1, 1, 5])
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_gap_is_longer_than_three_times_the_distance_of_the_updates(
    owner: Database, config: Config, conn: Connection, days: float, is_refreshed: bool
) -> None:
    """A sender of 120 s misses two updates, and later three."""
    count = int(days * 720)
    missing = {20, 21, 30, 31, 32}
    rows = [Row(120.0 * n, phase="a") for n in range(count) if n not in missing]
    series.store(conn, rows)
    if is_refreshed:
        refresh_rollups.run_once(owner, config)
    for gone in ((), ("updates",), ("updates", "minutes")):
        stretches = read_chart(conn, without(job(conn), *gone), 300).stretches
        assert stretches.gap_seconds == 360
        if gone != ("updates", "minutes"):
            [gap] = stretches.gaps
            assert (gap.from_at, gap.to_at) == (Row(120.0 * 29).time, Row(120.0 * 33).time)


def test_a_summary_keeps_what_its_gaps_are_longer_than(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(120.0 * n) for n in range(60) if not 30 <= n < 40])
    end(conn)
    refresh(owner, config)
    summarise_finished_jobs.run_once(owner, config)
    kept = job(conn)
    assert kept.summary is not None
    assert kept.summary["gap_seconds"] == 360
    for gone in ((), ("updates", "minutes")):
        stretches = read_chart(conn, without(kept, *gone), 300).stretches
        assert (stretches.gap_seconds, len(stretches.gaps)) == (360, 1)
    older = {name: value for name, value in kept.summary.items() if name != "gap_seconds"}
    assert read_chart(conn, replace(kept, summary=older), 300).stretches.gap_seconds == 60


@pytest.mark.parametrize("count", [2, 4])
def test_few_updates_have_no_rhythm(conn: Connection, count: int) -> None:
    series.store(conn, [Row(300.0 * n) for n in range(count)])
    stretches = read_chart(conn, job(conn), 300).stretches
    assert (stretches.gap_seconds, len(stretches.gaps)) == (60, count - 1)


# The silence of a live job.


def live_job(
    conn: Connection, silent: int, step: int = 5, behind: int = 0, status: str = "running"
) -> datetime:
    """A job whose newest update arrived `silent` seconds ago; returns when, by its clock."""
    (now,) = conn.execute("SELECT clock_timestamp()").fetchone() or ()
    newest: datetime = now - timedelta(seconds=silent + behind)
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status)
           SELECT time, %s, 'j', 'running'
           FROM generate_series(%s - interval '1 hour', %s::timestamptz, %s) AS time""",
        [behind * 1000, newest, newest, timedelta(seconds=step)],
    )
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, ended_by, completed_at, started_at,
               newest_update_at, last_telemetry_at)
           SELECT 'j', 'backup', status, CASE WHEN ended THEN 'detector' END,
                  CASE WHEN ended THEN newest END, newest - interval '1 hour', newest, arrived
           FROM (VALUES (%s, %s, %s::timestamptz, %s::timestamptz))
               AS v (status, ended, newest, arrived)""",
        [status, status == "failed", newest, newest + timedelta(seconds=behind)],
    )
    return newest


@pytest.mark.parametrize("behind", [0, 106, -106])
@pytest.mark.parametrize("status", ["running", "stalled"])
def test_the_silence_of_a_live_job_lasts_until_now(
    owner: Database, conn: Connection, status: str, behind: int
) -> None:
    forget_absences(owner)
    newest = live_job(conn, 250, behind=behind, status=status)
    for points in (10, 5000):
        history = read_chart(conn, job(conn), points)
        [gap] = history.stretches.gaps
        assert gap.from_at == series.milliseconds(newest)
        assert timedelta(seconds=248) < gap.to_at - newest < timedelta(seconds=300)
        assert gap.reason == "silence"
        assert history.window.before_at >= gap.to_at
        assert history.statistics.updates == 721
    end_at = newest + timedelta(seconds=10)
    [cut] = read_chart(conn, job(conn), 5000, before_at=end_at).stretches.gaps
    assert cut.to_at == end_at


@pytest.mark.parametrize(
    ("silent", "step", "status"),
    [(40, 5, "running"), (250, 120, "running"), (250, 5, "failed")],
    ids=["short", "within the rhythm", "ended"],
)
def test_a_chart_ends_with_the_newest_update_of_a_job_that_is_not_silent(
    conn: Connection, silent: int, step: int, status: str
) -> None:
    newest = live_job(conn, silent, step, status=status)
    history = read_chart(conn, job(conn), 5000)
    assert history.stretches.gaps == []
    assert history.window.before_at == newest.replace(microsecond=0) + timedelta(seconds=1)


def test_the_silence_of_a_live_job_may_be_the_hubs(owner: Database, conn: Connection) -> None:
    forget_absences(owner)
    newest = live_job(conn, 250)
    conn.execute(
        "INSERT INTO hub_absences VALUES (%s, %s)",
        [newest + timedelta(seconds=1), newest + timedelta(seconds=240)],
    )
    [gap] = read_chart(conn, job(conn), 300).stretches.gaps
    assert gap.reason == "hub_away"
    forget_absences(owner)
