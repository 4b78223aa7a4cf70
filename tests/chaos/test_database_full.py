"""The disk of the embedded database is full: nothing is taken, and nothing lost.

Its files are PostgreSQL's: a table that cannot grow fails a statement, a log of changes that cannot
grow ends the engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.chaos.conftest import Run
from tests.chaos.faults import SmallDisk, small_disk
from tests.chaos.scenario import lasting, within
from tools.hub_process import HubProcess, is_running, wait_until

FULL_SECONDS = lasting(60, 3)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    with small_disk(megabytes=150) as disk:
        yield disk


@pytest.fixture(scope="module")
def hub(disk: SmallDisk) -> Iterator[HubProcess]:
    """One hub for all: each test leaves it running."""
    hub = HubProcess(
        disk.path / "data", command=disk.command, HUB_DATA_DIR=str(disk.mounted_at / "data")
    )
    with hub:
        yield hub


def test_tables_that_cannot_grow(hub: HubProcess, disk: SmallDisk, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with disk.filled():
            began = time.monotonic()
            wait_until(lambda: not hub.is_healthy())
            assert scenario.refusal_seconds() < within(5)
            assert hub.request("GET", "/api/v1/jobs")[0] == 200, "reads go on"
            while time.monotonic() - began < FULL_SECONDS:
                assert scenario.refusal_seconds() < within(5)
                assert scenario.sick_seconds() < within(2)
                time.sleep(0.1)
        scenario.recover(time.monotonic())


def test_log_that_cannot_grow(hub: HubProcess, disk: SmallDisk, chaos: Run) -> None:
    """The engine ends, and cannot start again before there is room."""
    with chaos(hub) as scenario:
        known = hub.engine()
        with disk.filled():
            use_up_log(hub.owner_dsn())
            wait_until(lambda: not is_running(known["pid"]))
            began = time.monotonic()
            while time.monotonic() - began < FULL_SECONDS:
                assert scenario.refusal_seconds() < within(5)
                assert scenario.sick_seconds() < within(2)
                assert hub.engine() == known, "what the hub wrote down stays whole"
                time.sleep(0.1)
        scenario.recover(time.monotonic())
        wait_until(lambda: hub.engine()["pid"] != known["pid"])
        assert {**hub.engine(), "pid": 0} == {**known, "pid": 0}


def use_up_log(dsn: str) -> None:
    """Write to the log of changes until there is no room for more of it."""
    with (
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn,
        pytest.raises(psycopg.OperationalError),
    ):
        while True:
            conn.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 500000))")
