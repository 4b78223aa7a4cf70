"""Charts that are kept ready are never stale: they are what would be read now."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.charts import kept as kept_module
from app.charts.job import History
from app.charts.kept import ChartQuery, KeptCharts
from app.clock import to_micros
from app.commands.repair import rebuild_rollup, repair
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS
from app.domain.updates import Update
from app.domain.window import Window
from app.errors import Conflict, NotFound
from app.ingest.registration import register
from app.ingest.transaction import store_updates
from app.store import rollups, staleness
from app.web.history import Drawn, draw
from jobs import (
    compress_chunks,
    detect_stale_jobs,
    drop_expired_chunks,
    refresh_rollups,
    summarise_finished_jobs,
)
from tests.chunks import keep_alive
from tests.conftest import empty_tables
from tests.fuzz.sizes import RUNS

pytestmark = pytest.mark.owner

MINUTE, HOUR, DAY = 60, 3600, 86_400
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=8)
QUERIES = (
    ChartQuery("j", 300),
    ChartQuery("j", 10, format="columns"),
    ChartQuery("j", 10, disk=0),
    ChartQuery("j", 20, START, START + timedelta(minutes=20), format="csv"),
)
EVERYTHING = 1 << 20  # bytes: more than the charts of a test take


class Site:
    """A hub's database, with two web processes that keep charts and one that keeps none.

    Arrivals and refreshes are noted two minutes apart, in the order in which they happen, so that a
    test need not wait for a job to be settled.
    """

    def __init__(self, database: Database, config: Config) -> None:
        self.database = database
        self.config = replace(config, late_data_days=20, raw_retention_days=29)
        self.drawn = 0
        self.webs = [KeptCharts(database, self.draw, size) for size in (EVERYTHING, 3_000)]
        self.plain = KeptCharts(database, draw, 0)
        self.clock = datetime.now(UTC) - timedelta(hours=5)

    def draw(self, history: History, form: str) -> Drawn:
        self.drawn += 1
        return draw(history, form)

    def tick(self) -> datetime:
        self.clock += timedelta(minutes=2)
        return self.clock

    def push(self, seconds: float, status: str = "running", **fields: Any) -> None:
        disks = fields.pop("disks", {})
        lost = fields.pop("lost_updates", 0)
        time = to_micros(START + timedelta(seconds=seconds))
        update = Update("backup", "j", status, time, fields, disks, lost_updates=lost)
        with self.database.transaction() as conn:
            before = conn.execute("SELECT count(*) FROM job_telemetry").fetchone()
            store_updates(conn, [update], self.config.late_data_days)
            if conn.execute("SELECT count(*) FROM job_telemetry").fetchone() != before:
                conn.execute("UPDATE jobs SET last_telemetry_at = %s", [self.tick()])

    def register(self, **registered: Any) -> None:
        with suppress(Conflict), self.database.transaction() as conn:
            register(conn, {"job_id": "j", "job_type": "backup", **registered})

    def refresh(self) -> None:
        refresh_rollups.run_once(self.database, self.config)
        with self.database.transaction() as conn:
            conn.execute("UPDATE rollup_refreshes SET refreshed_at = %s", [self.tick()])

    def summarise(self) -> None:
        summarise_finished_jobs.run_once(self.database, self.config)

    def settle(self) -> None:
        self.refresh()
        self.summarise()

    def compress(self) -> None:
        compress_chunks.run_once(self.database, self.config)

    def drop(self, raw_days: int = 6, minute_days: int = 400) -> None:
        short = replace(
            self.config,
            late_data_days=5,
            raw_retention_days=raw_days,
            rollup_1m_retention_days=minute_days,
        )
        with self.database.connect(autocommit=True) as conn:
            keep_alive(conn, datetime.now(UTC))
        drop_expired_chunks.run_once(self.database, short)

    def drop_minutes(self) -> None:
        self.drop(minute_days=7)

    def detect(self) -> None:
        now = self.clock + timedelta(hours=1)
        with self.database.transaction() as conn:
            conn.execute("DELETE FROM ingest_beats")
            conn.execute(
                "INSERT INTO ingest_beats VALUES ('web', %s, %s)", [now - timedelta(days=1), now]
            )
        detect_stale_jobs.run_once(self.database, self.config, now)

    def repair(self) -> None:
        list(repair(self.database))

    def rebuild(self) -> None:
        with rollups.own_connection(self.database) as conn:
            for rollup in ROLLUPS[:4]:
                window = Window(START, START + timedelta(hours=6))
                edge = rollups.read_edges(conn).get(rollup.source)
                if edge is None or edge <= START:
                    rebuild_rollup(conn, rollup, window)

    def be_away(self) -> None:
        with self.database.transaction() as conn:
            staleness.beat(conn, "web", START + timedelta(seconds=10))
            staleness.beat(conn, "web", START + timedelta(hours=3))

    def check(self) -> None:
        """Every chart is what a process without memory reads. The first one is asked twice."""
        for query in QUERIES:
            expected = answer(self.plain, query)
            for web in (*self.webs, self.webs[0]):
                found = answer(web, query)
                if found != expected:  # the silence of a live job ends now, to the second
                    expected = answer(self.plain, query)
                assert found == expected


def answer(charts: KeptCharts[Drawn], query: ChartQuery) -> tuple[Any, ...]:
    try:
        drawn = charts.read(query)
    except NotFound as exc:
        return ("not found", str(exc))
    return drawn.body, tuple(drawn.headers), drawn.tag


@pytest.fixture
def site(database: Database, config: Config) -> Site:
    return Site(database, config)


def finish(site: Site) -> None:
    """A job of an hour and a half that has ended and is settled."""
    disks = {0: {"bytes_transferred": 5}}
    for n in range(12):
        site.push(n * 450, transfer_speed_bps=n * 100, bytes_transferred=n, disks=disks)
    site.push(5401, "completed")
    site.settle()


# After anything.

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "transfer_speed_bps": st.integers(0, 9),
        "bytes_transferred": st.integers(0, 9),
        "total_bytes": st.just(9),
        "progress_percent": st.integers(0, 100).map(float),
        "current_phase": st.sampled_from(["snapshot", "transferring"]),
        "disks": st.dictionaries(
            st.integers(0, 1), st.fixed_dictionaries({"bytes_transferred": st.integers(0, 9)})
        ),
        "lost_updates": st.integers(1, 3),
    },
)
PUSHES = st.builds(
    lambda seconds, status, fields: lambda site: site.push(seconds, status, **fields),
    st.sampled_from([0, 1, 30, 61, 600, 601, 1200, 3600, 5400, 2 * HOUR, 3 * DAY]),
    st.sampled_from(["running"] * 5 + ["completed", "failed"]),
    FIELDS,
)
WORKS = st.sampled_from(
    [
        *[Site.settle] * 4,
        *[Site.refresh] * 2,
        *[Site.compress] * 2,
        Site.summarise,
        Site.drop,
        Site.drop_minutes,
        Site.detect,
        Site.repair,
        Site.rebuild,
        Site.be_away,
        lambda site: site.register(total_bytes=18, disks=[{"disk_index": 0, "size_bytes": 9}]),
    ]
)


@pytest.mark.timeout(0 if RUNS else 600)
@settings(
    max_examples=RUNS or 4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    has_finished=st.sampled_from([True, True, True, False]),
    steps=st.lists(PUSHES | WORKS, min_size=3, max_size=7),
)
def test_kept_charts_are_what_would_be_read_now(
    database: Database,
    config: Config,
    has_finished: bool,
    steps: list[Callable[[Site], None]],
) -> None:
    empty_tables(database)
    site = Site(database, config)
    if has_finished:
        finish(site)
    for step in steps:
        step(site)
        site.check()


# One by one: what is kept, and what ends it.


def test_chart_of_a_settled_job_is_kept(site: Site) -> None:
    finish(site)
    site.check()
    drawn = site.drawn
    first = site.webs[0].read(QUERIES[0])
    assert site.webs[0].read(QUERIES[0]) is first
    assert site.drawn == drawn
    site.compress()
    site.refresh()
    assert site.webs[0].read(QUERIES[0]) is first  # neither changes it


def live(site: Site) -> None:
    site.push(0, transfer_speed_bps=5)
    site.settle()


def not_summarised(site: Site) -> None:
    site.push(0, "completed")
    site.refresh()


def updated_late(site: Site) -> None:
    finish(site)
    late_update(site)


@pytest.mark.parametrize("happened", [live, not_summarised, updated_late])
def test_chart_that_a_task_may_still_change_is_not_kept(
    site: Site, happened: Callable[[Site], None]
) -> None:
    happened(site)
    assert site.webs[0].read(QUERIES[0]) is not site.webs[0].read(QUERIES[0])


def late_update(site: Site) -> None:
    site.push(301, transfer_speed_bps=7)


def repaired_bytes(site: Site) -> None:
    with site.database.transaction() as conn:
        conn.execute("UPDATE job_disks SET bytes_transferred = 99")
    site.repair()


@pytest.mark.parametrize(
    "change", [late_update, repaired_bytes, Site.drop], ids=["late", "repair", "drop"]
)
def test_change_is_seen_at_once(site: Site, change: Callable[[Site], None]) -> None:
    finish(site)
    site.check()
    before = answer(site.webs[0], QUERIES[0])
    change(site)
    site.check()
    assert answer(site.webs[0], QUERIES[0]) != before


def test_late_update_of_a_job_with_old_minutes_is_seen_once_it_is_rolled_up(site: Site) -> None:
    """Such a job keeps its summary, so a summary alone does not mean that it is settled."""
    finish(site)
    for n in range(12):
        site.push(3 * DAY + n * 600, transfer_speed_bps=n)
    site.settle()
    site.drop_minutes()
    window = START + timedelta(days=2), START + timedelta(days=4)
    query = ChartQuery("j", 10, *window)
    charts = site.webs[0]
    before = answer(charts, query)
    site.push(3 * DAY + 7, transfer_speed_bps=800)
    assert answer(charts, query) == answer(site.plain, query)
    site.refresh()
    assert answer(charts, query) == answer(site.plain, query)
    assert max_speed(before) < max_speed(answer(charts, query)) == 800


def max_speed(answered: tuple[Any, ...]) -> int:
    points = json.loads(answered[0])["chart_data"]
    return int(max(point["s_max"] for point in points))


def test_rebuilt_rollup_is_seen_at_once(site: Site) -> None:
    finish(site)
    spoil(site)
    site.check()
    before = answer(site.webs[0], QUERIES[1])
    site.rebuild()
    site.check()
    assert answer(site.webs[0], QUERIES[1]) != before


def spoil(site: Site) -> None:
    """Make the rollup by the minute wrong."""
    with site.database.transaction() as conn:
        conn.execute("UPDATE job_speed_1m_materialised SET speed_max = speed_max + 1000")


def test_absence_of_the_hub_is_seen_at_once(site: Site) -> None:
    """Noted after the job ended, for a gap that its summary had no room for."""
    for n in range(30):
        for second in range(3):  # often enough that 100 s are a gap
            site.push(n * 100 + second, transfer_speed_bps=n)
    site.push(3000, "completed")
    site.settle()
    site.check()
    before = answer(site.webs[0], QUERIES[0])
    site.be_away()
    site.check()
    assert answer(site.webs[0], QUERIES[0]) != before


def test_chart_is_read_again_after_a_while_whatever_its_version(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what an operator changes with SQL."""
    monkeypatch.setattr(kept_module, "LONGEST_SECONDS", 0.0)
    finish(site)
    assert site.webs[0].read(QUERIES[0]) is not site.webs[0].read(QUERIES[0])


# Memory.


def test_memory_is_bounded_and_the_least_recently_used_go_first(site: Site) -> None:
    finish(site)
    size = site.plain.read(QUERIES[0]).size
    charts = KeptCharts(site.database, site.draw, 2 * size + 1500)
    queries = [ChartQuery("j", points) for points in (300, 301, 302)]
    first, second = charts.read(queries[0]), charts.read(queries[1])
    assert charts.read(queries[0]) is first
    charts.read(queries[2])
    assert charts.read(queries[0]) is first
    assert charts.read(queries[1]) is not second
    assert charts._left >= 0


def test_without_memory_nothing_is_kept(site: Site) -> None:
    finish(site)
    assert site.plain.read(QUERIES[0]) is not site.plain.read(QUERIES[0])


def test_many_threads_keep_the_account_right(site: Site) -> None:
    finish(site)
    charts = KeptCharts(site.database, draw, EVERYTHING)

    def read() -> None:
        for points in range(300, 304):
            charts.read(ChartQuery("j", points))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = sum(found.drawn.size for found in charts._kept.values())
    assert charts._left == EVERYTHING - kept


# A server's other sessions.


@pytest.mark.server
def test_chart_that_is_read_beside_a_task_on_rollups_is_not_kept(
    site: Site, conn: Connection
) -> None:
    finish(site)
    with rollups.alone(conn):
        assert site.webs[0].read(QUERIES[0]) is not site.webs[0].read(QUERIES[0])
    assert site.webs[0].read(QUERIES[0]) is site.webs[0].read(QUERIES[0])


@pytest.mark.server
def test_task_does_not_wait_for_charts_that_were_read(site: Site, conn: Connection) -> None:
    finish(site)
    site.check()
    with pytest.raises(NotFound):
        site.webs[0].read(ChartQuery("j", 300, disk=7))
    held = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = ("
        "SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert conn.execute(held).fetchone() == (0,)
