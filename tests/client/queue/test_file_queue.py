"""The queue in one process: order, leases, tries, what goes when it is full, and bad files."""

from __future__ import annotations

import inspect
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import QueueError, TelemetryQueue
from tests.client.queue.clock import Clock

DAY = 86_400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(spool_path: Path, clock: Clock) -> Iterator[TelemetryQueue]:
    with TelemetryQueue(spool_path, clock=clock, wall_clock=clock) as queue:
        yield queue


@pytest.fixture
def other(queue: TelemetryQueue, spool_path: Path, clock: Clock) -> Iterator[TelemetryQueue]:
    """Another user of the same file."""
    with TelemetryQueue(spool_path, clock=clock, wall_clock=clock) as other:
        yield other


def make_small(spool_path: Path, clock: Clock, max_size: int) -> TelemetryQueue:
    return TelemetryQueue(spool_path, max_size, clock=clock, wall_clock=clock)


def update(job: str = "a", number: int = 0, **more: Any) -> dict[str, Any]:
    return {"job_id": job, "status": "running", "bytes_transferred": number, **more}


def numbers(queue: TelemetryQueue, limit: int = 100) -> list[int]:
    return [entry.payload["bytes_transferred"] for entry in queue.dequeue(limit)]


# The documented interface.


def test_it_needs_no_arguments() -> None:
    parameters = inspect.signature(TelemetryQueue).parameters
    assert parameters["db_path"].default == "/var/lib/resolvix/telemetry_queue.db"
    assert parameters["max_size"].default == 1000
    assert inspect.signature(TelemetryQueue.dequeue).parameters["limit"].default == 10
    assert inspect.signature(TelemetryQueue.mark_failed).parameters["max_retries"].default == 3


def test_the_table_is_telemetry_queue(queue: TelemetryQueue, spool_path: Path) -> None:
    queue.enqueue({"node_id": "n"})
    with sqlite3.connect(spool_path) as conn:
        assert conn.execute("SELECT id, tries FROM telemetry_queue").fetchall() == [(1, 0)]
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    conn.close()


def test_the_life_of_an_entry(queue: TelemetryQueue) -> None:
    assert queue.enqueue({"node_id": "n", "cpu_percent": 1.5}) == 1
    assert queue.enqueue({"node_id": "n", "cpu_percent": 2.5}) == 2
    assert queue.get_queue_size() == 2
    first, second = queue.dequeue(limit=10)
    assert (first.id, first["id"], first["retry_count"]) == (1, 1, 0)
    assert first["payload"] == first.payload == {"node_id": "n", "cpu_percent": 1.5}
    with pytest.raises(KeyError):
        first["nothing"]
    queue.mark_sent(first.id)
    assert queue.get_queue_size() == 1
    for _ in range(3):
        queue.mark_failed(second.id, max_retries=3, reason="hub broke")
    assert queue.get_queue_size() == 0
    assert [dead.reason for dead in queue.dead_letters()] == ["failed 3 times: hub broke"]
    stats = queue.get_stats()
    assert (stats["sent_total"], stats["dead"], stats["pending"]) == (1, 1, 0)


def test_the_oldest_come_first_ten_at_a_time(queue: TelemetryQueue) -> None:
    for number in range(15):
        queue.enqueue(update(number=number))
    assert [entry.id for entry in queue.dequeue()] == list(range(1, 11))
    assert [entry.id for entry in queue.dequeue()] == list(range(11, 16))
    assert queue.dequeue() == []


def test_it_survives_a_restart(queue: TelemetryQueue, spool_path: Path, clock: Clock) -> None:
    queue.enqueue(update(number=1, error="größer\x00 \udce9"))
    queue.close()
    with TelemetryQueue(spool_path, clock=clock, wall_clock=clock) as reopened:
        (entry,) = reopened.dequeue()
        assert entry.payload == update(number=1, error="größer\x00 \udce9")
        assert reopened.enqueue(update(number=2)) == 2


def test_ids_are_not_used_twice(queue: TelemetryQueue) -> None:
    queue.mark_sent(queue.enqueue(update()))
    assert queue.enqueue(update()) == 2


def test_what_is_unknown_changes_nothing(queue: TelemetryQueue) -> None:
    queue.mark_sent(7)
    queue.release(7)
    queue.mark_failed(7)
    queue.mark_dead(7, "why")
    stats = queue.get_stats()
    assert (stats["sent_total"], stats["failed_total"], stats["dead"]) == (0, 0, 0)


def test_what_is_not_json_is_refused_before_the_file_is_touched(queue: TelemetryQueue) -> None:
    with pytest.raises(TypeError):
        queue.enqueue({"job_id": "a", "error": object()})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        queue.enqueue({"job_id": "a", "error": deep})
    assert queue.get_queue_size() == 0


@pytest.mark.parametrize("arguments", [{"max_size": 0}, {"lease_seconds": 0}])
def test_settings_that_cannot_work_are_refused(spool_path: Path, arguments: Any) -> None:
    with pytest.raises(ValueError):
        TelemetryQueue(spool_path, **arguments)


# Leases and order.


def test_another_user_of_the_file_does_not_get_what_is_leased(
    queue: TelemetryQueue, other: TelemetryQueue
) -> None:
    queue.enqueue(update("a"))
    queue.enqueue(update("b"))
    assert [entry.id for entry in queue.dequeue(1)] == [1]
    assert [entry.id for entry in other.dequeue()] == [2]
    assert queue.get_stats()["leased"] == 2
    assert queue.get_queue_size() == 2


def test_a_stream_is_sent_by_one_at_a_time(queue: TelemetryQueue, other: TelemetryQueue) -> None:
    for number in range(3):
        queue.enqueue(update("a", number))
    queue.enqueue(update("b", 9))
    queue.dequeue(1)
    assert numbers(other) == [9]
    queue.mark_sent(1)
    assert numbers(other) == [1, 2]


def test_threads_of_one_process_keep_the_order_too(queue: TelemetryQueue) -> None:
    queue.enqueue(update(number=0))
    queue.enqueue(update(number=1))
    assert numbers(queue, 1) == [0]
    seen: list[list[int]] = []
    thread = threading.Thread(target=lambda: seen.append(numbers(queue)))
    thread.start()
    thread.join()
    assert seen == [[]]
    assert numbers(queue) == [1]


def test_what_has_neither_job_nor_node_has_no_order(
    queue: TelemetryQueue, other: TelemetryQueue
) -> None:
    queue.enqueue({"x": 1})
    queue.enqueue({"x": 2})
    queue.dequeue(1)
    assert [entry.id for entry in other.dequeue()] == [2]


def test_a_lease_ends(queue: TelemetryQueue, other: TelemetryQueue, clock: Clock) -> None:
    queue.enqueue(update())
    (entry,) = queue.dequeue()
    clock += 59
    assert other.dequeue() == []
    assert other.seconds_until_ready() == pytest.approx(1.0)
    clock += 1
    assert [again.id for again in other.dequeue()] == [entry.id]


def test_an_ended_lease_takes_nothing_from_the_next_holder(
    queue: TelemetryQueue, other: TelemetryQueue, clock: Clock
) -> None:
    queue.enqueue(update())
    queue.dequeue()
    clock += 61
    (entry,) = other.dequeue()
    queue.release(entry.id)
    queue.mark_failed(entry.id, max_retries=1)
    queue.mark_dead(entry.id, "late")
    assert other.get_stats()["leased"] == 1
    assert other.get_stats()["dead"] == 0
    queue.mark_sent(entry.id)  # but what the hub has, it has
    assert other.get_queue_size() == 0


def test_an_outage_spends_no_try(queue: TelemetryQueue) -> None:
    queue.enqueue(update())
    for _ in range(100):
        (entry,) = queue.dequeue()
        assert entry.tries == 0
        queue.release(entry.id)
    assert queue.get_queue_size() == 1


def test_a_failure_waits_and_keeps_its_stream_waiting(
    queue: TelemetryQueue, other: TelemetryQueue, clock: Clock
) -> None:
    for number in range(2):
        queue.enqueue(update("a", number))
    queue.enqueue(update("b", 9))
    (entry,) = queue.dequeue(1)
    queue.mark_failed(entry.id)
    assert numbers(other) == [9]
    wait = queue.seconds_until_ready()
    assert wait is not None
    assert 0 < wait <= 5
    clock += wait
    assert [(again.id, again.tries) for again in queue.dequeue(1)] == [(1, 1)]


def test_a_restart_of_the_machine_ends_all_waiting(
    queue: TelemetryQueue, other: TelemetryQueue, clock: Clock
) -> None:
    queue.enqueue(update("a"))
    queue.enqueue(update("b"))
    queue.dequeue(1)
    queue.mark_failed(2)
    clock.now = 10.0  # its clock starts again
    assert [entry.id for entry in other.dequeue()] == [1, 2]


def test_an_entry_may_be_born_leased(
    queue: TelemetryQueue, other: TelemetryQueue, clock: Clock
) -> None:
    entry_id = queue.enqueue(update(), leased=True)
    assert other.dequeue() == []
    queue.release(entry_id)
    assert [entry.id for entry in other.dequeue()] == [entry_id]


def test_when_something_is_ready(queue: TelemetryQueue) -> None:
    assert queue.seconds_until_ready() is None
    queue.enqueue(update())
    assert queue.seconds_until_ready() == 0


# Full.


def test_it_never_holds_more_than_its_size(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 3) as queue:
        for number in range(10):
            queue.enqueue(update(number=number))
            assert queue.get_queue_size() <= 3
        assert numbers(queue) == [7, 8, 9]
        assert queue.get_stats()["evicted_by_count"] == 7


def test_a_smaller_size_takes_effect(queue: TelemetryQueue, spool_path: Path, clock: Clock) -> None:
    for number in range(10):
        queue.enqueue(update(number=number))
    with make_small(spool_path, clock, 4) as smaller:
        smaller.enqueue(update(number=10))
        assert numbers(smaller) == [7, 8, 9, 10]


def test_ordinary_updates_go_first_and_ends_last(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 4) as queue:
        queue.enqueue(update("end", 1, status="completed"))
        queue.enqueue(update("phase", 2), important=True)
        queue.enqueue(update("error", 3, error="disk broke"))
        left = []
        for number in range(4, 8):
            queue.enqueue(update("new", number), important=number > 5)
            left.append(_ids(queue))
        assert left == [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 6], [1, 3, 6, 7]]
        for number in range(8, 12):
            queue.enqueue(update("end", number, status="failed"))
            left.append(_ids(queue))
        assert left[4:] == [[1, 6, 7, 8], [1, 7, 8, 9], [1, 8, 9, 10], [8, 9, 10, 11]]


def test_an_ordinary_newcomer_goes_where_all_others_matter_more(
    spool_path: Path, clock: Clock
) -> None:
    with make_small(spool_path, clock, 2) as queue:
        for number in range(2):
            queue.enqueue(update("a", number), important=True)
        queue.enqueue(update("b", 2))
        assert _ids(queue) == [1, 2]
        assert queue.take_losses("b") == 1


def test_what_is_leased_never_goes(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 3) as queue:
        for number in range(3):
            queue.enqueue(update(number=number))
        queue.dequeue(3)
        for number in range(3, 8):
            queue.enqueue(update(number=number))
            assert queue.get_queue_size() == 4  # the newest beside the leased
        assert _ids(queue) == [1, 2, 3, 8]
        queue.enqueue(update(status="completed"))
        queue.enqueue(update())
        assert _ids(queue) == [1, 2, 3, 9], "an end stays rather than a newer ordinary one"
        clock += 61
        queue.enqueue(update(number=9))
        assert _ids(queue) == [3, 9, 11]


def test_the_old_go(queue: TelemetryQueue, clock: Clock) -> None:
    queue.enqueue(update(number=0))
    queue.enqueue(update(number=1, status="completed"))
    clock += 27 * DAY
    queue.enqueue(update(number=2))
    assert queue.get_stats()["oldest_age_seconds"] == 27 * DAY
    clock += 1.1 * DAY
    assert [entry.payload for entry in queue.dequeue()] == [update(number=2, lost_updates=2)]
    assert queue.get_stats()["evicted_by_age"] == 2


def _ids(queue: TelemetryQueue) -> list[int]:
    with sqlite3.connect(queue.db_path) as conn:
        found = [row[0] for row in conn.execute("SELECT id FROM telemetry_queue ORDER BY id")]
    conn.close()
    return found


# What is told of losses.


def test_the_next_update_of_the_job_tells_of_the_loss(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 3) as queue:
        for number, job in enumerate(["a", "b", "a", "b", "a"]):
            queue.enqueue(update(job, number))
        assert [entry.payload for entry in queue.dequeue()] == [
            update("a", 2, lost_updates=1),
            update("b", 3, lost_updates=1),
            update("a", 4),
        ]


def test_losses_add_up(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 2) as queue:
        for number in range(10):
            queue.enqueue(update("a", number, lost_updates=2 if number == 3 else 0))
        first, second = queue.dequeue()
        assert first.payload["lost_updates"] == 8 + 2
        assert second.payload["lost_updates"] == 0


def test_what_was_handed_out_stays_as_it_is(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 2) as queue:
        queue.enqueue(update("a", 0))
        queue.enqueue(update("a", 1))
        for entry in queue.dequeue():  # the hub may have them, who knows
            queue.release(entry.id)
        queue.enqueue(update("b", 2))
        assert [entry.payload for entry in queue.dequeue()] == [update("a", 1), update("b", 2)]
        assert queue.take_losses("a") == 1
        assert queue.take_losses("a") == 0


def test_a_loss_that_nothing_tells_of_is_kept(
    spool_path: Path, clock: Clock, queue: TelemetryQueue
) -> None:
    with make_small(spool_path, clock, 1) as small:
        small.enqueue(update("a", 0))
        small.enqueue(update("b", 1))
        assert small.get_stats()["lost_untold"] == 1
    assert queue.take_losses("b") == 0
    assert queue.take_losses("a") == 1
    assert queue.get_stats()["lost_untold"] == 0


def test_the_next_snapshot_reports_those_that_were_lost(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 1) as queue:
        for percent in (1, 2, 3):
            queue.enqueue({"node_id": "n", "cpu_percent": percent})
        assert queue.dequeue()[0].payload == {"node_id": "n", "cpu_percent": 3, "lost_snapshots": 2}


# Dead letters.


def test_a_refused_payload_dies_at_once_with_its_reason(
    queue: TelemetryQueue, clock: Clock
) -> None:
    queue.enqueue(update(number=1))
    queue.enqueue(update(number=2))
    (entry,) = queue.dequeue(1)
    queue.mark_dead(entry.id, "400: status: Must be one of")
    (dead,) = queue.dead_letters()
    assert (dead.id, dead.payload, dead.tries) == (1, update(number=1), 0)
    assert (dead.reason, dead.died_at) == ("400: status: Must be one of", clock.now)
    assert numbers(queue) == [2]


def test_a_replayed_letter_takes_its_old_place(queue: TelemetryQueue) -> None:
    for number in range(4):
        queue.enqueue(update(number=number))
    for entry_id in (1, 3):
        queue.mark_failed(entry_id, max_retries=1)
    assert queue.replay([3, 99]) == 1
    assert queue.get_stats()["dead"] == 1
    assert queue.replay() == 1
    assert [(entry.id, entry.tries) for entry in queue.dequeue()] == [(n, 0) for n in (1, 2, 3, 4)]
    assert queue.dead_letters() == []
    assert queue.replay() == 0


def test_a_replay_evicts_nothing(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 3) as queue:
        for number in range(3):
            queue.mark_dead(queue.enqueue(update(number=number)), "x")
        queue.enqueue(update(number=3))
        assert queue.replay() == 2
        assert (queue.get_queue_size(), queue.get_stats()["dead"]) == (3, 1)


def test_dead_letters_are_bounded_and_counted(spool_path: Path, clock: Clock) -> None:
    with make_small(spool_path, clock, 3) as queue:
        for number in range(5):
            clock += 1
            queue.mark_dead(queue.enqueue(update(number=number)), "x")
        assert [dead.id for dead in queue.dead_letters()] == [5, 4, 3]
        assert [dead.id for dead in queue.dead_letters(limit=1)] == [5]
        assert (queue.get_stats()["dead_total"], queue.get_stats()["dead_dropped"]) == (5, 2)


def test_dead_letters_can_be_forgotten(queue: TelemetryQueue) -> None:
    for _ in range(3):
        queue.mark_dead(queue.enqueue(update()), "x")
    assert queue.forget_dead([2, 9]) == 1
    assert queue.forget_dead() == 2
    assert queue.dead_letters() == []


def test_an_entry_that_was_edited_affects_no_other(queue: TelemetryQueue, spool_path: Path) -> None:
    queue.enqueue(update(number=1))
    queue.enqueue(update("b", number=2))
    with sqlite3.connect(spool_path) as conn:
        conn.execute("UPDATE telemetry_queue SET payload = '{' WHERE id = 1")
    conn.close()
    assert [entry.payload for entry in queue.dequeue()] == [{"unreadable": "{"}, update("b", 2)]


@pytest.mark.parametrize("text", ["[1]", "null", "[" * 100_000])
def test_an_entry_that_is_not_an_object_affects_no_other(
    queue: TelemetryQueue, spool_path: Path, text: str
) -> None:
    queue.enqueue(update(number=1))
    queue.enqueue(update("b", number=2))
    with sqlite3.connect(spool_path) as conn:
        conn.execute("UPDATE telemetry_queue SET payload = ? WHERE id = 1", (text,))
    conn.close()
    assert [entry.payload for entry in queue.dequeue()] == [{"unreadable": text}, update("b", 2)]


def test_a_name_that_is_not_text_is_kept(queue: TelemetryQueue) -> None:
    queue.enqueue(update("job-\udc80"))
    assert queue.dequeue()[0].payload["job_id"] == "job-\udc80"


def test_a_node_of_the_same_name_inherits_nothing_from_a_job(
    spool_path: Path, clock: Clock
) -> None:
    with make_small(spool_path, clock, 1) as queue:
        queue.enqueue(update("vm1"))
        queue.enqueue({"node_id": "vm1"})
        assert [entry.payload for entry in queue.dequeue()] == [{"node_id": "vm1"}]
        assert queue.take_losses("vm1") == 1


# Files that cannot be used.


def test_it_stays_where_it_is_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    with TelemetryQueue("queue.db") as queue:
        queue.enqueue(update(number=1))
        monkeypatch.chdir(elsewhere)
        queue.enqueue(update(number=2))
        assert queue.get_queue_size() == 2
    assert list(elsewhere.iterdir()) == []


def test_a_damaged_file_is_renamed_and_logged_once(
    spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool_path.parent.mkdir()
    spool_path.write_bytes(b"SQLite format 3\0" + b"and then nothing that fits " * 100)
    with TelemetryQueue(spool_path) as queue:
        queue.enqueue(update())
        assert queue.get_queue_size() == queue.get_stats()["enqueued_total"] == 1
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    (aside,) = spool_path.parent.glob("queue.db.corrupt-*")
    assert b"nothing that fits" in aside.read_bytes()
    assert str(aside) in error.getMessage()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, read_only: bool) -> None:
    """TELEMETRY_SPOOL may be mistyped: what is no database was never a queue, and is no damage."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for _ in range(2):
        with pytest.raises(QueueError, match=r"notes\.txt: it is not a queue"):
            TelemetryQueue(notes, read_only=read_only)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("notes.txt", "mine")]


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_what_a_power_cut_left_becomes_a_queue(spool_path: Path, content: bytes) -> None:
    spool_path.parent.mkdir()
    spool_path.write_bytes(content)
    with TelemetryQueue(spool_path) as queue:
        queue.enqueue(update(number=7))
        assert numbers(queue) == [7]


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, mode and time of change of each file, by name."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_look_changes_nothing(spool_path: Path, is_damaged: bool) -> None:
    with TelemetryQueue(spool_path) as queue:
        for number in range(200):
            queue.enqueue(update(number=number))
        queue.mark_dead(1, "refused")
    if is_damaged:
        with spool_path.open("r+b") as file:
            file.seek(5 * 4096)
            file.write(b"\xff" * 4096)
    spool_path.chmod(0o644)
    before = contents(spool_path.parent)
    if is_damaged:
        with pytest.raises(QueueError, match="it cannot be used"):
            TelemetryQueue(spool_path, read_only=True)
    else:
        with TelemetryQueue(spool_path, read_only=True) as queue:
            assert queue.get_queue_size() == 199
            assert queue.get_stats()["dead"] == len(queue.dead_letters()) == 1
            with pytest.raises(QueueError, match="it cannot be written"):
                queue.enqueue(update())
    assert contents(spool_path.parent) == before


def test_a_look_sees_what_another_process_has_just_written(queue: TelemetryQueue) -> None:
    queue.enqueue(update())
    with TelemetryQueue(queue.db_path, read_only=True) as look:
        assert look.get_queue_size() == 1
        queue.enqueue(update())
        assert look.get_queue_size() == 2
    assert queue.enqueue(update()) == 3


def test_a_look_creates_no_queue(spool_path: Path) -> None:
    with pytest.raises(QueueError, match="cannot be opened"):
        TelemetryQueue(spool_path, read_only=True)
    assert not spool_path.parent.exists()


def test_a_look_at_what_a_full_disk_has_left_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.touch()
    with pytest.raises(QueueError, match="it is empty; the next sender makes it a queue"):
        TelemetryQueue(path, read_only=True)
    with TelemetryQueue(path) as queue:
        assert queue.enqueue(update()) == 1


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_its_owner_may_read_a_queue(spool_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with TelemetryQueue(spool_path) as queue:
            queue.enqueue(update())
            modes = {path.name: path.stat().st_mode & 0o777 for path in spool_path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("queue.db", "queue.db-wal", "queue.db-shm"), 0o600)
    assert spool_path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("mode", "after"), [(0o644, 0o600), (0o666, 0o660), (0o664, 0o660), (0o660, 0o660)]
)
def test_a_queue_of_an_earlier_version_is_closed_to_others(
    spool_path: Path, mode: int, after: int
) -> None:
    """A group that may write it was given it on purpose."""
    TelemetryQueue(spool_path).close()
    spool_path.chmod(mode)
    with TelemetryQueue(spool_path) as queue:
        queue.enqueue(update())
        for path in spool_path.parent.iterdir():
            assert path.stat().st_mode & 0o777 == after, path.name


def test_damage_while_it_is_open_is_survived(spool_path: Path) -> None:
    with TelemetryQueue(spool_path) as queue, TelemetryQueue(spool_path) as other:
        for number in range(200):
            queue.enqueue(update(number=number))
        with sqlite3.connect(spool_path) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.close()
        with spool_path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(spool_path.stat().st_size - 4096))
        seen = [queue.enqueue(update(number=1000)), other.enqueue(update(number=1001))]
        assert seen[0] > 200, "an id of the old file is not used again"
        assert seen[1] == seen[0] + 1, "both go on, in the same new file"
        assert numbers(other) == [1000, 1001]
    assert len(list(spool_path.parent.glob("queue.db.corrupt-*"))) >= 1


def test_a_damaged_page_is_found_when_it_is_opened(spool_path: Path) -> None:
    with TelemetryQueue(spool_path) as queue:
        for number in range(200):
            queue.enqueue(update(number=number))
    with spool_path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)
    with TelemetryQueue(spool_path) as queue:
        assert queue.enqueue(update()) > 200
        assert queue.get_stats()["enqueued_total"] == 1


def test_a_deleted_file_is_created_again(queue: TelemetryQueue, spool_path: Path) -> None:
    queue.enqueue(update())
    for file in spool_path.parent.iterdir():
        file.unlink()
    assert queue.enqueue(update()) > 1
    assert spool_path.exists()


def test_what_was_taken_from_a_damaged_file_settles_nothing_in_the_new_one(
    spool_path: Path,
) -> None:
    """A sender posts an entry while another process finds the damage."""
    with TelemetryQueue(spool_path) as queue:
        queue.enqueue(update(number=1))
        (taken,) = queue.dequeue()
        with sqlite3.connect(spool_path) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.close()
        with spool_path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(spool_path.stat().st_size - 4096))
        with TelemetryQueue(spool_path) as other:
            other.enqueue(update(number=2))
            queue.mark_sent(taken.id)
            queue.mark_dead(taken.id, "no")
            assert numbers(other) == [2]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TABLE telemetry_queue (id integer, body text)", "another program"),
        ("PRAGMA user_version = 99", "version is 99"),
        ("PRAGMA user_version = 1; CREATE TABLE theirs (id integer)", "another program"),
    ],
)
def test_the_database_of_something_else_is_left_alone(
    spool_path: Path, statement: str, reason: str
) -> None:
    spool_path.parent.mkdir()
    with sqlite3.connect(spool_path) as conn:
        conn.executescript(statement)
    conn.close()
    before = spool_path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(QueueError, match=reason) as caught:
            TelemetryQueue(spool_path, read_only=read_only)
        assert str(spool_path) in str(caught.value)
    assert spool_path.read_bytes() == before
    assert [file.name for file in spool_path.parent.iterdir()] == ["queue.db"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match=r"file/below/queue\.db: .* cannot be created"):
        TelemetryQueue(tmp_path / "file" / "below" / "queue.db")


def test_a_path_that_is_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="cannot be opened") as caught:
        TelemetryQueue(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_locked_file_is_said_and_works_again(
    spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry_client.queue.sqlite_file.BUSY_SECONDS", 0.1)
    with TelemetryQueue(spool_path) as queue:
        holder = sqlite3.connect(spool_path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(QueueError, match="another process keeps it locked"):
            queue.enqueue(update())
        holder.execute("ROLLBACK")
        holder.close()
        assert queue.enqueue(update()) == 1


def test_a_closed_queue_says_so(queue: TelemetryQueue) -> None:
    queue.close()
    queue.close()
    with pytest.raises(QueueError, match="closed"):
        queue.enqueue(update())


def run_script(script: str, *arguments: object) -> str:
    """In a process of its own, because it changes what the process may do."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


FULL_DISK = """
import resource, signal, sys
from telemetry_client import QueueError, TelemetryQueue
from tests.client.queue.clock import Clock

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
queue = TelemetryQueue(sys.argv[1], 100_000)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # as if the disk ended there
kept = 0
try:
    while True:
        queue.enqueue({"job_id": "a", "status": "running", "error": "x" * 500})
        kept += 1
except QueueError as exc:
    print(exc)
for _ in range(3):
    try:
        queue.enqueue({"job_id": "a", "error": "x" * 500_000})
    except QueueError:
        pass
    else:
        sys.exit("it was kept, on a full disk")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # there is room again
assert queue.get_queue_size() == kept > 5, (queue.get_queue_size(), kept)
assert queue.enqueue({"job_id": "a", "status": "completed"}) > kept
"""


def test_a_full_disk_is_said_loses_nothing_and_passes(spool_path: Path) -> None:
    assert run_script(FULL_DISK, spool_path) == f"{spool_path}: the disk is full or failing"


NOT_ALLOWED = """
import os, sys
from telemetry_client import QueueError, TelemetryQueue
from tests.client.queue.clock import Clock

if os.getuid() == 0:
    os.setuid(65534)
try:
    TelemetryQueue(*sys.argv[1:])
except QueueError as exc:
    print(exc)
"""


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A directory that all users may enter and only root may change."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    directory = tmp_path / "unwritable"
    directory.mkdir(mode=0o555)
    yield directory
    directory.chmod(0o755)


def test_a_directory_without_permission_is_named(unwritable: Path) -> None:
    path = unwritable / "queue.db"
    assert run_script(NOT_ALLOWED, path).startswith(f"{path}: it cannot be opened")
    below = unwritable / "below" / "queue.db"
    assert "cannot be created: Permission denied" in run_script(NOT_ALLOWED, below)


def test_a_file_that_may_only_be_read_is_named(unwritable: Path) -> None:
    path = unwritable / "queue.db"
    unwritable.chmod(0o755)
    TelemetryQueue(path).close()
    path.chmod(0o444)
    unwritable.chmod(0o555)
    output = run_script(NOT_ALLOWED, path)
    assert output.startswith(f"{path}: it cannot be")


FORKED = """
import os, sys, threading
from telemetry_client import TelemetryQueue

queue = TelemetryQueue(sys.argv[1], 100_000)
stop = threading.Event()

def fill(job, count):
    for number in range(count):
        queue.enqueue({"job_id": job, "status": "running", "bytes_transferred": number})

busy = threading.Thread(target=fill, args=("parent", 500))
busy.start()  # forks come in the middle of its transactions
children = []
for child in range(5):
    pid = os.fork()
    if pid == 0:
        fill(f"child{child}", 50)
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
busy.join()
print(queue.get_queue_size())
"""


def test_forked_children_use_the_queue_side_by_side(spool_path: Path) -> None:
    assert run_script(FORKED, spool_path) == "750"
    with sqlite3.connect(spool_path) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()
