"""The group-commit writer: one thread and one connection that store what every request hands in.

A request submits its updates and waits for its commit; the writer takes all that has queued up and
stores it in as few transactions as it can. Acknowledged means committed. The queue and the time of
a wait are bounded: beyond them a request is refused at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

import psycopg

from app import metrics
from app.background import FailureLog
from app.clock import to_micros, utc_now
from app.database.pool import Connection, Database
from app.domain.timestamps import FUTURE_TOLERANCE, SECOND, is_plausible
from app.errors import NO_MEMORY, DatabaseUnavailable, QueueFull, StorageFailed, Unavailable
from app.ingest.transaction import DAY, Outcome, Receipt

logger = logging.getLogger("hub.writer")

LARGEST_COMMIT = 4_000  # items: more would save nothing and make others wait
OLD_AFTER = 600 * SECOND  # older updates must not widen a fresh transaction's span of time
HOUR = 3_600 * SECOND
RECONNECT_SECONDS = 0.5
STUCK_SECONDS = 5.0  # a commit that takes longer means a database that does not answer
CONFLICT_TRIES = 3  # deadlocks and serialization failures
# Other writers hold a row for milliseconds. Only compressing a chunk takes longer, seconds to a
# minute, and only updates older than HUB_COMPRESS_AFTER_HOURS wait for it.
OLD_LOCK_WAIT_MS = 200

_CONFLICTS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

# Failures of the database itself: every update would fail, so no single one is to blame.
_TROUBLES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,  # not migrated
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
    DatabaseUnavailable,
)


class Item(Protocol):
    """What can be stored: an update or a snapshot."""

    timestamp: int | None

    @property
    def sender(self) -> str:
        """Whose clock the timestamp is by."""


Store = Callable[[Connection, Sequence[Any], int], list[Outcome]]  # the int: late_days


class Ticket:
    """The items of one request on their way through the writer.

    `when_settled` is called by the writer's thread once the last of them is; it may not raise.
    `queued` and `is_withdrawn` are the writer's own, behind its lock.
    """

    __slots__ = ("_remaining", "_when_settled", "is_withdrawn", "outcomes", "queued")

    def __init__(self, count: int, when_settled: Callable[[], object]) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self._remaining = count
        self._when_settled = when_settled
        self.queued = count  # entries of it in the queue
        self.is_withdrawn = False

    @property
    def is_settled(self) -> bool:
        """Whether every item is stored or refused."""
        return self._remaining == 0

    def settle(self, position: int, outcome: Outcome) -> None:
        """Only the writer's thread calls this."""
        self.outcomes[position] = outcome
        self._remaining -= 1
        if self._remaining == 0:
            self._when_settled()


_Entry = tuple[Item, Ticket, int]


class Writer:
    """Hands items of many request threads to one storing thread. Thread-safe.

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
        self.capacity = capacity
        self._database = database
        self._stores = stores
        self.wait_seconds = wait_seconds
        self._late_days = late_days
        self._queue: deque[_Entry] = deque()
        self._withdrawn = 0  # its entries whose requests have given up
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._conn: Connection | None = None
        self._is_down = False
        self._outage = FailureLog(
            logger, "the database is away", "the database is back", logging.ERROR
        )
        self._failed: tuple[list[Item], bool] = ([], False)  # what it went down with
        self._is_stopping = False
        self._is_done = False  # only the storing thread sets and reads it
        self._busy_since: float | None = None
        self._last_commit: float | None = None

    # -- for request threads ------------------------------------------------------------------

    def submit(self, items: Sequence[Item]) -> list[Outcome]:
        """Store items and return an outcome for each, in order, once all are committed or refused.

        Raises QueueFull, DatabaseUnavailable, or Unavailable when the wait was too long: the items
        may be stored all the same, and sending them again is harmless.
        """
        if not items:
            return []
        # A lock that is held until then: an Event costs eight times as much to wait for.
        settled = threading.Lock()
        settled.acquire()
        ticket = self.begin(items, settled.release)
        settled.acquire(timeout=self.wait_seconds)
        return self.finish(ticket)

    def begin(self, items: Sequence[Item], when_settled: Callable[[], object]) -> Ticket:
        """Hand in one item or more without waiting: the first half of `submit`.

        `finish` is to be called then, or after `wait_seconds`. Raises QueueFull, or Unavailable.
        """
        ticket = Ticket(len(items), when_settled)
        with self._changed:
            self._refuse_if_unable()
            for position, item in enumerate(items):
                self._queue.append((item, ticket, position))
            self._changed.notify()
        return ticket

    def finish(self, ticket: Ticket) -> list[Outcome]:
        """An outcome for each item, in order: the second half of `submit`.

        Raises DatabaseUnavailable, or Unavailable where the ticket is not settled yet.
        """
        if not ticket.is_settled:
            self._withdraw(ticket)
            raise Unavailable("The database did not answer in time; try again.")
        return _without_database_trouble(ticket.outcomes)

    @property
    def queued(self) -> int:
        """Items that wait to be stored."""
        return len(self._queue) - self._withdrawn

    @property
    def is_full(self) -> bool:
        """Whether whatever is handed in now is refused.

        However much it is, so that it can be asked before a batch is decoded; the last batch to be
        taken may go beyond the capacity.
        """
        return len(self._queue) - self._withdrawn >= self.capacity

    @property
    def is_accepting(self) -> bool:
        """Whether an update handed in now would be taken."""
        return not (self._is_down or self._is_stopping or self._is_stuck())

    @property
    def last_commit_seconds_ago(self) -> float | None:
        """Age of the last commit; None before the first."""
        return None if self._last_commit is None else time.monotonic() - self._last_commit

    def _refuse_if_unable(self) -> None:
        if self._is_stopping:
            raise Unavailable("The hub is stopping; try again.")
        if self._is_down or self._is_stuck():
            raise DatabaseUnavailable
        if self.is_full:
            raise QueueFull

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK_SECONDS

    def _withdraw(self, ticket: Ticket) -> None:
        """Leave out the items of a request that has given up.

        It stays where it is until its turn comes: thousands may give up at the same moment.
        """
        with self._changed:
            if not ticket.is_withdrawn:
                ticket.is_withdrawn = True
                self._withdrawn += ticket.queued

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the storing thread."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Refuse new items, store those that wait, and end. Idempotent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    # -- the storing thread -------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_done:
            entries: list[_Entry] = []
            try:
                entries = self._next_entries()
                for group, is_old in _narrow_groups(entries, self._late_days):
                    self._store_group(group, is_old=is_old)
            except Exception as exc:  # nothing may end this thread: not even a lack of memory
                _settle_all(entries, Unavailable())
                logger.exception("the writer failed on %d items", len(entries), exc_info=exc)
        self._disconnect()

    def _store_group(self, group: list[_Entry], *, is_old: bool) -> None:
        self._busy_since = time.monotonic()
        try:
            self._store(group, is_old=is_old)
        except MemoryError:
            self._disconnect()  # whatever state it is in
            _settle_all(group, Unavailable(NO_MEMORY))
            logger.error("no memory to store %d items", len(group))
        except Exception:
            logger.exception("the writer failed on a group of %d", len(group))
            _settle_all(group, StorageFailed())
        finally:
            self._busy_since = None

    def _next_entries(self) -> list[_Entry]:
        """What is to be stored next; waits for it. Nothing when stopped and drained."""
        with self._changed:
            while not (entries := self._take_entries()) and not self._is_down:
                if self._is_stopping:
                    self._is_done = True
                    return []
                self._changed.wait()
        if not entries:
            self._wait_for_database()
        metrics.QUEUED.set(self.queued)
        return entries

    def _take_entries(self) -> list[_Entry]:
        entries: list[_Entry] = []
        while self._queue and len(entries) < LARGEST_COMMIT:
            entry = self._queue.popleft()
            ticket = entry[1]
            ticket.queued -= 1
            if ticket.is_withdrawn:
                self._withdrawn -= 1
            else:
                entries.append(entry)
        return entries

    def _wait_for_database(self) -> None:
        """The database is away and nothing waits: try it again in a moment."""
        if self._is_stopping:
            self._is_down = False  # let the loop end
            return
        time.sleep(RECONNECT_SECONDS)
        if self._can_store_again():
            self._is_down = False
            self._failed = [], False
            self._database.renew()
            self._outage.succeeded()

    def _can_store_again(self) -> bool:
        """Whether what failed could be stored now. It is not: its senders have been refused.

        A database that is full or read-only answers every query.
        """
        items, is_old = self._failed
        try:
            conn = self._connection()
            try:
                self._write(conn, items, is_old=is_old)
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

    def _store(self, group: list[_Entry], *, is_old: bool) -> None:
        """Store one group in one transaction; halve it until a poisoned item is alone."""
        try:
            outcomes = self._commit([entry[0] for entry in group], is_old=is_old)
        except MemoryError:
            raise  # no item is to blame
        except psycopg.errors.LockNotAvailable:
            _settle_all(group, Unavailable("Data of that time is being compressed; try again."))
        except _CONFLICTS as exc:
            logger.warning("gave up after %d conflicts: %s", CONFLICT_TRIES, type(exc).__name__)
            _settle_all(group, Unavailable("Another transaction changed the same jobs; try again."))
        except _TROUBLES as exc:
            self._failed = [entry[0] for entry in group], is_old
            self._go_down(exc)
            _settle_all(group, DatabaseUnavailable())
        except Exception as exc:
            if len(group) == 1:
                logger.exception("an item could not be stored", exc_info=exc)
                _settle_all(group, StorageFailed())
                return
            middle = len(group) // 2
            self._store(group[:middle], is_old=is_old)
            self._store(group[middle:], is_old=is_old)
        else:
            for (_, ticket, position), outcome in zip(group, outcomes, strict=True):
                ticket.settle(position, outcome)

    def _commit(self, items: list[Item], *, is_old: bool) -> list[Outcome]:
        started = time.perf_counter()
        outcomes = self._transaction(items, is_old=is_old)
        self._last_commit = time.monotonic()
        _report(outcomes, time.perf_counter() - started)
        return outcomes

    def _transaction(self, items: list[Item], *, is_old: bool) -> list[Outcome]:
        """Run one transaction; again after a conflict, or on a connection that had been cut.

        Raises LockNotAvailable when old items would have to wait: all others would wait with them.
        """
        tries = 0
        while True:
            tries += 1
            is_committing = False
            conn = self._connection()
            try:
                outcomes = self._write(conn, items, is_old=is_old)
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

    def _write(self, conn: Connection, items: list[Item], *, is_old: bool) -> list[Outcome]:
        """Everything of a transaction but its end."""
        if is_old:
            conn.execute(f"SET LOCAL lock_timeout = '{OLD_LOCK_WAIT_MS}ms'")
        return self._stores[type(items[0])](conn, items, self._late_days)

    def _connection(self) -> Connection:
        if self._conn is None:
            self._conn = self._database.connect()
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _go_down(self, exc: Exception) -> None:
        """Refuse new and waiting requests until the database answers again."""
        self._disconnect()
        self._outage.failed(exc)
        with self._changed:
            self._is_down = True
            waiting, self._queue, self._withdrawn = list(self._queue), deque(), 0
        _settle_all(waiting, DatabaseUnavailable())


def _narrow_groups(entries: list[_Entry], late_days: int) -> Iterator[tuple[list[_Entry], bool]]:
    """Entries that may share a transaction: of one kind, and all fresh or of one old UTC hour.

    With each, whether it is old. What will be shifted keeps its shape, so by its own clock it is of
    one hour as well; but each sender is shifted by another offset.

    TimescaleDB notes one range of changed time per transaction, which the next refresh of the
    rollups reads again: an old update beside a fresh one would make it read all that lies between.
    """
    now = to_micros(utc_now())

    def kind(entry: _Entry) -> tuple[str, int, str]:
        item = entry[0]
        name = type(item).__name__
        if item.timestamp is None or -FUTURE_TOLERANCE <= now - item.timestamp <= OLD_AFTER:
            return name, now, ""
        is_shifted = not is_plausible(item.timestamp, now, now - late_days * DAY)
        return name, item.timestamp // HOUR, item.sender if is_shifted else ""

    for (_, hour, _), group in groupby(sorted(entries, key=kind), key=kind):
        yield list(group), hour != now


def _settle_all(entries: list[_Entry], outcome: Outcome) -> None:
    for _, ticket, position in entries:
        if ticket.outcomes[position] is None:
            ticket.settle(position, outcome)


def _without_database_trouble(outcomes: Sequence[Outcome | None]) -> list[Outcome]:
    """The outcomes of a request; raises Unavailable when the database failed any of it."""
    settled: list[Outcome] = []
    for outcome in outcomes:
        assert outcome is not None
        if isinstance(outcome, Unavailable):
            # A new exception for each request: a shared one would keep the frames of all.
            raise type(outcome)(str(outcome))
        settled.append(outcome)
    return settled


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
