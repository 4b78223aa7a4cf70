"""Workers and disks add up, in any order and from any thread, whatever counters do."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from telemetry_client.progress import DiskProgress
from telemetry_client.tracker import ProgressAggregator


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


DISKS = st.one_of(st.none(), st.integers(0, 3))
COUNTS = st.integers(0, 10**12)


class AggregatorMachine(RuleBasedStateMachine):
    """Any calls in any order, compared with a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.aggregator = ProgressAggregator(clock=self.clock)
        self.bytes: dict[int | None, int] = {}
        self.moved: dict[int | None, int] = {}
        self.totals: dict[int, int] = {}
        self.ended: dict[int, str] = {}
        self.phase: str | None = None

    @rule(disk=st.integers(0, 3), total=st.one_of(st.none(), COUNTS))
    def add_disk(self, disk: int, total: int | None) -> None:
        self.aggregator.add_disk(disk, total)
        self._touch(disk)
        if total is not None:
            self.totals[disk] = total

    @rule(disk=DISKS, count=COUNTS)
    def add_bytes(self, disk: int | None, count: int) -> None:
        self.aggregator.add_bytes(count, disk)
        self._touch(disk)
        self.bytes[disk] += count
        self.moved[disk] += count

    @rule(disk=DISKS, count=COUNTS)
    def set_bytes(self, disk: int | None, count: int) -> None:
        self.aggregator.set_bytes(count, disk)
        self._touch(disk)
        self.moved[disk] += max(0, count - self.bytes[disk])
        self.bytes[disk] = count

    @rule(disk=st.integers(0, 3), fails=st.booleans())
    def end_disk(self, disk: int, fails: bool) -> None:
        if fails:
            self.aggregator.fail_disk(disk, "bad")
        else:
            self.aggregator.complete_disk(disk)
        self._touch(disk)
        self.ended[disk] = "failed" if fails else "completed"

    @rule(bad=st.sampled_from([-1, math.nan, math.inf, "5", None, True, 2**63]), disk=DISKS)
    def give_nonsense(self, bad: Any, disk: int | None) -> None:
        self.aggregator.add_bytes(bad, disk)
        self.aggregator.set_bytes(bad, disk)

    @rule(count=COUNTS, disk=st.sampled_from([-1, 1024, "0", 1.5, True]))
    def add_to_no_disk(self, count: int, disk: Any) -> None:
        """It counts for the job alone."""
        if disk == 1.5:
            return  # 1 by the rules for numbers
        self.aggregator.add_bytes(count, disk)
        self._touch(None)
        self.bytes[None] += count
        self.moved[None] += count

    @rule(phase=st.sampled_from(["snapshot", "transferring"]))
    def set_phase(self, phase: str) -> None:
        self.aggregator.set_phase(phase)
        self.phase = phase

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.bytes or self.totals)
    @invariant()
    def agrees_with_the_model(self) -> None:
        progress = self.aggregator.progress()
        assert progress.bytes_transferred == sum(self.bytes.values())
        assert progress.phase == self.phase
        assert progress.speed_bps is None or progress.speed_bps >= 0
        assert progress.eta_seconds is None or progress.eta_seconds >= 0
        named = {index for index in self.bytes if index is not None}
        assert [disk.disk_index for disk in progress.disks] == sorted(named)
        for disk in progress.disks:
            self._check(disk)
        is_total_known = bool(named) and named <= set(self.totals)
        assert progress.total_bytes == (sum(self.totals.values()) if is_total_known else None)

    def _check(self, disk: DiskProgress) -> None:
        index = disk.disk_index
        status = "transferring" if self.moved[index] else "pending"
        assert disk.bytes_transferred == self.bytes[index]
        assert disk.total_bytes == self.totals.get(index)
        assert disk.status == self.ended.get(index, status)
        assert disk.error == ("bad" if self.ended.get(index) == "failed" else None)
        assert disk.speed_bps is None or disk.speed_bps >= 0

    def _touch(self, disk: int | None) -> None:
        self.bytes.setdefault(disk, 0)
        self.moved.setdefault(disk, 0)


TestAggregator = AggregatorMachine.TestCase


def test_no_byte_is_lost_between_threads() -> None:
    aggregator = ProgressAggregator()

    def work(disk: int) -> None:
        for _ in range(20_000):
            aggregator.add_bytes(3, disk % 4)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert aggregator.progress().bytes_transferred % 3 == 0  # type: ignore[operator]
    assert aggregator.progress().bytes_transferred == 8 * 20_000 * 3


def test_speed_and_time_left_come_from_what_was_moved() -> None:
    clock = Clock()
    aggregator = ProgressAggregator(total_bytes=1_000, clock=clock)
    assert aggregator.progress().speed_bps is None
    aggregator.add_bytes(100)
    clock.now = 2.0
    progress = aggregator.progress()
    assert (progress.speed_bps, progress.eta_seconds, progress.total_bytes) == (50, 18, 1_000)


def test_a_counter_that_restarts_leaves_the_speed_of_the_others() -> None:
    clock = Clock()
    aggregator = ProgressAggregator(clock=clock)
    for second in range(1, 6):
        clock.now = float(second)
        aggregator.set_bytes(5_000 if second < 4 else 10, disk=0)
        aggregator.add_bytes(100, disk=1)
        progress = aggregator.progress()
    assert progress.bytes_transferred == 10 + 500
    assert progress.speed_bps == 100


def test_a_forked_child_does_not_hang_on_a_lock() -> None:
    aggregator = ProgressAggregator()
    aggregator._lock.acquire()  # as if another thread were counting at the moment of the fork
    child = os.fork()
    if child == 0:
        aggregator.add_bytes(1)
        os._exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)
    aggregator._lock.release()


FORKED = """
import multiprocessing, sys
from telemetry_client import ProgressAggregator, ProgressTracker

def copy(size):
    work.add_bytes(size)
    return size

with ProgressTracker("backup-1", spool=sys.argv[1], end_deadline_seconds=0) as tracker:
    work = ProgressAggregator(tracker)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for size in pool.imap_unordered(copy, [10, 20, 30]):
            work.add_bytes(size)
    assert work.progress().bytes_transferred == 60, work.progress()
"""


def test_a_worker_process_is_told_that_its_bytes_do_not_count(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "spool.db")],
        env={**os.environ, "SHA_API_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("do not reach the job: let workers return their bytes") == 1


def test_it_cannot_be_sent_to_another_process() -> None:
    with pytest.raises(TypeError, match="let workers return their bytes"):
        pickle.dumps(ProgressAggregator())


def test_counting_costs_less_than_the_job_notices() -> None:
    aggregator = ProgressAggregator()
    began = time.thread_time()  # other processes do not count; bench/sender.py measures the rest
    for _ in range(20_000):
        aggregator.add_bytes(4_096, 3)
    assert time.thread_time() - began < 20_000 * 50e-6


def test_bad_totals_are_none(caplog: pytest.LogCaptureFixture) -> None:
    assert ProgressAggregator(total_bytes=-5).progress().total_bytes is None
