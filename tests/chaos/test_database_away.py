"""The embedded database stands still, is restarted, or has no connection left, under load."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import psycopg
import pytest

from tests.chaos.conftest import Run
from tests.chaos.faults import stopped
from tests.chaos.scenario import lasting, within
from tools.hub_process import HubProcess, has_ended, wait_until

STOPS = int(lasting(5, 1))
STUCK_SECONDS = 5.0  # after which the hub takes a commit for one that does not come
ROOM = 250  # connections of the embedded engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One hub for all: each test leaves it running."""
    with HubProcess(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def test_engine_that_stands_still(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with stopped(hub.engine()["pid"]):
            began = time.monotonic()
            time.sleep(STUCK_SECONDS + 0.5)
            while time.monotonic() - began < lasting(60, STUCK_SECONDS + 2):
                # Once it is known, no push waits for it.
                assert scenario.refusal_seconds() < within(0.5)
                assert scenario.sick_seconds() < within(2)
                time.sleep(0.2)
        scenario.recover(time.monotonic())


def test_engine_restarted_in_good_order(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        for _ in range(STOPS):
            pid = hub.engine()["pid"]
            os.kill(pid, signal.SIGTERM)
            wait_until(partial(has_ended, pid))
            scenario.recover(time.monotonic())
            assert hub.engine()["pid"] != pid
            scenario.senders.keep_going()


def test_analysts_take_every_connection_they_may_have(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with ExitStack() as taken:
            take_all(hub.engine()["analyst_dsn"], taken)
            for _ in range(ROOM):  # and connections that do not even sign in
                address = ("127.0.0.1", hub.engine()["port"])
                taken.enter_context(socket.create_connection(address))
            began = time.monotonic()
            while time.monotonic() - began < lasting(60, 1):
                scenario.senders.keep_going()
                assert hub.is_healthy()
                assert hub.stored(), "the hub still gets new ones"
        scenario.recover(time.monotonic())


def test_no_connection_is_left(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with ExitStack() as taken:
            assert hub.request("GET", "/api/v1/jobs")[0] == 200
            assert take_all(hub.engine()["dsn"], taken) > ROOM / 2
            scenario.goes_on(lasting(60, 2))
        scenario.recover(time.monotonic())


def take_all(dsn: str, taken: ExitStack) -> int:
    """Connect until there is no room for another one; how many it took."""
    for number in range(ROOM + 1):
        try:
            conn = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        except psycopg.OperationalError as exc:
            assert "more than" in str(exc)
            return number
        taken.callback(conn.close)
    raise AssertionError("there was no end of them")


def test_full_bridge_refuses_with_a_reason(hub: HubProcess) -> None:
    with ExitStack() as taken:
        take_all(hub.engine()["analyst_dsn"], taken)
        message = 'more than 200 connections for role "analyst"'
        with pytest.raises(psycopg.OperationalError, match=message):
            psycopg.connect(hub.engine()["analyst_dsn"])
    with psycopg.connect(hub.engine()["analyst_dsn"], autocommit=True) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
