"""A TimescaleDB server with a standby: promoted when the primary dies, and read from until then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.database.reads import LOOK_SECONDS
from tests.chaos.cluster import Cluster, running_cluster, take_all
from tests.chaos.conftest import Run
from tests.chaos.scenario import lasting
from tools.hub_process import HubProcess, wait_until

PROMOTION_SECONDS = 10.0  # until the hub is healthy on the new primary
READS = int(lasting(300, 30))

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(300)]


@pytest.fixture
def primary() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@contextmanager
def standby_of(primary: Cluster, hub_starts: HubProcess) -> Iterator[Cluster]:
    """A standby of a migrated database; a commit waits until the standby has it."""
    with hub_starts:
        pass
    with running_cluster(primary=primary) as standby:
        with primary.connect() as conn:
            conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            conn.execute("SELECT pg_reload_conf()")
        yield standby


def both(primary: Cluster, standby: Cluster) -> str:
    """The address that leads to whichever of the two is the primary."""
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"


def test_primary_killed_and_standby_promoted(primary: Cluster, tmp_path: Path, chaos: Run) -> None:
    with ExitStack() as stack:
        first = HubProcess(tmp_path, DATABASE_URL=primary.url)
        standby = stack.enter_context(standby_of(primary, first))
        hub = HubProcess(tmp_path, DATABASE_URL=both(primary, standby))
        with hub, chaos(hub) as scenario:
            scenario.senders.keep_going(20)
            primary.kill()
            standby.control("promote")
            scenario.recover(time.monotonic(), within=PROMOTION_SECONDS)


@pytest.fixture
def read_hub(primary: Cluster, tmp_path: Path) -> Iterator[tuple[HubProcess, Cluster]]:
    """A hub that reads from a standby."""
    with standby_of(primary, HubProcess(tmp_path, DATABASE_URL=primary.url)) as standby:
        hub = HubProcess(tmp_path, DATABASE_URL=primary.url, HUB_READ_URL=standby.url)
        with hub:
            wait_until(lambda: state(hub)["status"] == "ok")
            yield hub, standby


def state(hub: HubProcess) -> dict[str, Any]:
    found: dict[str, Any] = hub.request("GET", "/api/v1/health")[2]["checks"]["standby"]
    return found


def is_answered(hub: HubProcess, path: str) -> bool:
    return hub.request("GET", path)[0] == 200


def assert_current(hub: HubProcess, job_id: str, moved: int) -> None:
    """Push an update; the job, its chart and the list of jobs then show it."""
    assert hub.push(job_id, bytes_transferred=moved) == 200
    assert hub.request("GET", f"/api/v1/jobs/{job_id}")[2]["bytes_transferred"] == moved
    chart = hub.request("GET", f"/telemetry/history/{job_id}")[2]
    assert chart["snapshots"] == moved
    (listed,) = hub.request("GET", f"/api/v1/jobs?job_id={job_id}")[2]["items"]
    assert listed["bytes_transferred"] == moved


def statements_of(standby: Cluster) -> int:
    """How many transactions have been executed there."""
    with standby.connect() as conn:
        row = conn.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


def test_standby_shows_all_that_was_acknowledged(read_hub: tuple[HubProcess, Cluster]) -> None:
    hub, standby = read_hub
    before = statements_of(standby)
    for number in range(1, READS + 1):
        assert_current(hub, "current", number)
    wait_until(lambda: statements_of(standby) >= before + 3 * READS)
    assert state(hub)["status"] == "ok"


def test_standby_that_is_behind_is_not_read(read_hub: tuple[HubProcess, Cluster]) -> None:
    hub, standby = read_hub
    with standby.connect() as conn:
        conn.execute("SELECT pg_wal_replay_pause()")
        for number in range(1, 4):
            assert_current(hub, "behind", number)
        wait_until(lambda: state(hub)["status"] == "behind", 30)
        assert state(hub)["behind_seconds"] >= 10
        health = hub.request("GET", "/api/v1/health")
        assert (health[0], health[2]["status"]) == (200, "degraded")
        assert_current(hub, "behind", 4)
        conn.execute("SELECT pg_wal_replay_resume()")
    wait_until(lambda: state(hub)["status"] == "ok")
    assert_current(hub, "behind", 5)


def test_a_primary_without_free_connections_is_not_away(
    read_hub: tuple[HubProcess, Cluster], primary: Cluster
) -> None:
    hub, standby = read_hub
    with standby.connect() as conn, ExitStack() as taken:
        assert_current(hub, "busy", 1)
        # It has all that the hub has seen, and nothing that comes now.
        conn.execute("SELECT pg_wal_replay_pause()")
        take_all(primary, taken)
        time.sleep(2 * LOOK_SECONDS)
        for number in range(2, 5):
            assert_current(hub, "busy", number)
        conn.execute("SELECT pg_wal_replay_resume()")


def test_standby_that_is_away_is_not_read(
    read_hub: tuple[HubProcess, Cluster], primary: Cluster
) -> None:
    hub, standby = read_hub
    assert_current(hub, "away", 1)
    with primary.connect() as conn:  # else commits would wait for it
        conn.execute("ALTER SYSTEM RESET synchronous_standby_names")
        conn.execute("SELECT pg_reload_conf()")
    standby.kill()
    for number in range(2, 5):
        assert_current(hub, "away", number)
    wait_until(lambda: state(hub)["status"] == "down")
    assert state(hub)["detail"]
    standby.control("start")
    wait_until(lambda: state(hub)["status"] == "ok")
    assert_current(hub, "away", 5)


def test_standby_is_read_while_the_primary_is_away(
    read_hub: tuple[HubProcess, Cluster], primary: Cluster
) -> None:
    hub, _ = read_hub
    assert_current(hub, "alone", 1)
    primary.control("stop", "-m", "fast")
    for path in ("/api/v1/jobs/alone", "/telemetry/history/alone", "/api/v1/jobs"):
        wait_until(partial(is_answered, hub, path), 30)
    assert hub.request("GET", "/telemetry/history/alone")[2]["snapshots"] == 1
    assert hub.push("alone", bytes_transferred=2) == 503
    primary.control("start")
    wait_until(hub.is_healthy)
    assert_current(hub, "alone", 2)


def test_a_primary_is_no_standby(primary: Cluster, tmp_path: Path) -> None:
    with HubProcess(tmp_path, DATABASE_URL=primary.url, HUB_READ_URL=primary.url) as hub:
        wait_until(lambda: "not a standby" in (state(hub)["detail"] or ""))
        assert state(hub)["status"] == "down"
        assert_current(hub, "other", 1)
