"""The group-commit writer: answers after commit, splits off what is poisoned, refuses when full."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest

from app.database.pool import Connection, Database
from app.domain.updates import Update
from app.errors import DatabaseUnavailable, QueueFull, StorageFailed, Unavailable
from app.ingest.queue import (
    FIRST_TURN,
    HOURS_OF_TURN,
    OLD,
    SMALLEST_TURN,
    Entry,
    Item,
    Queue,
    Ticket,
)
from app.ingest.transaction import Outcome, Receipt, store_updates
from app.ingest.writer import Writer
from app.store.rollups import read_chunks
from tests.factories import NOW, fresh, make_update


def make_writer(database: Database, **changes: Any) -> Writer:
    settings: dict[str, Any] = {
        "capacity": 1000,
        "wait_seconds": 20,
        "late_days": 28,
        **changes,
    }
    store = settings.pop("store", store_updates)
    return Writer(database, {Update: store}, **settings)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    writer = make_writer(database)
    writer.start()
    yield writer
    writer.stop()


def stored(database: Database) -> int:
    with database.reading() as conn:
        row = conn.execute("SELECT count(*) FROM job_telemetry").fetchone()
    assert row is not None
    return int(row[0])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def test_many_threads_are_all_answered_after_commit(database: Database, writer: Writer) -> None:
    def push(number: int) -> list[Outcome]:
        updates = [
            make_update(-n - 1, job_id=f"j{number % 5}", bytes_transferred=number)
            for n in range(10)
        ]
        return writer.submit(updates)

    with ThreadPoolExecutor(16) as threads:
        outcomes = [outcome for answer in threads.map(push, range(40)) for outcome in answer]
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert stored(database) == 400


def test_what_queued_up_shares_a_commit(database: Database) -> None:
    sizes: list[int] = []

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        sizes.append(len(updates))
        if len(sizes) == 1:
            gate.wait(60)
        return store_updates(conn, updates, late_days)

    gate = threading.Event()
    writer = make_writer(database, store=store)
    writer.start()
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(writer.submit, [fresh(-1, job_id="first")])
        wait_until(lambda: sizes)
        rest = [threads.submit(writer.submit, [fresh(-2, job_id=f"j{n}")]) for n in range(8)]
        wait_until(lambda: writer.queued == 8)
        gate.set()
        for answer in [first, *rest]:
            assert isinstance(answer.result()[0], Receipt)
    writer.stop()
    assert sizes == [1, 8]


def test_poisoned_update_fails_alone(database: Database, writer: Writer) -> None:
    updates = [make_update(-n - 1, job_id=f"j{n}", bytes_transferred=n) for n in range(40)]
    updates[17].fields["bytes_transferred"] = -1  # past the schema, refused by a CHECK
    outcomes = writer.submit(updates)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, StorageFailed)]
    assert failed == [17]
    assert stored(database) == 39


def test_fresh_updates_go_before_old_ones(database: Database) -> None:
    groups: list[list[str]] = []

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        groups.append([update.job_id for update in updates])
        return store_updates(conn, updates, late_days)

    writer = make_writer(database, store=store)
    days = {"a": 1, "b": 50, "c": 2}
    old = [make_update(-86_400 * age, job_id=job_id) for job_id, age in days.items()]
    mixed = writer.begin([*old[:2], fresh(job_id="d"), old[2]], settle)
    later = writer.begin([fresh(job_id="e"), fresh(200, job_id="f")], settle)
    writer.start()
    wait_until(lambda: mixed.is_settled and later.is_settled)
    writer.stop()
    assert groups == [["d", "e", "f"], ["a", "b", "c"]], "one transaction each"
    assert len(writer.finish(mixed)) == 4


def settle() -> None:
    """Nothing waits for it."""


def test_fresh_updates_do_not_wait_for_a_backlog(database: Database) -> None:
    """A backlog is stored in turns, and what is fresh goes between them."""
    groups: list[set[str]] = []

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        groups.append({update.job_id for update in updates})
        if len(groups) == 1:
            live.append(writer.begin([fresh(-1, job_id="live")], settle))
        return [Receipt("running", False, True, None, 0, 0) for _ in updates]

    live: list[Ticket] = []
    writer = make_writer(database, store=store, capacity=10_000)
    backlog = [make_update(-86_400 - n, job_id="backlog") for n in range(3 * FIRST_TURN)]
    late = make_update(-3600, job_id="late")
    tickets = [writer.begin(items, settle) for items in (backlog, [late])]
    writer.start()
    wait_until(lambda: all(ticket.is_settled for ticket in [*tickets, *live]))
    writer.stop()
    assert groups[:3] == [{"backlog"}, {"live"}, {"late", "backlog"}]


def old_items(count: int, job_id: str = "j") -> list[Item]:
    """Updates of a day ago, all within one hour."""
    return [make_update(-86_400 - n / 10, job_id=job_id) for n in range(count)]


def add(queue: Queue, items: Sequence[Item]) -> Ticket:
    ticket = Ticket(len(items), settle)
    with queue.changed:
        queue.add(ticket, items)
    return ticket


def take_old(queue: Queue) -> list[Entry]:
    with queue.changed:
        return queue.take_old()


def test_small_and_large_requests_with_old_items_take_turns() -> None:
    queue = Queue(10_000)
    for job_id, size in (("a", 3 * FIRST_TURN), ("b", FIRST_TURN), ("small", 2)):
        add(queue, old_items(size, job_id))
    turns = [{cast(Update, item).job_id for item, _, _ in take_old(queue)} for _ in range(4)]
    assert turns == [{"a"}, {"small", "b"}, {"a"}, {"b", "a"}]


def test_small_requests_do_not_keep_a_backlog_waiting_for_ever() -> None:
    """As from many nodes whose clocks are a quarter of an hour behind."""
    queue = Queue(20_000)
    backlog = add(queue, old_items(3 * FIRST_TURN))
    for _ in range(6):
        for n in range(FIRST_TURN):
            add(queue, old_items(1, f"node-{n}"))
        take_old(queue)
    assert backlog.waiting[OLD] == 0


def test_items_of_requests_that_gave_up_are_forgotten() -> None:
    queue = Queue(20_000)
    for _ in range(3):
        gone = add(queue, [make_update(-3_600 * n) for n in range(1, 3 * HOURS_OF_TURN)])
        with queue.changed:
            queue.withdraw(gone)
    waiting = add(queue, [make_update(-3_600 * n) for n in range(1, 3 * HOURS_OF_TURN)])
    assert {ticket for _, ticket, _ in take_old(queue)} == {waiting}
    assert len(queue._old) == 1


def test_a_batch_is_waited_for_while_it_is_being_stored(database: Database) -> None:
    """Each of its turns takes less than the wait, all of them together more."""

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        time.sleep(0.3)
        return [Receipt("running", False, True, None, 0, 0) for _ in updates]

    writer = make_writer(database, store=store, capacity=10_000, wait_seconds=0.6)
    writer.start()
    outcomes = writer.submit([make_update(-86_400 - n) for n in range(2 * FIRST_TURN)])
    writer.stop()
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)


def test_turn_is_as_large_as_is_stored_in_a_moment() -> None:
    queue = Queue(100_000)
    add(queue, old_items(10_000))
    sizes = []
    for seconds in (0.01, 0.01, 0.07, 0.01, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2):
        sizes.append(len(take_old(queue)))
        queue.note_turn(sizes[-1], seconds)
    assert sizes == [500, 1000, 2000, 2000, 4000, 500, 0, 0, 0, 0, 0]
    add(queue, old_items(150))
    assert len(take_old(queue)) == SMALLEST_TURN
    queue.note_turn(1, 0.001)  # which says nothing of a larger one
    assert len(take_old(queue)) == 50


def test_turn_of_old_updates_spans_few_hours(database: Database) -> None:
    """Each hour may need a new chunk, for which fresh updates wait."""
    queue = Queue(1000)
    with queue.changed:
        queue.add(Ticket(300, settle), [make_update(-3600 * n) for n in range(1, 301)])
        sizes = [len(queue.take_old()) for _ in range(4)]
    assert sizes == [HOURS_OF_TURN] * 3 + [0]


def test_backlog_that_fills_the_queue_keeps_no_live_sender_out(database: Database) -> None:
    writer = make_writer(database, capacity=5)  # which has not started
    writer.begin([make_update(-86_400 - n) for n in range(5)], settle)
    with pytest.raises(QueueFull):
        writer.begin([fresh(-1), make_update(-86_400)], settle)
    assert not writer.is_full
    for n in range(5):
        writer.begin([fresh(-n)], settle)
    with pytest.raises(QueueFull):
        writer.begin([fresh(-1)], settle)
    assert writer.queued == 10


def test_slow_writer_takes_no_updates(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused yet, and no job may be judged for what waits."""
    monkeypatch.setattr("app.ingest.writer.MOMENT_SECONDS", 0.2)
    is_slow, is_in = threading.Event(), threading.Event()
    is_slow.set()

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        is_in.set()
        while is_slow.is_set():
            time.sleep(0.01)
        return store_updates(conn, updates, late_days)

    writer = make_writer(database, store=store)
    writer.start()
    assert writer.is_taking
    ticket = writer.begin([fresh(-1)], settle)
    is_in.wait(10)  # in the commit
    wait_until(lambda: not writer.is_taking)
    assert writer.is_accepting
    assert writer.delay is not None
    assert "have been waiting for" in writer.delay
    waiting = writer.begin([fresh(-2)], settle)
    is_slow.clear()
    wait_until(lambda: ticket.is_settled and waiting.is_settled)
    wait_until(lambda: writer.is_taking)
    writer.stop()


def test_refusals_are_times_without_a_hub(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.writer.MOMENT_SECONDS", 0.3)
    writer = make_writer(database, capacity=1)  # which has not started
    ticket = writer.begin([fresh(-1)], settle)
    assert writer.is_taking
    with pytest.raises(QueueFull):
        writer.begin([fresh(-2)], settle)
    assert not writer.is_taking
    with pytest.raises(Unavailable):
        writer.finish(ticket)  # it gives up
    assert writer.delay == "Updates were refused: they could not be stored in time."
    wait_until(lambda: writer.is_taking)


def lock_chunk_of(conn: Connection, seconds: float) -> None:
    """Lock the chunk of `make_update(seconds)`, as compress_chunk does."""
    at = NOW + timedelta(seconds=seconds)
    (chunk,) = (each for each in read_chunks(conn, "job_telemetry") if each.start <= at < each.end)
    conn.execute(f"LOCK TABLE {chunk.identifier.as_string(conn)} IN EXCLUSIVE MODE".encode())


@pytest.mark.server
def test_old_updates_do_not_wait_for_a_chunk_that_is_being_compressed(
    owner: Database, writer: Writer
) -> None:
    writer.submit([make_update(-50 * 3_600)])
    with owner.transaction() as conn:
        lock_chunk_of(conn, -50 * 3_600)
        began = time.perf_counter()
        with pytest.raises(Unavailable, match="being compressed") as refused:
            writer.submit([make_update(-50 * 3_600, job_id="old")])
        assert time.perf_counter() - began < 10  # half of what the writer waits
        assert not isinstance(refused.value, DatabaseUnavailable)
        assert writer.is_accepting
        assert isinstance(writer.submit([make_update(-30 * 3_600)])[0], Receipt), "another chunk"
    assert isinstance(writer.submit([make_update(-50 * 3_600, job_id="old")])[0], Receipt)


@pytest.mark.server
def test_only_old_updates_of_the_locked_chunk_are_refused(owner: Database, writer: Writer) -> None:
    writer.submit([make_update(-50 * 3_600), make_update(-30 * 3_600)])
    with owner.transaction() as conn:
        lock_chunk_of(conn, -50 * 3_600)
        tickets = [
            writer.begin([make_update(-hours * 3_600, job_id=f"{hours}")], settle)
            for hours in (50, 30, 51, 29)
        ]
        wait_until(lambda: all(ticket.is_settled for ticket in tickets))
    refused = [isinstance(ticket.outcomes[0], Unavailable) for ticket in tickets]
    assert refused[0]
    assert not any((refused[1], refused[3]))


@pytest.mark.server
def test_fresh_updates_are_stored_beside_old_ones_that_cannot_be(
    database: Database, owner: Database
) -> None:
    writer = make_writer(database)
    store_all = [make_update(-60, job_id="fresh"), make_update(-50 * 3_600, job_id="old")]
    with owner.connect() as conn:
        store_updates(conn, [make_update(-50 * 3_600)], 28)
        conn.commit()
        lock_chunk_of(conn, -50 * 3_600)
        writer.start()
        with pytest.raises(Unavailable):  # the sender sends both again
            writer.submit(store_all)
        assert stored(database) == 2, "what was there, and what is fresh"
    fresh, old = writer.submit(store_all)
    writer.stop()
    assert isinstance(fresh, Receipt)
    assert fresh.is_duplicate
    assert isinstance(old, Receipt)
    assert not old.is_duplicate


@pytest.mark.server
def test_two_workers_store_a_backlog_of_one_job(database: Database) -> None:
    """Each waits for the job's row while the other stores a turn; nothing is being compressed."""
    writers = [make_writer(database, capacity=9_000) for _ in range(2)]
    for writer in writers:
        writer.start()
    writers[0].submit([make_update(-1)])

    def deliver(number: int) -> list[Outcome]:
        disks: dict[int, dict[str, int]] = {index: {"bytes_transferred": 1} for index in range(4)}
        return writers[number].submit(
            [make_update(-3_600 * hours - number, disks=disks) for hours in range(2, 600)]
        )

    with ThreadPoolExecutor(2) as threads:
        outcomes = [outcome for answer in threads.map(deliver, range(2)) for outcome in answer]
    for writer in writers:
        writer.stop()
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)


@pytest.mark.server
def test_table_that_is_locked_for_long_does_not_stop_other_senders(
    database: Database, owner: Database, writer: Writer
) -> None:
    """Each chunk that is tried takes a while."""
    writer.submit([fresh(-1)])
    backlog = [make_update(-6 * 3_600 * n, job_id="backlog") for n in range(1, 101)]
    assert len(writer.submit(backlog)) == 100
    with owner.transaction() as conn:
        for chunk in read_chunks(conn, "job_telemetry")[:-2]:
            lock = f"LOCK TABLE {chunk.identifier.as_string(conn)} IN EXCLUSIVE MODE"
            conn.execute(lock.encode())
        again = [make_update(-6 * 3_600 * n - 60, job_id="backlog") for n in range(1, 101)]
        ticket = writer.begin(again, settle)
        while not ticket.is_settled:
            assert isinstance(writer.submit([fresh(0, job_id="live")])[0], Receipt)
        assert writer.delay is None
    assert any(isinstance(outcome, Unavailable) for outcome in ticket.outcomes)


def test_full_queue_refuses_at_once(database: Database) -> None:
    writer = make_writer(database, capacity=5)
    writer.start()
    with ThreadPoolExecutor(8) as threads:
        with database.transaction() as conn:
            conn.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            first = threads.submit(writer.submit, [fresh(-1)])
            wait_until(lambda: writer._busy_since is not None and not writer.queued)
            waiting = threads.submit(writer.submit, [fresh(-n) for n in range(2, 7)])
            wait_until(lambda: writer.queued == 5)
            with pytest.raises(QueueFull):  # while the table is locked
                writer.submit([fresh(-9)])
        assert isinstance(first.result()[0], Receipt)
        assert len(waiting.result()) == 5
    writer.stop()


def test_last_batch_to_be_taken_may_go_beyond_the_capacity(database: Database) -> None:
    writer = make_writer(database, capacity=5)  # which has not started
    writer.begin([fresh(-n) for n in range(4)], lambda: None)
    assert not writer.is_full
    writer.begin([fresh(-n) for n in range(9)], lambda: None)
    assert writer.is_full
    assert writer.queued == 13
    with pytest.raises(QueueFull):
        writer.begin([fresh(-1)], lambda: None)


def test_wait_is_bounded(database: Database) -> None:
    writer = make_writer(database, wait_seconds=0.1)
    writer.start()
    with database.transaction() as conn:
        conn.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable):
            writer.submit([make_update(-1)])
    writer.stop()


def test_what_is_handed_in_without_waiting_is_told_once_it_is_stored(
    database: Database, writer: Writer
) -> None:
    settled: list[int] = []
    ticket = writer.begin(
        [make_update(-1), make_update(-2)], lambda: settled.append(stored(database))
    )
    wait_until(lambda: settled)
    assert settled == [2]  # after the commit, and once
    assert all(isinstance(outcome, Receipt) for outcome in writer.finish(ticket))


def test_what_is_finished_too_early_is_taken_out_of_the_queue(database: Database) -> None:
    writer = make_writer(database)  # which has not started
    ticket = writer.begin([make_update(-1)], lambda: None)
    assert writer.queued == 1
    with pytest.raises(Unavailable, match="in time"):
        writer.finish(ticket)
    assert writer.queued == 0


def test_giving_up_costs_the_same_however_many_wait(database: Database) -> None:
    few = min(seconds_of_giving_up(database, waiting=1_000) for _ in range(3))
    many = min(seconds_of_giving_up(database, waiting=20_000) for _ in range(3))
    assert many < 5 * few, "each looked through the whole queue"


def seconds_of_giving_up(database: Database, waiting: int) -> float:
    """CPU seconds that 500 tickets take to be withdrawn from a queue of so many updates."""
    writer = make_writer(database, capacity=30_000)  # which has not started
    writer.begin([make_update(-1, job_id="many")] * waiting, lambda: None)
    tickets = [writer.begin([make_update(-1)], lambda: None) for _ in range(500)]
    began = time.thread_time()
    for ticket in tickets:
        with pytest.raises(Unavailable):
            writer.finish(ticket)
    seconds = time.thread_time() - began
    assert writer.queued == waiting
    return seconds


def test_only_what_is_waited_for_is_stored(database: Database) -> None:
    writer = make_writer(database)
    tickets = [writer.begin([make_update(n - 9)], lambda: None) for n in range(6)]
    for ticket in tickets[::2]:
        with pytest.raises(Unavailable):
            writer.finish(ticket)
    writer.start()
    wait_until(lambda: all(ticket.is_settled for ticket in tickets[1::2]))
    assert [isinstance(writer.finish(ticket)[0], Receipt) for ticket in tickets[1::2]] == [True] * 3
    assert stored(database) == 3
    assert writer.queued == 0
    writer.stop()  # it waits as before, and ends
    assert not writer._thread.is_alive()


def test_stop_stores_what_waits_and_refuses_what_comes(database: Database) -> None:
    writer = make_writer(database)
    writer.start()
    with ThreadPoolExecutor(4) as threads:
        with database.transaction() as conn:
            conn.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            waiting = [threads.submit(writer.submit, [make_update(-1)])]
            wait_until(lambda: writer._busy_since is not None and not writer.queued)
            waiting += [threads.submit(writer.submit, [make_update(-n)]) for n in (2, 3)]
            wait_until(lambda: writer.queued == 2)
            stopping = threading.Thread(target=writer.stop)
            stopping.start()
            wait_until(lambda: not writer.is_accepting)
            with pytest.raises(Unavailable):
                writer.submit([make_update(-9)])
        stopping.join()
        assert all(isinstance(answer.result()[0], Receipt) for answer in waiting)
    assert stored(database) == 3


def test_deadlock_is_tried_again(database: Database) -> None:
    calls: list[int] = []

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        calls.append(len(updates))
        outcomes = store_updates(conn, updates, late_days)
        if len(calls) == 1:
            raise psycopg.errors.DeadlockDetected
        return outcomes

    writer = make_writer(database, store=store)
    writer.start()
    assert isinstance(writer.submit([make_update(-1)])[0], Receipt)
    writer.stop()
    assert len(calls) == 2
    assert stored(database) == 1


def test_cut_connection_is_replaced_unseen(database: Database, writer: Writer) -> None:
    writer.submit([make_update(-1)])
    assert writer._conn is not None
    writer._conn.close()
    assert isinstance(writer.submit([make_update(-2)])[0], Receipt)
    assert stored(database) == 2


def test_database_away_refuses_at_once_and_recovers(database: Database) -> None:
    is_away = threading.Event()

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        if is_away.is_set():
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return store_updates(conn, updates, late_days)

    writer = make_writer(database, store=store)
    writer.start()
    is_away.set()
    with pytest.raises(DatabaseUnavailable):
        writer.submit([make_update(-1)])
    is_away.clear()
    wait_until(lambda: writer.is_accepting)
    assert isinstance(writer.submit([make_update(-1)])[0], Receipt)
    writer.stop()


def test_database_that_answers_but_cannot_store_stays_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk every query works. What is tried meanwhile is not stored."""
    monkeypatch.setattr("app.ingest.writer.RECONNECT_SECONDS", 0.01)
    is_full = threading.Event()
    is_full.set()
    tries: list[int] = []

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        tries.append(len(updates))
        outcomes = store_updates(conn, updates, late_days)
        if is_full.is_set():
            raise psycopg.errors.DiskFull("could not extend file")
        return outcomes

    writer = make_writer(database, store=store)
    writer.start()
    with pytest.raises(DatabaseUnavailable):
        writer.submit([make_update(-1), make_update(-2)])
    for count in range(3, 9):
        wait_until(lambda count=count: len(tries) >= count)
        assert not writer.is_accepting
    is_full.clear()
    wait_until(lambda: writer.is_accepting)
    assert stored(database) == 0, "the sender has been refused, and may have sent it elsewhere"
    assert isinstance(writer.submit([make_update(-1)])[0], Receipt)
    writer.stop()
    assert set(tries) == {1, 2}


def test_conflicts_without_end_refuse_only_what_they_are_about(database: Database) -> None:
    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        if updates[0].job_id == "contended":
            raise psycopg.errors.DeadlockDetected
        return store_updates(conn, updates, late_days)

    writer = make_writer(database, store=store)
    writer.start()
    with pytest.raises(Unavailable, match="Another transaction changed the same jobs") as refused:
        writer.submit([make_update(-1, job_id="contended")])
    assert not isinstance(refused.value, DatabaseUnavailable)
    assert writer.is_accepting
    assert isinstance(writer.submit([make_update(-1)])[0], Receipt)
    writer.stop()


def test_unmigrated_database_refuses_instead_of_blaming_the_updates(database: Database) -> None:
    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        raise psycopg.errors.UndefinedTable('relation "jobs" does not exist')

    writer = make_writer(database, store=store)
    writer.start()
    with pytest.raises(DatabaseUnavailable):
        writer.submit([make_update(-n) for n in range(1, 50)])
    writer.stop()


def test_two_writers_on_the_same_jobs_lose_nothing(database: Database) -> None:
    writers = [make_writer(database) for _ in range(2)]
    for writer in writers:
        writer.start()

    def push(number: int) -> list[Outcome]:
        updates = [
            make_update(-number - 1, job_id=f"j{n}", bytes_transferred=60 - number)
            for n in range(5)
        ]
        return writers[number % 2].submit(updates)

    with ThreadPoolExecutor(8) as threads:
        outcomes = [outcome for answer in threads.map(push, range(60)) for outcome in answer]
    for writer in writers:
        writer.stop()
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert stored(database) == 300
    with database.reading() as conn:
        newest = conn.execute("SELECT DISTINCT bytes_transferred FROM jobs").fetchall()
    assert newest == [(60,)], "each job shows its newest update"


def test_no_memory_to_store_is_for_the_sender_to_try_again(database: Database) -> None:
    """Of all that were stored together: none of them is to blame, so none is looked for."""
    fails = [MemoryError()]

    def store(conn: Connection, updates: Any, late_days: int) -> list[Outcome]:
        if fails:
            raise fails.pop()
        return store_updates(conn, updates, late_days)

    writer = make_writer(database, store=store)
    writer.start()
    with pytest.raises(Unavailable, match="memory"):
        writer.submit([make_update(-1), make_update(-2)])
    assert len(writer.submit([make_update(-1), make_update(-2)])) == 2
    writer.stop()
    assert stored(database) == 2


def test_nothing_ends_the_storing_thread(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(entries: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("app.ingest.writer._of_one_kind", fail)
        with pytest.raises(Unavailable):
            writer.submit([make_update()])
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_wait_for_items", lambda: fail([]))
        assert isinstance(writer.submit([make_update()])[0], Receipt)
        assert isinstance(writer.submit([make_update()])[0], Receipt)
    assert isinstance(writer.submit([make_update()])[0], Receipt)
