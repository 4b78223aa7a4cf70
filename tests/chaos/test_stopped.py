"""Stopped for a while and let go on (SIGSTOP, SIGCONT), all of the hub or a part of it.

So it is with a machine that is suspended or moved while it runs, and with a process that starves.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.domain.rollups import ROLLUPS
from tests.chaos.conftest import Run
from tests.chaos.scenario import lasting
from tools.hub_process import HubProcess, kill, wait_until

STALE_SECONDS = 8  # a sender waits 5 s for an answer that does not come
# Longer than the silence that stalls a job, and fails it: both are the hub's own here.
LONG_STOP_SECONDS = lasting(75, 17)
SHORT_STOP_SECONDS = lasting(60, 3)
KILLS = int(lasting(6, 1))  # each time the supervisor waits for longer before it starts them again
OLD_SECONDS = 200  # updates so old go into buckets that are made already

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    settings = {
        "HUB_STALE_AFTER_SECONDS": str(STALE_SECONDS),
        "HUB_FAIL_AFTER_SECONDS": str(2 * STALE_SECONDS),
        "HUB_SWEEP_SECONDS": "1",
        "HUB_ROLLUP_SECONDS": "1",
    }
    with HubProcess(tmp_path_factory.mktemp("hub"), **settings) as hub:
        yield hub


def stop_for(seconds: float, pids: list[int]) -> float:
    """Stop processes for so long; when they went on, by time.monotonic()."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return time.monotonic()


def test_whole_hub_stopped(hub: HubProcess, chaos: Run) -> None:
    """No job is judged: while the hub cannot listen, a job is not silent."""
    with chaos(hub) as scenario:
        pids = [hub.pid, *hub.children()]
        assert len(pids) >= 4, pids  # supervisor, engine, tasks, web worker
        scenario.recover(stop_for(LONG_STOP_SECONDS, pids))
        assert [hub.pid, *hub.children()] == pids, "nothing had to be started again"
        time.sleep(2)  # sweeps
        scenario.assert_no_sender_judged()


def test_web_worker_stopped(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        scenario.recover(stop_for(SHORT_STOP_SECONDS, [hub.web_worker()]))
        scenario.assert_no_sender_judged()


def test_supervisor_stopped(hub: HubProcess, chaos: Run) -> None:
    """All but the supervisor goes on without it; what dies meanwhile is started again after."""
    with chaos(hub) as scenario:
        before = hub.children()
        os.kill(hub.pid, signal.SIGSTOP)
        began = time.monotonic()
        scenario.senders.keep_going()
        (tasks,) = [pid for pid, command in before.items() if "-m jobs" in command]
        kill(tasks)
        time.sleep(max(0.0, began + SHORT_STOP_SECONDS - time.monotonic()))
        os.kill(hub.pid, signal.SIGCONT)
        ended = time.monotonic()
        scenario.recover(ended)
        wait_until(lambda: tasks_of(hub) not in (None, tasks))
        assert hub.web_worker() in before
        scenario.assert_no_sender_judged()


def test_tasks_killed_under_load(hub: HubProcess, chaos: Run) -> None:
    """Whatever they were at: afterwards the rollups hold every update, each once."""
    with chaos(hub, ahead_seconds=-OLD_SECONDS) as scenario:
        for _ in range(KILLS):
            wait_until(lambda: tasks_of(hub) is not None)
            time.sleep(random.uniform(1, 3))  # it is at its first tasks
            tasks = tasks_of(hub)
            assert tasks is not None
            kill(tasks)
            scenario.recover(time.monotonic())
        wait_until(lambda: tasks_of(hub) not in (None, tasks))
        scenario.assert_no_sender_judged()
    ((ended,),) = query(hub, "SELECT clock_timestamp()")
    refreshed = "SELECT count(*) FROM rollup_refreshes WHERE refreshed_at > %s"
    wait_until(lambda: query(hub, refreshed, ended) == [(len(ROLLUPS),)])
    stored = {
        job_id: sum(1 for known, _ in scenario.senders.acknowledged if known == job_id)
        for job_id in scenario.senders.job_ids
    }
    for rollup in ("job_speed_1m", "job_speed_1h"):
        rolled_up = query(
            hub,
            f"SELECT job_id, sum(updates)::integer FROM {rollup} WHERE job_id = ANY(%s) GROUP BY 1",
            scenario.senders.job_ids,
        )
        assert dict(rolled_up) == stored, rollup


def tasks_of(hub: HubProcess) -> int | None:
    """The pid of `python -m jobs`; None while it is away."""
    pids = [pid for pid, command in hub.children().items() if "-m jobs" in command]
    return pids[0] if pids else None


def query(hub: HubProcess, sql: str, *params: object) -> list[Any]:
    with psycopg.connect(hub.owner_dsn(), prepare_threshold=None) as conn:
        return conn.execute(sql.encode(), params or None).fetchall()
