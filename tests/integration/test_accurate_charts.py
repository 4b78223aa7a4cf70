"""Every chart, summary and view has every update as soon as it is stored, whatever is refreshed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.charts.job import History, read_chart, read_history
from app.charts.kept import ChartQuery, KeptCharts
from app.clock import to_micros
from app.config import Config
from app.database.pool import Connection, Database
from app.domain import derived
from app.domain.chart import Statistics, job_span, summarise
from app.domain.rollups import ROLLUPS
from app.domain.updates import Update
from app.domain.window import EPOCH, Window
from app.store import history as store
from app.store import rollups
from app.web.history import draw
from jobs import compress_chunks, refresh_rollups, summarise_finished_jobs
from tests.conftest import empty_tables
from tests.fuzz.sizes import RUNS
from tests.series import Row, expect_buckets, expect_gaps, expect_phases
from tests.storing import store as store_updates

pytestmark = pytest.mark.owner

MINUTE, HOUR, DAY = 60, 3600, 86_400
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
ROLLED_UP = ("job_speed_1m", "job_speed_1h", "disk_speed_1m", "disk_speed_1h")


@dataclass(frozen=True)
class Sent(Row):
    """An update, `seconds` after the start of the test's clock."""

    base: datetime = EPOCH
    status: str = "running"

    @cached_property
    def time(self) -> datetime:
        return self.base + timedelta(seconds=self.seconds)


class Site:
    """A hub's database, and what was sent to it."""

    def __init__(self, database: Database, config: Config) -> None:
        self.database = database
        self.config = config
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.latest = 4 * MINUTE  # later updates would be shifted
        self.begin_job("j")

    def begin_job(self, job_id: str) -> None:
        """Send the updates of this job from now on."""
        self.job_id = job_id
        self.sent: dict[datetime, Sent] = {}

    def push(self, *rows: Row, status: str = "running") -> None:
        """Store updates in one transaction, each with the same numbers of disk 0."""
        new = [
            Sent(**asdict(row), base=self.now, status=status)
            for row in rows
            if row.seconds < self.latest
            and self.now + timedelta(seconds=row.seconds) not in self.sent
        ]
        updates = []
        for row in new:
            fields: dict[str, Any] = {
                "transfer_speed_bps": row.speed,
                "bytes_transferred": row.bytes,
                "progress_percent": row.percent,
                "current_phase": row.phase,
            }
            fields = {name: value for name, value in fields.items() if value is not None}
            disk = {name: value for name, value in fields.items() if name != "current_phase"}
            time = to_micros(row.time)
            updates.append(
                Update("backup", self.job_id, status, time, fields, {0: disk}, time=time)
            )
        with self.database.connect(autocommit=True) as conn:
            if updates:
                store_updates(conn, *updates)
        self.sent |= {row.time: row for row in new}

    @property
    def rows(self) -> list[Sent]:
        return [self.sent[time] for time in sorted(self.sent)]

    @property
    def has_ended(self) -> bool:
        return any(row.status != "running" for row in self.sent.values())

    def refresh(self) -> None:
        refresh_rollups.run_once(self.database, self.config)

    def refresh_minutes(self) -> None:
        """A run that fails before it comes to the hours."""
        self._refresh("job_speed_1m", "disk_speed_1m")

    def refresh_hours(self) -> None:
        self._refresh("job_speed_1h", "disk_speed_1h")

    def _refresh(self, *names: str) -> None:
        with rollups.own_connection(self.database) as conn:
            for rollup in ROLLUPS:
                if rollup.name in names:
                    rollups.refresh_stale(conn, rollup, EPOCH, self.now - timedelta(minutes=1))

    def begin_refresh(self) -> None:
        """A refresh that is killed after its first transaction."""
        with self.database.connect(autocommit=True) as conn:
            for name in ROLLED_UP:
                conn.execute("SELECT record_stale_hours(%s, '-infinity', 'infinity', 1)", [name])

    def pass_time(self) -> None:
        """Everything came long before a refresh."""
        self.refresh()
        with self.database.connect(autocommit=True) as conn:
            conn.execute("UPDATE jobs SET last_telemetry_at = now() - interval '1 hour'")

    def compress(self) -> None:
        compress_chunks.run_once(self.database, self.config)

    def summarise(self) -> None:
        with self.database.connect(autocommit=True) as conn:
            conn.execute("UPDATE jobs SET last_telemetry_at = now() - interval '2 seconds'")
        summarise_finished_jobs.run_once(self.database, self.config)
        assert not self.has_ended or self.job().summary is not None

    def job(self) -> store.ChartedJob:
        with self.database.connect(autocommit=True) as conn:
            job = store.read_charted_job(conn, self.job_id)
        assert job is not None
        return job

    def check(self) -> None:
        """Every source, every statistic, gap, phase and view is that of the updates."""
        if not self.sent:
            return
        with self.database.connect(autocommit=True) as conn:
            for points in (10, 300, 5000):
                self._check_chart(read_history(conn, self.job_id, points=points))
            job = store.read_charted_job(conn, self.job_id)
            assert job is not None
            unsummarised = replace(job, summary=None)
            minutes = replace(unsummarised, job_updates_from=NEVER, disk_updates_from=NEVER)
            hours = replace(minutes, job_minutes_from=NEVER, disk_minutes_from=NEVER)
            for kept, source in ((minutes, "1m"), (hours, "1h")):
                for disk in (None, 0):
                    history = read_chart(conn, kept, 20, disk=disk)
                    assert history.source in (source, "1h")  # of a long run
                    self._check_buckets(history)
                    if source == "1m":
                        self._check_gaps(history)
            self._check_views(conn)
            if job.summary is not None:
                self._check_statistics(read_chart(conn, job, 20).statistics, self.rows)
                kept = replace(hours, summary=job.summary)
                assert (
                    read_chart(conn, kept, 80).stretches.phases
                    == expect_phases(self.rows, self.span)
                    or job.summary["phases_omitted"]
                )

    @property
    def span(self) -> Window:
        times = list(self.sent)
        return job_span(min(times), max(times))

    def _check_chart(self, history: History) -> None:
        self._check_buckets(history)
        self._check_gaps(history)
        assert history.stretches.phases == expect_phases(self.rows, self.span)

    def _check_gaps(self, history: History) -> None:
        window = history.window
        assert history.stretches.gaps == expect_gaps(self.rows, self.span, window)

    def _check_buckets(self, history: History) -> None:
        step = history.resolution_seconds
        if step:
            expected = expect_buckets(self.rows, history.window, step)
        else:
            expected = [
                bucket._replace(at=row.time)
                for row in self.rows
                for bucket in expect_buckets([row], self.span, DAY * 10_000)
            ]
        masked: dict[str, Any] = {"speed_sum": None}
        if history.job.summary is not None:  # its statistics come from there
            masked |= {"updates": 0, "moving_count": 0, "moving_min": None}
        if history.speed_source == "derived":
            masked |= {"speed_count": 0, "speed_min": None, "speed_max": None}
            masked |= {"moving_count": 0, "moving_min": None}
        if not derived.has_bytes(expected):  # the disks' may be shown
            masked |= {"bytes": None, "progress_bp": None}
        found = [bucket._replace(**masked) for bucket in history.buckets]
        assert found == [bucket._replace(**masked) for bucket in expected]
        assert history.statistics.updates == len(self.rows)
        if history.speed_source != "derived":
            self._check_statistics(history.statistics, self.rows)

    def _check_statistics(self, found: Statistics, rows: list[Sent]) -> None:
        expected = summarise(expect_buckets(rows, self.span.widened(1), DAY))
        assert (found.updates, found.peak_speed_bps, found.min_speed_bps) == (
            expected.updates,
            expected.peak_speed_bps,
            expected.min_speed_bps,
        )
        if expected.avg_speed_bps is None:
            assert found.avg_speed_bps is None
        else:
            assert found.avg_speed_bps == pytest.approx(expected.avg_speed_bps, rel=1e-9, abs=0.01)

    def _check_views(self, conn: Connection) -> None:
        row = conn.execute(
            """SELECT peak_speed_bps, avg_speed_bps, min_speed_bps, snapshots, first_at, last_at,
                      (SELECT updates FROM update_frequency AS counted
                       WHERE counted.job_id = job_performance.job_id)
               FROM job_performance WHERE job_id = %s""",
            [self.job_id],
        ).fetchone()
        assert row is not None
        peak, mean, lowest, updates, first_at, last_at, counted = row
        found = Statistics(updates, peak, mean, lowest)
        self._check_statistics(found, self.rows)
        assert counted == updates
        assert (first_at, last_at) == (min(self.sent), max(self.sent))


@pytest.fixture
def site(database: Database, config: Config) -> Site:
    return Site(database, config)


def steady(seconds: float, step: float, count: int, **fields: Any) -> list[Row]:
    """Updates with bytes that grow."""
    return [
        Row(
            seconds + n * step,
            **{"speed": 1000, "bytes": round(10**9 + seconds + n * step), **fields},
        )
        for n in range(count)
    ]


BACKLOGS = st.builds(
    lambda start, step, count, speed, phase: (
        lambda site: site.push(*steady(start, step, count, speed=speed, phase=phase))
    ),
    st.sampled_from([-3 * DAY, -2 * DAY - HOUR, -DAY, -7 * HOUR, -2 * HOUR, -600, -90, -30, 120])
    .flatmap(lambda start: st.integers(start, start + 900))
    .map(float),
    st.sampled_from([0.25, 4, 30, 61, 3600]),
    st.sampled_from([1, 2, 30]),
    st.sampled_from([None, 0, 5, 10**9]),
    st.sampled_from([None, "snapshot", "transferring"]),
)
WORKS = st.sampled_from(
    [
        *[Site.refresh] * 4,
        Site.refresh_minutes,
        Site.refresh_hours,
        Site.begin_refresh,
        Site.pass_time,
        Site.compress,
        Site.summarise,
        lambda site: site.push(*steady(-20.5, 1, 1, speed=None), status="completed"),
    ]
)


@pytest.mark.timeout(0 if RUNS else 600)
@settings(
    max_examples=RUNS or 6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(BACKLOGS | WORKS, min_size=2, max_size=9))
def test_nothing_that_was_stored_is_missing_anywhere(
    database: Database, config: Config, steps: list[Callable[[Site], None]]
) -> None:
    empty_tables(database)
    site = Site(database, config)
    site.latest = 39  # later ones might be more than a minute after the end: of the next run
    for step in steps:
        step(site)
        site.check()


# One by one: what was missing until the next refresh.


def test_a_backlog_fills_the_gap_of_a_live_job_at_once(site: Site) -> None:
    rows = steady(-7 * HOUR, 4, 6300)
    site.push(*rows[:5700], *rows[5900:])
    site.refresh()
    charts = KeptCharts(site.database, draw, 1 << 20)
    before = [charts.read(ChartQuery("j", points)).tag for points in (300, 5000)]
    site.push(*rows[5700:5899], replace(rows[5899], speed=10**9))
    for points in (10, 300, 5000):
        with site.database.connect(autocommit=True) as conn:
            history = read_history(conn, "j", points=points)
        assert history.statistics.updates == 6300
        assert history.statistics.peak_speed_bps == 10**9
        assert history.stretches.gaps == []
    after = [charts.read(ChartQuery("j", points)).tag for points in (300, 5000)]
    assert not set(before) & set(after)


def test_a_new_job_that_was_away_has_its_chart_at_once(site: Site) -> None:
    site.push(Row(-30))  # of any time: the rollups are in use
    site.refresh()
    site.begin_job("k")
    site.push(*steady(-6 * HOUR, 4, 2700, phase="snapshot"))
    site.push(*steady(-3 * HOUR, 4, 2690, phase="transferring"))
    for points in (10, 300):
        with site.database.connect(autocommit=True) as conn:
            history = read_history(conn, "k", points=points)
        assert history.statistics.updates == 5390
        assert history.points
        assert [phase.phase for phase in history.stretches.phases] == ["snapshot", "transferring"]
    site.check()


def test_a_late_part_of_a_short_job_is_in_its_phases_and_in_no_gap(site: Site) -> None:
    site.push(*steady(-1200, 2, 100, phase="snapshot"), *steady(-700, 2, 100, phase="finalizing"))
    site.refresh()
    site.push(*steady(-1000, 6.6, 45, phase="transferring"))
    with site.database.connect(autocommit=True) as conn:
        for points in (10, 300):
            stretches = read_history(conn, "j", points=points).stretches
            assert stretches.gaps == []
            assert [phase.phase for phase in stretches.phases] == [
                "snapshot",
                "transferring",
                "finalizing",
            ]


def test_the_end_of_a_job_whose_clock_is_behind_is_in_its_chart(site: Site) -> None:
    site.push(*steady(-5600, 1, 5400, phase="transferring"))
    site.refresh()
    site.push(Row(-106, bytes=5 * 10**9, phase="finalizing"), status="completed")
    site.check()
    with site.database.connect(autocommit=True) as conn:
        for points in (10, 300, 5000):
            history = read_history(conn, "j", points=points)
            assert history.statistics.updates == 5401
            assert history.stretches.phases[-1].phase == "finalizing"
    site.summarise()
    site.check()


def test_nothing_is_read_twice_while_a_refresh_is_under_way(site: Site) -> None:
    site.push(*steady(-7 * HOUR, 30, 800))
    site.refresh()
    site.push(*steady(-6 * HOUR + 7, 30, 100))
    site.begin_refresh()
    site.check()
    site.push(*steady(-6 * HOUR + 11, 30, 100))
    site.check()
    site.refresh_minutes()
    site.check()
    site.refresh()
    site.check()


def test_a_chart_of_a_job_that_is_rolled_up_does_not_look_for_what_is_stale(site: Site) -> None:
    site.push(*steady(-7 * HOUR, 30, 100))
    site.refresh()
    assert not site.job().is_rolled_up
    site.pass_time()
    assert site.job().is_rolled_up


def test_an_update_ahead_of_the_hubs_clock_is_not_taken_for_rolled_up(site: Site) -> None:
    site.push(*steady(-7 * HOUR, 30, 100), Row(200, speed=7))
    site.pass_time()
    assert not site.job().is_rolled_up
    site.check()
