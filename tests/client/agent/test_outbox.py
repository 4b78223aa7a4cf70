"""From the collector into the queue: a disk that is full, slow or gone holds and loses nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import TelemetryClient, TelemetryQueue
from telemetry_client.agent.outbox import Outbox
from tests.client.tools import full_disk
from tools.faulty_hub import FaultyHub
from tools.hub_process import free_port, wait_until

MakeOutbox = Callable[..., Outbox]


@pytest.fixture
def away() -> Iterator[TelemetryClient]:
    """A client whose hub is not there."""
    with TelemetryClient(f"http://127.0.0.1:{free_port()}") as client:
        yield client


@contextmanager
def started(path: Path, client: TelemetryClient, **options: Any) -> Iterator[Outbox]:
    outbox = Outbox(path, client, **{"retry_seconds": 0.05, **options})
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.close()


def snapshot(number: int) -> dict[str, Any]:
    return {
        "node_id": "node-1",
        "timestamp": f"2026-01-31T12:00:{number:02}Z",
        "process_count": number,
    }


def numbers(path: Path) -> list[int]:
    with TelemetryQueue(path) as queue:
        return [entry.payload["process_count"] for entry in queue.dequeue(limit=1000)]


def test_snapshots_reach_the_queue_in_order(spool_path: Path, away: TelemetryClient) -> None:
    with started(spool_path, away) as outbox:
        for number in range(5):
            outbox.put(snapshot(number))
    assert numbers(spool_path) == [0, 1, 2, 3, 4]


def test_a_full_disk_is_said_once_and_loses_nothing(
    spool_path: Path, away: TelemetryClient, caplog: pytest.LogCaptureFixture
) -> None:
    with started(spool_path, away) as outbox:
        outbox.put(snapshot(0))
        wait_until(lambda: numbers_waiting(spool_path) == 1)
        with full_disk(room=0):
            for number in range(1, 6):
                outbox.put(snapshot(number))
            wait_until(lambda: "Snapshots are kept in memory" in caplog.text)
            time.sleep(0.3)  # a few more tries
        wait_until(lambda: numbers_waiting(spool_path) == 6)
    assert numbers(spool_path) == [0, 1, 2, 3, 4, 5]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert str(spool_path) in errors[0].message


def test_while_the_disk_is_full_the_hub_gets_them_straight_away(
    spool_path: Path, faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    with started(spool_path, hub_client) as outbox, full_disk(room=0):
        for number in range(5):
            outbox.put(snapshot(number))
        wait_until(lambda: len(counted(faulty_hub)) >= 5)
    assert counted(faulty_hub) == [0, 1, 2, 3, 4]
    assert numbers(spool_path) == []


def test_what_the_hub_will_never_take_is_dropped_and_said(
    faulty_hub: FaultyHub, hub_client: TelemetryClient, caplog: pytest.LogCaptureFixture
) -> None:
    faulty_hub.poison = lambda item: item["process_count"] == 1
    with started(Path("/dev/null/queue.db"), hub_client) as outbox:
        for number in range(3):
            outbox.put(snapshot(number))
        wait_until(lambda: counted(faulty_hub) == [0, 2])
        wait_until(lambda: not outbox._kept)
    assert caplog.text.count("DROPPED a snapshot that the hub refused") == 1


def test_memory_is_bounded_and_the_newest_stay(
    faulty_hub: FaultyHub, hub_client: TelemetryClient, caplog: pytest.LogCaptureFixture
) -> None:
    faulty_hub.probability, faulty_hub.faults = 1.0, ("502",)
    with started(Path("/dev/null/queue.db"), hub_client, max_kept=3) as outbox:
        for number in range(10):
            outbox.put(snapshot(number))
        assert outbox.dropped_total == 7
        assert sum(kept.get("lost_snapshots", 0) for kept in outbox._kept) == 7
        faulty_hub.probability = 0.0
        wait_until(lambda: counted(faulty_hub) == [7, 8, 9])


def test_what_is_lost_at_the_end_is_said(
    away: TelemetryClient, caplog: pytest.LogCaptureFixture
) -> None:
    with started(Path("/dev/null/queue.db"), away) as outbox:
        outbox.put(snapshot(0))
        wait_until(lambda: "kept in memory" in caplog.text)
    assert "LOST at exit: 1 snapshots" in caplog.text


def test_a_slow_disk_holds_no_measurement(spool_path: Path, away: TelemetryClient) -> None:
    is_ready = threading.Event()

    class Slow(TelemetryQueue):
        def enqueue(self, *args: Any, **kwargs: Any) -> int:
            assert is_ready.wait(60)
            return super().enqueue(*args, **kwargs)

    with started(spool_path, away, open_queue=Slow) as outbox:
        for number in range(3):
            outbox.put(snapshot(number))
        is_ready.set()
        wait_until(lambda: numbers_waiting(spool_path) == 3)


def test_a_queue_that_fails_in_an_unknown_way_ends_nothing(
    spool_path: Path, away: TelemetryClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(TelemetryQueue):
        is_odd = True

        def enqueue(self, *args: Any, **kwargs: Any) -> int:
            if Odd.is_odd:
                raise RuntimeError("odd")
            return super().enqueue(*args, **kwargs)

    with started(spool_path, away, open_queue=Odd) as outbox:
        outbox.put(snapshot(0))
        wait_until(lambda: "Could not move a snapshot to the queue" in caplog.text)
        Odd.is_odd = False
        wait_until(lambda: numbers_waiting(spool_path) == 1)


def numbers_waiting(path: Path) -> int:
    with TelemetryQueue(path) as queue:
        return queue.get_queue_size()


def counted(hub: FaultyHub) -> list[int]:
    """What the hub has stored, by number."""
    return [item["process_count"] for item in hub.accepted]
