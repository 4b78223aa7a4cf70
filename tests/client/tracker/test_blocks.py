"""Functions and `async with` blocks as jobs, the current tracker, and SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import (
    ProgressTracker,
    TelemetryQueue,
    cancel_on_sigterm,
    current_tracker,
    tracked,
)
from tests.asgi import run_apart
from tools.faulty_hub import FaultyHub
from tools.hub_process import wait_until


def ends(hub: FaultyHub) -> list[tuple[str, Any]]:
    """Status and error of each end in the hub."""
    return [(end["status"], end.get("error")) for end in hub.accepted if end["status"] != "running"]


def test_each_call_of_a_function_is_a_run(faulty_hub: FaultyHub, places: dict[str, Any]) -> None:
    @tracked("backup-1", vm_name="vm1", **places)
    def back_up(size: int, *, fails: bool = False) -> int:
        """Copies."""
        tracker = current_tracker()
        assert tracker is not None
        tracker.update_progress(size)
        if fails:
            raise OSError("no space")
        return size

    assert (back_up.__name__, back_up.__doc__) == ("back_up", "Copies.")
    assert back_up(7) == 7
    with pytest.raises(OSError, match="no space"):
        back_up(8, fails=True)
    assert ends(faulty_hub) == [("completed", None), ("failed", "no space")]
    assert [update["vm_name"] for update in faulty_hub.accepted if "new_run" in update] == [
        "vm1"
    ] * 2
    assert current_tracker() is None


def test_a_coroutine_function_is_a_run_too(faulty_hub: FaultyHub, places: dict[str, Any]) -> None:
    @tracked("backup-1", **places)
    async def back_up(seconds: float) -> str:
        assert current_tracker() is not None
        await asyncio.sleep(seconds)
        return "done"

    async def run() -> None:
        assert await back_up(0) == "done"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(back_up(60), 0.1)

    run_apart(run())
    assert ends(faulty_hub) == [("completed", None), ("cancelled", "CancelledError")]


def test_a_generator_function_is_not_done_when_it_returns() -> None:
    def blocks() -> Iterator[int]:
        yield 1

    async def blocks_later() -> AsyncIterator[int]:
        yield 1

    for function in (blocks, blocks_later):
        with pytest.raises(TypeError, match=r"blocks.* is a generator function"):
            tracked("backup-1")(function)


def test_an_end_does_not_block_the_event_loop(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    """While the hub keeps the end waiting, other tasks have their turns."""

    async def run() -> int:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        async with ProgressTracker("backup-1", **places) as tracker:
            assert current_tracker() is tracker
            faulty_hub.slow_seconds = 0.5
            other = asyncio.create_task(take_turns())
        other.cancel()
        assert tracker.is_delivered
        return turns

    assert run_apart(asyncio.wait_for(run(), 60)) > 3
    assert ends(faulty_hub) == [("completed", None)]


def test_the_innermost_tracker_is_the_current_one(places: dict[str, Any]) -> None:
    with ProgressTracker("backup-1", **places) as outer:
        with ProgressTracker("backup-2", **places) as inner:
            assert current_tracker() is inner
        assert current_tracker() is outer
    assert current_tracker() is None


def test_tasks_have_trackers_of_their_own(places: dict[str, Any]) -> None:
    async def job(name: str) -> bool:
        async with ProgressTracker(name, **places) as tracker:
            await asyncio.sleep(0.05)
            return current_tracker() is tracker

    async def run() -> list[bool]:
        return list(await asyncio.gather(job("backup-1"), job("backup-2")))

    assert run_apart(run()) == [True, True]


TERMINATED = """
import sys, time
from telemetry_client import ProgressTracker, TelemetryClient, cancel_on_sigterm
assert cancel_on_sigterm()
with ProgressTracker("backup-1", client=TelemetryClient(sys.argv[1]), spool=sys.argv[2]):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("is_away", [False, True])
def test_sigterm_cancels_the_job(faulty_hub: FaultyHub, spool_path: Path, is_away: bool) -> None:
    if is_away:
        faulty_hub.go_down()
    command = [sys.executable, "-c", TERMINATED, faulty_hub.url, str(spool_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    if is_away:
        with TelemetryQueue(spool_path) as queue:
            end = queue.dequeue()[-1].payload
        assert (end["status"], end["error"]) == ("cancelled", "SIGTERM")
    else:
        wait_until(lambda: bool(ends(faulty_hub)))
        assert ends(faulty_hub) == [("cancelled", "SIGTERM")]


def test_a_handler_of_the_program_stays() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGTERM)
        assert not cancel_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is handler
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(cancel_on_sigterm()))
        thread.start()
        thread.join()
        assert found == [False]
    finally:
        signal.signal(signal.SIGTERM, before)
