"""The group-commit writer: one thread and one connection that store the items of all requests.

A request submits its updates and waits for the commit; the writer stores everything in the queue in
as few transactions as possible. Acknowledged means committed. The queue and the waiting time are
bounded; further requests are refused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import psycopg

from app import metrics
from app.background import FailureLog
from app.database.pool import DAMAGES, Connection, Database
from app.domain.timestamps import SECOND
from app.errors import (
    NO_MEMORY,
    DatabaseDamaged,
    DatabaseUnavailable,
    QueueFull,
    StorageFailed,
    Unavailable,
    first_line,
)
from app.ingest.queue import FRESH, Entry, Item, Queue, Ticket
from app.ingest.transaction import Outcome, Receipt
from app.store.ingest import OutdatedState

logger = logging.getLogger("hub.writer")

RECONNECT_SECONDS = 0.5
STUCK_SECONDS = 5.0  # if a commit takes longer, the database does not answer
# While requests wait for longer, or are refused, the hub does not take updates: their jobs are not
# silent.
MOMENT_SECONDS = 5.0
CONFLICT_TRIES = 3  # deadlocks, serialization failures and outdated states
MOST_DAMAGED = 8  # items of a group that are tried alone: what reads other pages is still stored
DAMAGE_SECONDS = 600.0  # how long health tells of damage after it was last met
MOST_LOCKED = 3  # chunks of a turn that are tried although they may be locked: each takes a while
LOCKED = "Data of that time is being compressed; try again."
CHUNK = 6 * 3_600 * SECOND  # the time that a chunk spans, at least

_CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    OutdatedState,
)

# Failures of the database itself, with which every update would fail.
_TROUBLES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,  # not migrated
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
    DatabaseUnavailable,
)


Store = Callable[[Connection, Sequence[Any], int], list[Outcome]]  # the int: late_days


class Writer:
    """Passes items of many request threads to one storing thread. Thread-safe.

    `stores` maps the class of an item to the function that stores a list of them inside a
    transaction; it must be safe to call again after a rollback.
    """

    def __init__(
        self,
        database: Database,
        stores: dict[type, Store],
        *,
        capacity: int,
        wait_seconds: float,
        late_days: int,
    ) -> None:
        self._database = database
        self._stores = stores
        self.wait_seconds = wait_seconds
        self._late_days = late_days
        self._queue = Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._conn: Connection | None = None
        self._is_down = False
        self._outage = FailureLog(
            logger, "the database is away", "the database is back", logging.ERROR
        )
        self._failed: list[Item] = []  # the items of the failed transaction
        self._is_stopping = False
        self._is_done = False  # only the storing thread sets and reads it
        self._busy_since: float | None = None
        self._storing_since: float | None = None  # when the oldest request in it came
        self._refused_at: float | None = None
        self._last_commit: float | None = None
        self._damaged_at: float | None = None
        self._damaged = 0  # items of this group that met damage alone

    # -- for request threads ------------------------------------------------------------------

    def submit(self, items: Sequence[Item]) -> list[Outcome]:
        """Store items and return an outcome for each, in order, once all are committed or refused.

        Raises QueueFull, DatabaseUnavailable, or Unavailable after `wait_seconds` in which none was
        stored: the items may be stored nevertheless, and can be sent again.
        """
        if not items:
            return []
        # A lock that is held until then: waiting for an Event takes eight times as long.
        settled = threading.Lock()
        settled.acquire()
        ticket = self.begin(items, settled.release)
        while not settled.acquire(timeout=max(0.0, self.patience(ticket))):
            if self.patience(ticket) <= 0:
                break
        return self.finish(ticket)

    def patience(self, ticket: Ticket) -> float:
        """For how many seconds to wait for a ticket. More, while items of it are being stored."""
        return ticket.active_at + self.wait_seconds - time.monotonic()

    def begin(self, items: Sequence[Item], when_settled: Callable[[], object]) -> Ticket:
        """Queue at least one item without waiting: the first half of `submit`.

        Call `finish` when settled, or when `patience` has run out. Raises QueueFull or Unavailable.
        """
        try:
            with self._queue.changed:
                self._refuse_if_unable()
                ticket = Ticket(len(items), when_settled)
                self._queue.add(ticket, items)
        except Unavailable:
            self.note_refusal()
            raise
        return ticket

    def finish(self, ticket: Ticket) -> list[Outcome]:
        """Return an outcome for each item, in order: the second half of `submit`.

        Raises DatabaseUnavailable, or Unavailable if the ticket is not settled.
        """
        if ticket.unsettled:
            with self._queue.changed:
                self._queue.withdraw(ticket)
            self.note_refusal()
            raise Unavailable("The database did not answer in time; try again.")
        return _without_database_trouble(ticket.outcomes)

    def note_refusal(self) -> None:
        """Note that a push was refused for no fault of its own."""
        self._refused_at = time.monotonic()

    @property
    def capacity(self) -> int:
        """Fresh items that may wait; and as many old ones."""
        return self._queue.capacity

    @property
    def queued(self) -> int:
        """Items that wait to be stored."""
        return self._queue.waiting

    @property
    def is_full(self) -> bool:
        """Whether fresh items are refused, however few."""
        return self._queue.counts[FRESH] >= self._queue.capacity

    @property
    def is_accepting(self) -> bool:
        """Whether new updates are accepted."""
        return not (self._is_down or self._is_stopping or self._is_stuck())

    @property
    def delay(self) -> str | None:
        """Why updates are not stored within a moment, as a sentence; None if they are."""
        now = time.monotonic()
        with self._queue.changed:
            since = [self._queue.waiting_since(), self._storing_since]
        waited = now - min((at for at in since if at is not None), default=now)
        if waited > MOMENT_SECONDS:
            return f"Updates have been waiting for {waited:.0f} s to be stored."
        if self._refused_at is not None and now - self._refused_at < MOMENT_SECONDS:
            return "Updates were refused: they could not be stored in time."
        return None

    @property
    def damage(self) -> str | None:
        """That the database is damaged, as a sentence; None if no update has met it lately."""
        at = self._damaged_at
        is_recent = at is not None and time.monotonic() - at < DAMAGE_SECONDS
        return str(DatabaseDamaged()) if is_recent else None

    @property
    def is_taking(self) -> bool:
        """Whether updates are stored within a moment, so that a job without any is silent."""
        return self.is_accepting and self.delay is None

    @property
    def last_commit_seconds_ago(self) -> float | None:
        """Age of the last commit; None before the first."""
        return None if self._last_commit is None else time.monotonic() - self._last_commit

    def refuse_if_full(self) -> None:
        """Raise QueueFull if fresh items are refused; not if the writer gives another reason.

        Call it before decoding a push: decoding a batch costs a sixth of storing it, and under
        overload most are refused.
        """
        if self._queue.counts[FRESH] >= self._queue.capacity and self.is_accepting:
            self.note_refusal()
            raise QueueFull

    def _refuse_if_unable(self) -> None:
        if self._is_stopping:
            raise Unavailable("The hub is stopping; try again.")
        if self._is_down or self._is_stuck():
            raise DatabaseUnavailable

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK_SECONDS

    # -- start and stop -----------------------------------------------------------------------

    def start(self) -> None:
        """Start the storing thread."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Refuse new items, store the queued ones, and stop. Idempotent."""
        with self._queue.changed:
            self._is_stopping = True
            self._queue.changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    # -- the storing thread -------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_done:
            try:
                self._wait_for_items()
            except Exception as exc:  # as in _store_next
                logger.exception("the writer failed while it waited", exc_info=exc)
            self._store_next(self._queue.take_fresh)
            started = time.monotonic()
            if size := self._store_next(self._queue.take_old):
                self._queue.note_turn(size, time.monotonic() - started)
        self._disconnect()

    def _wait_for_items(self) -> None:
        """Wait until there is something to store, or the writer is stopped and has stored all."""
        with self._queue.changed:
            while not self._queue.waiting and not self._is_down:
                if self._is_stopping:
                    self._is_done = True
                    return
                self._queue.changed.wait()
        if self._is_down:
            self._wait_for_database()

    def _store_next(self, take: Callable[[], list[Entry]]) -> int:
        """Store what the queue gives next; return how many items that was."""
        entries: list[Entry] = []
        try:
            with self._queue.changed:
                if not self._is_down:
                    entries = take()
            metrics.QUEUED.set(self.queued)
            for group in _of_one_kind(entries):
                self._store_group(group)
        except Exception as exc:  # nothing may end this thread, not even a MemoryError
            _settle_all(entries, Unavailable())
            logger.exception("the writer failed on %d items", len(entries), exc_info=exc)
        return len(entries)

    def _store_group(self, group: list[Entry]) -> None:
        self._storing_since = group[0][1].active_at
        self._damaged = 0
        try:
            self._store(group)
        except MemoryError:
            self._disconnect()  # its state is unknown
            _settle_all(group, Unavailable(NO_MEMORY))
            logger.error("no memory to store %d items", len(group))
        except Exception:
            logger.exception("the writer failed on a group of %d", len(group))
            _settle_all(group, StorageFailed())
        finally:
            self._busy_since = self._storing_since = None

    def _wait_for_database(self) -> None:
        """Try the database again after RECONNECT_SECONDS."""
        if self._is_stopping:
            self._is_down = False  # let the loop end
            return
        time.sleep(RECONNECT_SECONDS)
        if self._can_store_again():
            self._is_down = False
            self._failed = []
            self._database.renew()
            self._outage.succeeded()

    def _can_store_again(self) -> bool:
        """Whether the failed items could be stored now; rolls back, as their senders were refused.

        A query would not do: a database that is full or read-only answers it.
        """
        items = self._failed
        try:
            conn = self._connection()
            try:
                self._write(conn, items)
            finally:
                conn.rollback()
        except psycopg.errors.LockNotAvailable:
            return True  # the database is up; `_store` refuses the items
        except _TROUBLES:
            self._disconnect()
            return False
        except Exception as exc:  # the database is up; the next sender is refused
            logger.info("the database rejects the items that failed before: %s", type(exc).__name__)
        return True

    def _store(self, group: list[Entry]) -> None:
        """Store one group in one transaction; on an error halve it until the bad item is alone."""
        try:
            outcomes = self._commit([entry[0] for entry in group])
        except MemoryError:
            raise  # not caused by an item
        except psycopg.errors.LockNotAvailable:
            self._store_beside_lock(group)
        except _CONFLICTS as exc:
            logger.warning("gave up after %d conflicts: %s", CONFLICT_TRIES, type(exc).__name__)
            _settle_all(group, Unavailable("Another transaction changed the same jobs; try again."))
        except _TROUBLES as exc:
            self._failed = [entry[0] for entry in group]
            self._go_down(exc)
            _settle_all(group, DatabaseUnavailable())
        except Exception as exc:
            is_hopeless = isinstance(exc, DAMAGES) and self._damaged >= MOST_DAMAGED
            if len(group) == 1 or is_hopeless:
                _settle_all(group, self._reject(exc))
                return
            middle = len(group) // 2
            self._store(group[:middle])
            self._store(group[middle:])
        else:
            for (_, ticket, position), outcome in zip(group, outcomes, strict=True):
                ticket.settle(position, outcome)

    def _reject(self, exc: Exception) -> Outcome:
        """The outcome of an item with which the database fails."""
        if not isinstance(exc, DAMAGES):
            logger.exception("an item could not be stored", exc_info=exc)
            return StorageFailed()
        if self._damaged == 0:
            logger.error("the database is damaged: %s", first_line(exc))
        self._damaged += 1
        self._damaged_at = time.monotonic()
        self.note_refusal()
        return DatabaseDamaged()

    def _store_beside_lock(self, group: list[Entry]) -> None:
        """Store the items of a group but those for a chunk that is locked: they are refused."""
        parts = _by_time(group)
        locked = 0
        for part in parts:
            if self._is_down:
                _settle_all(part, DatabaseUnavailable())
                continue
            if len(parts) == 1 or locked >= MOST_LOCKED:
                _settle_all(part, Unavailable(LOCKED))
                continue
            self._store(part)
            _, ticket, position = part[0]
            outcome = ticket.outcomes[position]
            locked += isinstance(outcome, Unavailable) and str(outcome) == LOCKED

    def _commit(self, items: list[Item]) -> list[Outcome]:
        started = time.perf_counter()
        self._busy_since = time.monotonic()
        outcomes = self._transaction(items)
        self._last_commit = time.monotonic()
        _report(outcomes, time.perf_counter() - started)
        return outcomes

    def _transaction(self, items: list[Item]) -> list[Outcome]:
        """Run one transaction; retry after a conflict or on a lost connection.

        Raises LockNotAvailable if old items would have to wait for a chunk.
        """
        tries = 0
        while True:
            tries += 1
            is_committing = False
            conn = self._connection()
            try:
                outcomes = self._write(conn, items)
                is_committing = True
                conn.commit()
                return outcomes
            except _CONFLICTS:
                conn.rollback()
                if tries >= CONFLICT_TRIES:
                    raise
            except psycopg.errors.LockNotAvailable:
                conn.rollback()
                raise
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self._disconnect()
                # Whether a COMMIT that was sent took effect is unknown: the sender must repeat.
                if is_committing or tries > 1:
                    raise
            except Exception:
                conn.rollback()
                raise

    def _write(self, conn: Connection, items: list[Item]) -> list[Outcome]:
        """Run a transaction without its commit."""
        return self._stores[type(items[0])](conn, items, self._late_days)

    def _connection(self) -> Connection:
        if self._conn is None:
            self._conn = self._database.connect(by_key=True)
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _go_down(self, exc: Exception) -> None:
        """Refuse new and waiting requests until the database answers again."""
        self._disconnect()
        self._outage.failed(exc)
        with self._queue.changed:
            self._is_down = True
            waiting = self._queue.take_all()
        _settle_all(waiting, DatabaseUnavailable())


def _of_one_kind(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Group entries by what stores them."""
    groups: dict[type, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(type(entry[0]), []).append(entry)
    yield from groups.values()


def _by_time(entries: list[Entry]) -> list[list[Entry]]:
    """Group entries by the chunk that their timestamps lie in."""
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry[0].timestamp or 0) // CHUNK, []).append(entry)
    return list(groups.values())


def _settle_all(entries: list[Entry], outcome: Outcome) -> None:
    for _, ticket, position in entries:
        if ticket.outcomes[position] is None:
            ticket.settle(position, outcome)


def _without_database_trouble(outcomes: list[Outcome | None]) -> list[Outcome]:
    """The outcomes of a request; raises Unavailable if the database failed for any item."""
    for kind in set(map(type, outcomes)):
        assert kind is not type(None)
        if issubclass(kind, Unavailable):
            trouble = next(outcome for outcome in outcomes if isinstance(outcome, kind))
            # A new exception for each request: a shared one would keep the frames of all.
            raise kind(str(trouble))
    return cast("list[Outcome]", outcomes)


def _report(outcomes: list[Outcome], seconds: float) -> None:
    accepted = duplicates = refused = lost = 0
    for outcome in outcomes:
        if isinstance(outcome, Receipt):
            duplicates += outcome.is_duplicate
            accepted += not outcome.is_duplicate
            lost += outcome.lost_updates
        else:
            refused += 1
    metrics.count_commit(accepted, duplicates, refused, seconds)
    if lost:
        metrics.count_lost(lost)
    logger.info(
        "Telemetry received and processed",
        extra={
            "accepted": accepted,
            "duplicates": duplicates,
            "refused": refused,
            "milliseconds": round(seconds * 1000, 2),
        },
    )
