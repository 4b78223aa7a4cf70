"""What only the queue in memory does."""

from __future__ import annotations

from telemetry_client.queue import MemoryQueue


def test_what_fails_too_often_is_lost() -> None:
    memory = MemoryQueue()
    memory.enqueue({"job_id": "a", "status": "running"})
    for _ in range(3):
        memory.mark_failed(1)
    assert memory.seconds_until_ready() is None
    assert memory.take_losses("a") == 1


def test_everything_can_be_taken_with_what_matters_marked() -> None:
    memory = MemoryQueue()
    memory.enqueue({"job_id": "a", "status": "running"})
    memory.enqueue({"job_id": "a", "status": "running", "n": 2}, important=True, leased=True)
    memory.enqueue({"job_id": "a", "status": "completed"})
    taken = [(payload["status"], important) for payload, important in memory.take_all()]
    assert taken == [("running", False), ("running", True), ("completed", True)]
    assert memory.get_queue_size() == 0


def test_evictions_are_counted_with_what_the_evicted_reported() -> None:
    memory = MemoryQueue(3)
    memory.enqueue({"job_id": "a", "status": "running", "n": 1}, important=True)
    memory.enqueue({"job_id": "a", "status": "completed", "n": 2})
    memory.enqueue({"job_id": "a", "status": "running", "n": 3, "lost_updates": 4})
    memory.enqueue({"job_id": "a", "status": "running", "n": 4}, important=True)
    assert memory.take_losses("a") == 5
    memory.enqueue({"job_id": "a", "status": "running", "n": 5}, important=True)
    assert [entry.payload["n"] for entry in memory.dequeue()] == [2, 4, 5]
    assert (memory.take_losses("a"), memory.take_losses("a")) == (1, 0)
