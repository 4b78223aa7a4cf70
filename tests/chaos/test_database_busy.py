"""The embedded database is used by its owner, is slow, or is kept by an analyst, under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.chaos.conftest import Run
from tests.chaos.faults import slowed
from tests.chaos.scenario import lasting, within
from tools.hub_process import HubProcess

WAIT_SECONDS = 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One hub for all: each test leaves it running."""
    with HubProcess(tmp_path_factory.mktemp("hub"), HUB_WAIT_SECONDS=str(WAIT_SECONDS)) as hub:
        yield hub


def test_owner_who_sets_what_pg_dump_sets(hub: HubProcess, chaos: Run) -> None:
    """The engine has one session; what a connection sets in it does not reach the hub's."""
    with chaos(hub) as scenario:
        began = time.monotonic()
        with psycopg.connect(hub.owner_dsn(), autocommit=True, prepare_threshold=None) as owner:
            while time.monotonic() - began < lasting(60, 2):
                owner.execute("SELECT pg_catalog.set_config('search_path', '', false)")
                owner.execute("SET default_transaction_read_only TO on; SET DateStyle TO 'German'")
                status, _ = scenario.timed_push()
                assert status == 200
                assert hub.request("GET", "/api/v1/jobs")[0] == 200
                _, _, health = hub.request("GET", "/api/v1/health")
                assert health["checks"]["migrations"]["pending"] == []
        scenario.recover(time.monotonic())


def test_database_two_seconds_late_with_everything(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with slowed(hub.engine()["pid"]):
            began = time.monotonic()
            while time.monotonic() - began < lasting(60, 5):
                status, seconds = scenario.timed_push()
                assert status in (200, 503)
                assert seconds < within(WAIT_SECONDS + 1)
                status, seconds = scenario.timed("GET", "/api/v1/health")
                assert status in (200, 503)
                assert seconds < within(2)
                _, _, health = hub.request("GET", "/api/v1/health")
                assert health["checks"]["writer"]["queued"] < 20, "no more than these wait"
        scenario.recover(time.monotonic())


def test_analyst_who_keeps_transactions_open(hub: HubProcess, chaos: Run) -> None:
    """The engine serves no other session meanwhile; the bridge cuts it off after two seconds."""
    with chaos(hub) as scenario:
        with an_analyst_at_work(hub.engine()["analyst_dsn"]) as cut_off:
            began = time.monotonic()
            while time.monotonic() - began < lasting(60, 5):
                status, seconds = scenario.timed_push()
                assert status == 200
                assert seconds < within(WAIT_SECONDS)
        assert cut_off
        scenario.recover(time.monotonic())


def test_analyst_who_ends_the_engine_again_and_again(hub: HubProcess, chaos: Run) -> None:
    """After the second end analysts are kept out. The last test here: they stay so."""
    with chaos(hub) as scenario:
        ends = 0
        while True:
            try:
                with psycopg.connect(hub.engine()["analyst_dsn"], autocommit=True) as analyst:
                    analyst.execute("SELECT repeat('[', 800000)::json")
            except psycopg.OperationalError as exc:
                if "may not connect" in str(exc):
                    break
                ends += "closed the connection" in str(exc)
            time.sleep(0.1)
        assert ends == 2
        scenario.recover(time.monotonic())
        _, _, health = hub.request("GET", "/api/v1/health")
        assert health["status"] == "degraded"
        assert health["checks"]["analysts"]["status"] == "refused"


@contextmanager
def an_analyst_at_work(dsn: str) -> Iterator[list[str]]:
    """Opens a transaction, reads in it and leaves it open, again and again; how each ended."""
    ending = threading.Event()
    cut_off: list[str] = []

    def read() -> None:
        while not ending.is_set():
            try:
                with psycopg.connect(dsn) as conn:
                    conn.execute("SELECT count(*) FROM job_telemetry")
                    ending.wait(3)
            except psycopg.Error as exc:
                cut_off.append(str(exc))
            ending.wait(0.2)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield cut_off
    finally:
        ending.set()
        thread.join()
