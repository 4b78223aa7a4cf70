"""What every queue does, on disk and in memory alike: order, leases, tries, evictions, losses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import MemoryQueue, Queue, TelemetryQueue
from tests.client.queue.clock import Clock

MakeQueue = Callable[[int], Queue]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory"])
def make_queue(
    request: pytest.FixtureRequest, spool_path: Path, clock: Clock
) -> Iterator[MakeQueue]:
    """Makes a queue of a size."""
    with ExitStack() as stack:

        def make(size: int) -> Queue:
            queue: Queue
            if request.param == "file":
                queue = TelemetryQueue(spool_path, size, clock=clock, wall_clock=clock)
            else:
                queue = MemoryQueue(size, clock=clock, wall_clock=clock)
            return stack.enter_context(closing(queue))

        yield make


@pytest.fixture
def queue(make_queue: MakeQueue) -> Queue:
    return make_queue(100)


def update(job: str = "a", number: int = 0, **more: Any) -> dict[str, Any]:
    return {"job_id": job, "status": "running", "bytes_transferred": number, **more}


def dequeued(queue: Queue, limit: int = 100, **options: Any) -> list[int]:
    return [entry.id for entry in queue.dequeue(limit, **options)]


def dequeued_elsewhere(queue: Queue) -> list[int]:
    """What another thread may send; released again."""
    found: list[int] = []

    def take() -> None:
        found.extend(dequeued(queue))
        queue.release_all(found)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found


def held(queue: Queue) -> list[int]:
    """Everything in the queue that is not leased."""
    ids = dequeued(queue)
    queue.release_all(ids)
    return ids


def losses(queue: Queue, job: str) -> int:
    """All reported losses of a job: by its updates and by `take_losses`."""
    entries = queue.dequeue(100)
    queue.release_all([entry.id for entry in entries])
    counts = [e.payload.get("lost_updates", 0) for e in entries if e.payload["job_id"] == job]
    return int(sum(counts)) + queue.take_losses(job)


# Order.


def test_the_oldest_come_first_with_what_was_put_in(queue: Queue, clock: Clock) -> None:
    ids = [queue.enqueue(update(number=number)) for number in range(3)]
    assert ids == [1, 2, 3]
    first, second = queue.dequeue(2)
    assert (first.id, first.payload, first.tries) == (1, update(number=0), 0)
    assert first.queued_at == clock.now
    assert second.id == 2
    assert queue.get_queue_size() == 3


def test_only_entries_after_an_id_are_taken_if_asked_for(queue: Queue) -> None:
    for _ in range(3):
        queue.enqueue(update())
    assert dequeued(queue, after=1) == [2, 3]


def test_ids_are_never_used_twice(queue: Queue) -> None:
    queue.mark_sent(queue.enqueue(update()))
    assert queue.enqueue(update()) == 2


def test_a_payload_that_the_caller_changes_later_stays_as_it_was(queue: Queue) -> None:
    payload = update(number=1)
    queue.enqueue(payload)
    payload["bytes_transferred"] = 2
    assert queue.dequeue()[0].payload == update(number=1)


def test_acknowledged_entries_are_gone(queue: Queue) -> None:
    for _ in range(3):
        queue.enqueue(update())
    queue.acknowledge([1, 3, 99])
    assert held(queue) == [2]


def test_unknown_ids_change_nothing(queue: Queue) -> None:
    queue.enqueue(update())
    queue.mark_sent(7)
    queue.release(7)
    queue.mark_failed(7)
    queue.mark_dead(7, "why")
    assert held(queue) == [1]


# Leases.


def test_a_leased_entry_is_handed_out_once(queue: Queue) -> None:
    queue.enqueue(update("a"))
    queue.enqueue(update("b"))
    assert dequeued(queue, 1) == [1]
    assert dequeued(queue) == [2]
    assert dequeued(queue) == []


def test_a_stream_is_sent_by_one_thread_at_a_time(queue: Queue) -> None:
    for number in range(3):
        queue.enqueue(update("a", number))
    queue.enqueue(update("b"))
    queue.enqueue({"node_id": "n"})
    assert dequeued(queue, 1) == [1]
    assert dequeued_elsewhere(queue) == [4, 5]
    queue.mark_sent(1)
    assert dequeued_elsewhere(queue) == [2, 3, 4, 5]


def test_the_thread_that_leased_an_entry_gets_the_next_one(queue: Queue) -> None:
    for _ in range(2):
        queue.enqueue(update())
    assert (dequeued(queue, 1), dequeued(queue, 1)) == ([1], [2])


def test_payloads_without_job_and_node_have_no_order(queue: Queue) -> None:
    queue.enqueue({"x": 1})
    queue.enqueue({"x": 2})
    dequeued(queue, 1)
    assert dequeued_elsewhere(queue) == [2]


def test_a_lease_ends(queue: Queue, clock: Clock) -> None:
    queue.enqueue(update())
    queue.dequeue()
    clock += 59
    assert dequeued(queue) == []
    assert queue.seconds_until_ready() == pytest.approx(1.0)
    clock += 1
    assert dequeued(queue) == [1]


def test_an_entry_may_be_added_leased(queue: Queue) -> None:
    queue.enqueue(update(), leased=True)
    queue.enqueue(update())
    assert dequeued_elsewhere(queue) == []
    queue.release(1)
    assert dequeued(queue) == [1, 2]


def test_when_an_entry_may_be_sent(queue: Queue) -> None:
    assert queue.seconds_until_ready() is None
    queue.enqueue(update())
    assert queue.seconds_until_ready() == 0
    queue.dequeue()
    assert queue.seconds_until_ready() == pytest.approx(60.0)


# Tries.


def test_a_release_uses_no_try(queue: Queue) -> None:
    queue.enqueue(update())
    for _ in range(10):
        (entry,) = queue.dequeue()
        assert entry.tries == 0
        queue.release(entry.id)


def test_a_failed_entry_waits_and_its_stream_with_it(queue: Queue, clock: Clock) -> None:
    for number in range(2):
        queue.enqueue(update("a", number))
    queue.enqueue(update("b"))
    (entry,) = queue.dequeue(1)
    queue.mark_failed(entry.id)
    queue.release(entry.id)  # it is not leased any more: it still waits
    assert dequeued_elsewhere(queue) == [3]
    queue.mark_sent(3)
    wait = queue.seconds_until_ready()
    assert wait is not None
    assert 0 < wait <= 5
    clock += wait
    assert [(again.id, again.tries) for again in queue.dequeue()] == [(1, 1), (2, 0)]


def test_an_entry_is_given_up_after_its_tries(queue: Queue) -> None:
    queue.enqueue(update())
    for tries in (1, 2, 3):
        assert queue.get_queue_size() == 1, tries
        queue.mark_failed(1, max_retries=3)
    assert queue.get_queue_size() == 0
    assert queue.seconds_until_ready() is None


def test_a_refused_entry_is_given_up_at_once(queue: Queue) -> None:
    for number in range(2):
        queue.enqueue(update(number=number))
    queue.dequeue(1)
    queue.mark_dead(1, "400: status")
    assert dequeued(queue) == [2]


# Full.


def test_a_full_queue_evicts_the_oldest(make_queue: MakeQueue) -> None:
    queue = make_queue(3)
    for number in range(10):
        queue.enqueue(update(number=number))
        assert queue.get_queue_size() <= 3
    assert held(queue) == [8, 9, 10]
    assert losses(queue, "a") == 7


def test_ordinary_updates_go_first_and_ends_last(make_queue: MakeQueue) -> None:
    queue = make_queue(4)
    queue.enqueue(update("end", status="completed"))
    queue.enqueue(update("phase"), important=True)
    queue.enqueue(update("error", error="disk broke"))
    left = []
    for number in range(4, 8):
        queue.enqueue(update("new", number), important=number > 5)
        left.append(held(queue))
    assert left == [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 6], [1, 3, 6, 7]]


def test_a_new_ordinary_update_goes_if_all_others_are_more_important(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue(2)
    for number in range(2):
        queue.enqueue(update("a", number), important=True)
    queue.enqueue(update("b"))
    assert held(queue) == [1, 2]
    assert queue.take_losses("b") == 1


def test_leased_entries_are_never_evicted(make_queue: MakeQueue, clock: Clock) -> None:
    queue = make_queue(3)
    for number in range(3):
        queue.enqueue(update(number=number))
    queue.dequeue(3)
    for number in range(3, 8):
        queue.enqueue(update(number=number))
        assert queue.get_queue_size() == 4  # the newest beside the leased ones
    clock += 61
    assert held(queue) == [1, 2, 3, 8]
    queue.enqueue(update())
    assert held(queue) == [3, 8, 9]


def test_losses_are_counted_by_job_and_reported_once(make_queue: MakeQueue) -> None:
    queue = make_queue(1)
    queue.enqueue(update("a", lost_updates=4))
    queue.enqueue(update("b"))
    queue.enqueue({"node_id": "a"})
    assert (queue.take_losses("a"), queue.take_losses("b")) == (5, 1)
    assert (queue.take_losses("a"), queue.take_losses("node/a")) == (0, 0)
    queue.enqueue(update("a"))
    assert (queue.take_losses("a"), queue.take_losses("node/a")) == (0, 1)


def test_evicted_snapshots_are_counted_by_node(make_queue: MakeQueue) -> None:
    """By the newest snapshot, or for `take_losses`."""
    queue = make_queue(1)
    for _ in range(3):
        queue.enqueue({"node_id": "n"})
    (entry,) = queue.dequeue()
    assert entry.payload.get("lost_snapshots", 0) + queue.take_losses("node/n") == 2


def test_many_threads_lose_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue(1000)

    def fill(job: str) -> None:
        for number in range(50):
            queue.enqueue(update(job, number))

    threads = [threading.Thread(target=fill, args=(f"job{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.get_queue_size() == 400
    assert sorted(dequeued(queue, 1000)) == list(range(1, 401))
