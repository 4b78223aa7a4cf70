"""What can happen to a TimescaleDB server, and not to the one session of the embedded engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from app.config import Config
from app.database.pool import Database
from app.errors import HubError
from app.store.rollups import LOCK_WAIT_MS
from jobs import compress_chunks, drop_expired_chunks, refresh_rollups
from tests.chaos.cluster import Cluster, running_cluster, take_all
from tests.chaos.conftest import Run
from tests.chaos.faults import small_disk
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import lasting, within
from tests.factories import make_body
from tools.hub_process import HubProcess, wait_until

WAIT_SECONDS = 5
ROUNDS = int(lasting(5, 1))
DEADLOCKS = int(lasting(20, 2))
JOBS = ("conflict-a", "conflict-b")
BATCH = "/api/v1/telemetry/batch"
CHART = "/telemetry/history/old"
# A chunk to be dropped, one to be compressed, and what the rollups make of them.
OLD_UPDATES = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, bytes_transferred)
SELECT now() - days * interval '1 day' + n * interval '1 minute', 0, 'old', 'running', 9 * n + days
FROM unnest(ARRAY[4, 1]) AS days, generate_series(0, 300) AS n
"""

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with Proxy(cluster.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hub(
    cluster: Cluster, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HubProcess]:
    """One hub for all, its database behind the proxy: each test leaves both as they were."""
    hub = HubProcess(
        tmp_path_factory.mktemp("hub"),
        DATABASE_URL=cluster.url.replace(str(cluster.port), str(proxy.port)),
        HUB_WAIT_SECONDS=str(WAIT_SECONDS),
    )
    with hub:
        yield hub


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_restarted(hub: HubProcess, cluster: Cluster, chaos: Run, mode: str) -> None:
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            cluster.control("restart", "-m", mode)
            scenario.recover(time.monotonic())
            scenario.senders.keep_going()


def test_server_stopped_for_a_while(hub: HubProcess, cluster: Cluster, chaos: Run) -> None:
    with chaos(hub) as scenario:
        cluster.control("stop", "-m", "fast")
        began = time.monotonic()
        wait_until(lambda: not hub.is_healthy())
        while time.monotonic() - began < lasting(60, 3):
            assert scenario.refusal_seconds() < within(1)
            assert scenario.sick_seconds() < within(2)
        cluster.control("start")
        scenario.recover(time.monotonic())


def test_disk_of_the_server_is_full(tmp_path: Path, chaos: Run) -> None:
    """Tables cannot grow: the server lives, answers what is read, and stores nothing."""
    with ExitStack() as running:
        disk = running.enter_context(small_disk(megabytes=400))
        assert not disk.command, "PostgreSQL serves no root of a namespace: run this as root"
        disk.path.chmod(0o755)
        cluster = running.enter_context(running_cluster(disk.path))
        hub = running.enter_context(HubProcess(tmp_path, DATABASE_URL=cluster.url))
        scenario = running.enter_context(chaos(hub))
        with disk.filled():
            began = time.monotonic()
            wait_until(lambda: not hub.is_healthy())
            assert hub.request("GET", "/api/v1/jobs")[0] == 200, "reads go on"
            while time.monotonic() - began < lasting(60, 3):
                assert scenario.refusal_seconds() < within(5)
                assert scenario.sick_seconds() < within(2)
                time.sleep(0.1)
        scenario.recover(time.monotonic())


def test_network_that_passes_nothing_on(hub: HubProcess, proxy: Proxy, chaos: Run) -> None:
    with chaos(hub) as scenario:
        proxy.freeze()
        began = time.monotonic()
        wait_until(lambda: not hub.is_healthy())
        while time.monotonic() - began < lasting(60, WAIT_SECONDS + 2):
            assert scenario.refusal_seconds() < within(WAIT_SECONDS + 1)
            assert scenario.sick_seconds() < within(2)
        proxy.mend()
        scenario.recover(time.monotonic())


def test_no_connection_is_left(hub: HubProcess, cluster: Cluster, chaos: Run) -> None:
    with chaos(hub) as scenario:
        with ExitStack() as taken:
            assert hub.request("GET", "/api/v1/jobs")[0] == 200
            take_all(cluster, taken)
            scenario.goes_on(lasting(60, 2))
        scenario.recover(time.monotonic())


def test_server_that_may_only_be_read(hub: HubProcess, cluster: Cluster, chaos: Run) -> None:
    """It holds for new connections only; those that are open stay as they are."""
    job = {"job_id": "registered", "job_type": "backup"}
    with chaos(hub) as scenario:
        with read_only(cluster):
            wait_until(lambda: not hub.is_healthy())
            began = time.monotonic()
            while time.monotonic() - began < lasting(60, 2):
                assert scenario.refusal_seconds() < within(2)
                assert scenario.sick_seconds() < within(2)
                assert hub.request("POST", "/api/v1/jobs", job)[0] == 503
                assert hub.request("GET", "/api/v1/jobs")[0] == 200, "reads go on"
        scenario.recover(time.monotonic())
        for _ in range(8):  # over each connection of the pool
            assert hub.request("POST", "/api/v1/jobs", job)[0] in (200, 201)


@contextmanager
def read_only(cluster: Cluster) -> Iterator[None]:
    with cluster.connect() as conn:
        conn.execute("ALTER DATABASE postgres SET default_transaction_read_only TO on")
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
            )
            yield
        finally:
            conn.execute("ALTER DATABASE postgres RESET default_transaction_read_only")


def test_server_two_seconds_late_with_everything(hub: HubProcess, proxy: Proxy, chaos: Run) -> None:
    with chaos(hub) as scenario:
        proxy.delay_seconds = 1.0  # each way
        began = time.monotonic()
        while time.monotonic() - began < lasting(60, 10):
            status, seconds = scenario.timed_push()
            assert status in (200, 503)
            assert seconds < within(WAIT_SECONDS + 1)
            status, seconds = scenario.timed("GET", "/api/v1/health")
            assert status in (200, 503)
            assert seconds < within(2)
            _, _, health = hub.request("GET", "/api/v1/health")
            assert health["checks"]["writer"]["queued"] < 20, "no more than these wait"
        proxy.delay_seconds = 0.0
        scenario.recover(time.monotonic())


def test_analyst_who_keeps_a_transaction_open(
    hub: HubProcess, cluster: Cluster, chaos: Run
) -> None:
    """Chunks that it has read cannot be emptied or dropped; no other session waits for that."""
    patience = LOCK_WAIT_MS / 1000 + 1
    assert hub.push("old", **make_body()) == 200
    with cluster.connect() as conn:
        conn.execute(OLD_UPDATES)
    with chaos(hub) as scenario, opened(cluster) as (database, config):
        with psycopg.connect(cluster.url) as analyst:
            analyst.execute("SELECT count(*) FROM job_telemetry")
            analyst.execute("SELECT count(*) FROM job_speed_1m")
            with tasks_at_work(database, config) as failures:
                began = time.monotonic()
                while time.monotonic() - began < lasting(60, 6):
                    for status, seconds in (scenario.timed_push(), scenario.timed("GET", CHART)):
                        assert status == 200
                        assert seconds < within(patience)
        assert any("could not be compressed" in failure for failure in failures), failures
        scenario.recover(time.monotonic())
        refresh_rollups.run_once(database, config)
        assert compress_chunks.run_once(database, config)["job_telemetry"] > 0
        assert drop_expired_chunks.run_once(database, config)["job_telemetry"].stayed == 0


@contextmanager
def opened(cluster: Cluster) -> Iterator[tuple[Database, Config]]:
    """For tasks that find something to do."""
    config = Config(
        database_url=cluster.url,
        late_data_days=1,
        raw_retention_days=2,
        rollup_1m_retention_days=30,
        compress_after_hours=1,
    )
    database = Database.from_config(config)
    database.open()
    try:
        yield database, config
    finally:
        database.close()


@contextmanager
def tasks_at_work(database: Database, config: Config) -> Iterator[list[str]]:
    """One after the other, without a pause; what they failed with."""
    ending = threading.Event()
    failures: list[str] = []

    def work() -> None:
        while not ending.is_set():
            for task in (refresh_rollups, compress_chunks, drop_expired_chunks):
                try:
                    task.run_once(database, config)
                except HubError as exc:
                    failures.append(str(exc))
            ending.wait(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failures
    finally:
        ending.set()
        thread.join()


def test_deadlocks_with_another_session(hub: HubProcess, cluster: Cluster, chaos: Run) -> None:
    """Rows of jobs are locked in the order of their ids; another session may use another order."""
    with chaos(hub) as scenario, ThreadPoolExecutor(1) as pushing, cluster.connect() as watcher:
        assert push_both(hub, 0) == (200, 2)
        before = deadlocks(watcher)
        rounds = suffered = 0
        while suffered < DEADLOCKS:
            rounds += 1
            assert rounds < 5 * DEADLOCKS
            with psycopg.connect(cluster.url) as other:
                lock_job(other, JOBS[1])
                pushed = pushing.submit(push_both, hub, rounds)
                wait_until(lambda: waits_for_job(watcher))
                try:
                    lock_job(other, JOBS[0])  # which the hub has
                    suffered += 1
                except psycopg.errors.DeadlockDetected:
                    pass  # now and then it is the other one that has to give way
            assert pushed.result() == (200, 2)
        wait_until(lambda: deadlocks(watcher) >= before + rounds)
        scenario.recover(time.monotonic())
    with cluster.connect() as conn:
        stored = "SELECT count(*), max(bytes_transferred) FROM job_telemetry WHERE job_id = ANY(%s)"
        assert conn.execute(stored, [list(JOBS)]).fetchone() == (2 * (rounds + 1), rounds)


def push_both(hub: HubProcess, number: int) -> tuple[int, int]:
    """The status, and how many updates were new."""
    updates = [
        {"job_type": "backup", "job_id": job_id, **make_body(bytes_transferred=number)}
        for job_id in JOBS
    ]
    status, _, answer = hub.request("POST", BATCH, {"updates": updates})
    return status, answer.get("accepted", 0)


def lock_job(conn: psycopg.Connection[tuple[object, ...]], job_id: str) -> None:
    conn.execute("SELECT FROM jobs WHERE job_id = %s FOR UPDATE", [job_id])


def waits_for_job(watcher: psycopg.Connection[tuple[object, ...]]) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"
    return watcher.execute(waiting).fetchone() != (0,)


def deadlocks(watcher: psycopg.Connection[tuple[object, ...]]) -> int:
    row = watcher.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
    return int(str((row.fetchone() or (0,))[0]))
