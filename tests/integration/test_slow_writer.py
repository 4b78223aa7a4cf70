"""A hub that stores updates late, or refuses them for a while, judges no job for that time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, LiteralString

import pytest

from app.clock import to_micros, utc_now
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.updates import Update
from app.errors import QueueFull
from app.ingest.heartbeat import Heartbeat
from app.ingest.queue import Ticket
from app.ingest.transaction import Outcome, store_updates
from app.ingest.writer import Writer
from app.store import staleness
from jobs import detect_stale_jobs
from tools.hub_process import wait_until

# As in a hub, with a tenth of the time.
MOMENT_SECONDS = 0.5
BEAT_SECONDS = 0.2
GAP_SECONDS = 1.5
TROUBLE_SECONDS = 4.0
STALE_AFTER_SECONDS = 2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, owner: Database) -> Iterator[None]:
    monkeypatch.setattr("app.ingest.writer.MOMENT_SECONDS", MOMENT_SECONDS)
    monkeypatch.setattr("app.ingest.heartbeat.BEAT_SECONDS", BEAT_SECONDS)
    monkeypatch.setitem(staleness._BOUNDS, "gap_seconds", GAP_SECONDS)
    forget = "DELETE FROM ingest_presence; DELETE FROM ingest_beats; DELETE FROM hub_absences"
    with owner.transaction() as conn:
        conn.execute(forget)
    yield
    with owner.transaction() as conn:
        conn.execute(forget)


class Hub:
    """A writer that can be held up, and its heartbeat."""

    def __init__(self, database: Database) -> None:
        self.is_held = threading.Event()
        self.writer = Writer(
            database, {Update: self._store}, capacity=2, wait_seconds=20, late_days=28
        )
        self.heartbeat = Heartbeat(database, lambda: self.writer.is_taking)

    def push(self) -> Ticket:
        update = Update("backup", "j", "running", timestamp=to_micros(utc_now()))
        return self.writer.begin([update], lambda: None)

    def _store(self, conn: Connection, updates: Sequence[Update], late_days: int) -> list[Outcome]:
        while self.is_held.is_set():
            time.sleep(0.01)
        return store_updates(conn, updates, late_days)


@pytest.fixture
def hub(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(database)
    beat = staleness.beat

    def beat_alone(conn: Connection, process_id: str) -> None:
        """The heart of an application that other tests of this process use may beat as well."""
        if process_id == hub.heartbeat.process_id:
            beat(conn, process_id)

    monkeypatch.setattr(staleness, "beat", beat_alone)
    hub.writer.start()
    hub.heartbeat.start()
    yield hub
    hub.is_held.clear()
    hub.heartbeat.stop()
    hub.writer.stop()


def be_slow(hub: Hub) -> None:
    """One commit takes all the time."""
    hub.is_held.set()
    ticket = hub.push()
    time.sleep(TROUBLE_SECONDS)
    hub.is_held.clear()
    wait_until(lambda: ticket.is_settled)


def refuse(hub: Hub) -> None:
    """Each commit takes a moment, and the queue is full all the time."""
    until = time.monotonic() + TROUBLE_SECONDS
    while time.monotonic() < until:
        hub.is_held.set()
        tickets: list[Ticket] = []
        with pytest.raises(QueueFull):
            while True:
                tickets.append(hub.push())
        hub.is_held.clear()
        for ticket in tickets:
            wait_until(partial(getattr, ticket, "is_settled"))


@pytest.mark.parametrize("trouble", [be_slow, refuse])
def test_no_job_is_judged_for_a_time_in_which_updates_were_not_stored(
    hub: Hub, database: Database, owner: Database, config: Config, trouble: Callable[[Hub], None]
) -> None:
    first = hub.push()
    wait_until(lambda: first.is_settled)
    silent = Update("backup", "silent", "running", timestamp=to_micros(utc_now()))
    hub.writer.submit([silent])
    wait_until(lambda: read(database, "SELECT count(*) FROM ingest_beats")[0])
    trouble(hub)
    short = replace(
        config, stale_after_seconds=STALE_AFTER_SECONDS, fail_after_seconds=STALE_AFTER_SECONDS + 1
    )
    sweep = detect_stale_jobs.run_once(owner, short)
    assert (sweep.stalled, sweep.failed) == (0, 0)
    longest = "SELECT coalesce(max(extract(epoch FROM to_at - from_at)), 0) FROM hub_absences"
    wait_until(lambda: read(database, longest)[0] > TROUBLE_SECONDS - 2 * MOMENT_SECONDS)
    wait_until(lambda: detect_stale_jobs.run_once(owner, short).stalled > 0)  # judged from now on


def read(database: Database, sql: LiteralString) -> Any:
    with database.reading() as conn:
        return conn.execute(sql).fetchone()
