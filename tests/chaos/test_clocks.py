"""Clocks that are wrong: the hub's and its database's, set by an hour, and those of senders."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest

from app.clock import isoformat, utc_now
from tests.chaos.clock import SettableClock
from tests.chaos.conftest import Run
from tests.chaos.scenario import IS_LONG, Scenario, lasting
from tests.client.tools import need
from tools.hub_process import HubProcess, wait_until

HOUR = 3_600
STALE_SECONDS = 5
FAIL_SECONDS = 7
# Until a job that has died is failed: the watch begins again, and a sweep must come.
VERDICT_SECONDS = FAIL_SECONDS + 10.0
UPDATES = int(lasting(200, 20))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SettableClock:
    need("faketime")
    return SettableClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def hub(clock: SettableClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub whose clock, and its database's, can be set."""
    settings = {
        "HUB_STALE_AFTER_SECONDS": str(STALE_SECONDS),
        "HUB_FAIL_AFTER_SECONDS": str(FAIL_SECONDS),
        "HUB_SWEEP_SECONDS": "1",
        "HUB_ROLLUP_SECONDS": "2",
    }
    with HubProcess(tmp_path_factory.mktemp("hub"), **settings, **clock.env) as hub:
        yield hub


def test_clock_of_the_hub_set_by_an_hour(hub: HubProcess, clock: SettableClock, chaos: Run) -> None:
    """Back and forth: jobs that push are not judged, jobs that died are, and the tasks go on."""
    with chaos(hub) as scenario:
        for ahead in (-HOUR, 0, HOUR, 0) if IS_LONG else (-HOUR, 0):
            set_clock(scenario, clock, ahead)
        scenario.assert_no_sender_judged()


# By how much senders' clocks are ahead, and whether the hub lets their timestamps stand: behind is
# also what a sender looks like that was cut off, up to the late horizon.
SENDERS = {2 * HOUR: False, -2 * HOUR: True, 72 * HOUR: False, -960 * HOUR: False}


def test_clocks_of_senders_wrong_by_hours_and_days(hub: HubProcess, chaos: Run) -> None:
    """All is stored and charted, with one warning at most; liveness is by the hub's clock."""
    with chaos(hub, ahead_seconds=list(SENDERS)) as scenario:
        died = [f"died-{secrets.token_hex(4)}" for _ in SENDERS]
        for ahead, job_id in zip(SENDERS, died, strict=True):
            at = isoformat(utc_now() + timedelta(seconds=ahead))
            assert hub.push(job_id, timestamp=at) == 200
        for job_id in died:
            wait_until(partial(has_failed, hub, job_id), VERDICT_SECONDS)
        scenario.assert_no_sender_judged()
    for job_id, stands in zip(scenario.senders.job_ids, SENDERS.values(), strict=True):
        chart = hub.request("GET", f"/api/v1/telemetry/history/{job_id}")[2]
        pushed = [number for known, number in scenario.senders.acknowledged if known == job_id]
        assert chart["snapshots"] == len(pushed)
        warnings = [event for event in scenario.events_of(job_id) if "clock" in event["reason"]]
        assert len(warnings) == (0 if stands else 1), warnings


def set_clock(scenario: Scenario, clock: SettableClock, ahead: int) -> None:
    """Set it just after a job has died; return when that was noticed, and all tasks have run."""
    hub = scenario.hub
    died = f"died-{secrets.token_hex(4)}"
    assert hub.push(died) == 200
    clock.set(ahead)
    wait_until(lambda: abs(seconds_ahead(hub) - ahead) < 60)
    began = time.monotonic()
    scenario.recover(began)
    wait_until(partial(has_failed, hub, died), VERDICT_SECONDS)
    scenario.senders.keep_going(UPDATES)
    wait_until(lambda: tasks_ran_since(hub, began), VERDICT_SECONDS)


def has_failed(hub: HubProcess, job_id: str) -> bool:
    return bool(hub.request("GET", f"/api/v1/jobs/{job_id}")[2]["status"] == "failed")


def seconds_ahead(hub: HubProcess) -> float:
    """By how much the clock of the hub's database is ahead of ours."""
    job_id = f"clock-{secrets.token_hex(4)}"
    hub.push(job_id)
    arrived_at = hub.request("GET", f"/api/v1/jobs/{job_id}")[2]["last_telemetry_at"]
    return (datetime.fromisoformat(arrived_at) - utc_now()).total_seconds()


def tasks_ran_since(hub: HubProcess, began: float) -> bool:
    """Whether the tasks that are due every few seconds have run since then, all without error."""
    tasks = hub.request("GET", "/api/v1/health")[2]["checks"]["tasks"]["tasks"]
    frequent = [task for task in tasks if task["interval_seconds"] <= 3]
    assert len(frequent) == 5, tasks
    elapsed = time.monotonic() - began
    return all(0 <= task["age_seconds"] < elapsed and not task["error"] for task in frequent)
