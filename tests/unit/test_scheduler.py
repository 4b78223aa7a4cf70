"""When tasks run: never twice at once, without warnings, and also after the clock was set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.clock import ClockWatch
from jobs.runner import Runner
from jobs.schedule import Task
from jobs.scheduler import Scheduler
from tools.hub_process import wait_until


class Runs:
    """In place of the runner: what it would have run, and how many at once."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running: list[str] = []
        self.ended: list[str] = []
        self.ran_twice_at_once = False

    def run(self, task: Task) -> None:
        with self._lock:
            self.ran_twice_at_once |= task.id in self._running
            self._running.append(task.id)
        self._work()
        with self._lock:
            self._running.remove(task.id)
            self.ended.append(task.id)


def make_task(name: str, seconds: int = 1) -> Task:
    return Task(name, lambda *_: None, seconds)


def make_scheduler(runs: Runs, *tasks: Task) -> Scheduler:
    return Scheduler(cast(Runner, runs), list(tasks))


def test_task_longer_than_its_interval_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """APScheduler would log that the maximum number of running instances was reached."""
    work = threading.Event()
    runs = Runs(lambda: work.wait(1.2))
    with caplog.at_level(logging.WARNING):
        scheduler = make_scheduler(runs, make_task("slow"))
        scheduler.start()
        wait_until(lambda: len(runs.ended) >= 2)
        scheduler.stop()
    work.set()
    assert not runs.ran_twice_at_once
    assert not [record for record in caplog.records if record.name.startswith("apscheduler")]


def test_task_that_fails_runs_again() -> None:
    def fail() -> None:
        failures.append(1)
        raise RuntimeError("once more")

    failures: list[int] = []
    scheduler = make_scheduler(Runs(fail), make_task("failing"))
    scheduler.start()
    wait_until(lambda: len(failures) >= 2)
    scheduler.stop()


def test_slow_task_delays_no_other() -> None:
    work = threading.Event()
    slow, quick = make_task("slow"), make_task("quick")

    class SlowRuns(Runs):
        def run(self, task: Task) -> None:
            if task is slow:
                work.wait(30)
            super().run(task)

    runs = SlowRuns()
    scheduler = make_scheduler(runs, slow, quick)
    scheduler.start()
    wait_until(lambda: runs.ended.count("quick") >= 2)
    assert "slow" not in runs.ended
    work.set()
    scheduler.stop()


def test_clock_that_is_set_back_holds_up_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    scheduler = make_scheduler(runs, make_task("hourly", 3_600))
    scheduler.start()
    wait_until(lambda: runs.ended == ["hourly"])
    scheduler.check_clock()  # as ever
    walls = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)])
    elapsed: Any = iter([0.0, 3_600.0])
    monkeypatch.setattr(scheduler, "_clock", ClockWatch(lambda: next(walls), lambda: next(elapsed)))
    wait_until(lambda: next_run(scheduler) is not None)
    scheduler.check_clock()
    wait_until(lambda: runs.ended == ["hourly", "hourly"])
    scheduler.stop()


def test_next_run_keeps_to_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of 70 s of a task every 30 s leaves 20 s until the next."""
    times = iter([0.0, 70.0])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("jobs.scheduler.time", clock)
    runs = Runs()
    scheduler = make_scheduler(runs, make_task("long", 30))
    scheduler._scheduler.start(paused=True)
    before = datetime.now(UTC)
    scheduler._run(make_task("long", 30))
    due = next_run(scheduler)
    scheduler.stop()
    assert due is not None
    assert timedelta(seconds=20) <= due - before <= timedelta(seconds=50)


def next_run(scheduler: Scheduler) -> datetime | None:
    job = scheduler._scheduler.get_jobs()[0]
    due: datetime | None = job.next_run_time
    return due
