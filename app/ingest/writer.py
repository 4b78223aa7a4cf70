"""The group-commit writer: one thread and one connection that store the items of all requests.

A request submits its updates and waits for the commit; the writer stores everything in the queue in
as few transactions as possible. Acknowledged means committed. The queue and the waiting time are
bounded; further requests are refused.
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

LARGEST_COMMIT = 4_000  # items; larger commits save nothing and delay others
OLD_AFTER = 600 * SECOND  # older updates are not stored with fresh ones (`_narrow_groups`)
HOUR = 3_600 * SECOND
RECONNECT_SECONDS = 0.5
STUCK_SECONDS = 5.0  # if a commit takes longer, the database does not answer
CONFLICT_TRIES = 3  # deadlocks and serialization failures
# Other writers lock a row for milliseconds. Only compression takes longer, seconds to a minute, and
# only updates older than HUB_COMPRESS_AFTER_HOURS wait for it.
OLD_LOCK_WAIT_MS = 200

_CONFLICTS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

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


class Item(Protocol):
    """What can be stored: an update or a snapshot."""

    timestamp: int | None

    @property
    def sender(self) -> str:
        """The sender whose clock gave the timestamp."""


Store = Callable[[Connection, Sequence[Any], int], list[Outcome]]  # the int: late_days


class Ticket:
    """The items of one request in the writer.

    The writer's thread calls `when_settled` after the last item; it must not raise. `queued` and
    `is_withdrawn` belong to the writer and its lock.
    """

    __slots__ = ("_remaining", "_when_settled", "is_withdrawn", "outcomes", "queued")

    def __init__(self, count: int, when_settled: Callable[[], object]) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self._remaining = count
        self._when_settled = when_settled
        self.queued = count  # its entries in the queue
        self.is_withdrawn = False

    @property
    def is_settled(self) -> bool:
        """Whether every item is stored or refused."""
        return self._remaining == 0

    def settle(self, position: int, outcome: Outcome) -> None:
        """Set the outcome of one item. Only for the writer's thread."""
        self.outcomes[position] = outcome
        self._remaining -= 1
        if self._remaining == 0:
            self._when_settled()


_Entry = tuple[Item, Ticket, int]


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
        self.capacity = capacity
        self._database = database
        self._stores = stores
        self.wait_seconds = wait_seconds
        self._late_days = late_days
        self._queue: deque[_Entry] = deque()
        self._withdrawn = 0  # entries in the queue whose requests have given up
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._conn: Connection | None = None
        self._is_down = False
        self._outage = FailureLog(
            logger, "the database is away", "the database is back", logging.ERROR
        )
        self._failed: tuple[list[Item], bool] = ([], False)  # the items of the failed transaction
        self._is_stopping = False
        self._is_done = False  # only the storing thread sets and reads it
        self._busy_since: float | None = None
        self._last_commit: float | None = None

    # -- for request threads ------------------------------------------------------------------

    def submit(self, items: Sequence[Item]) -> list[Outcome]:
        """Store items and return an outcome for each, in order, once all are committed or refused.

        Raises QueueFull, DatabaseUnavailable, or Unavailable after `wait_seconds`: the items may be
        stored nevertheless, and can be sent again.
        """
        if not items:
            return []
        # A lock that is held until then: waiting for an Event takes eight times as long.
        settled = threading.Lock()
        settled.acquire()
        ticket = self.begin(items, settled.release)
        settled.acquire(timeout=self.wait_seconds)
        return self.finish(ticket)

    def begin(self, items: Sequence[Item], when_settled: Callable[[], object]) -> Ticket:
        """Queue at least one item without waiting: the first half of `submit`.

        Call `finish` when settled, or after `wait_seconds`. Raises QueueFull or Unavailable.
        """
        ticket = Ticket(len(items), when_settled)
        with self._changed:
            self._refuse_if_unable()
            for position, item in enumerate(items):
                self._queue.append((item, ticket, position))
            self._changed.notify()
        return ticket

    def finish(self, ticket: Ticket) -> list[Outcome]:
        """Return an outcome for each item, in order: the second half of `submit`.

        Raises DatabaseUnavailable, or Unavailable if the ticket is not settled.
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
        """Whether new items are refused, however few. An accepted batch may exceed the capacity."""
        return len(self._queue) - self._withdrawn >= self.capacity

    @property
    def is_accepting(self) -> bool:
        """Whether new updates are accepted."""
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
        """Skip the items of a request that has given up.

        They stay in the queue until their turn: thousands of requests may give up at once.
        """
        with self._changed:
            if not ticket.is_withdrawn:
                ticket.is_withdrawn = True
                self._withdrawn += ticket.queued

    # -- start and stop -----------------------------------------------------------------------

    def start(self) -> None:
        """Start the storing thread."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Refuse new items, store the queued ones, and stop. Idempotent."""
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
            except Exception as exc:  # nothing may end this thread, not even a MemoryError
                _settle_all(entries, Unavailable())
                logger.exception("the writer failed on %d items", len(entries), exc_info=exc)
        self._disconnect()

    def _store_group(self, group: list[_Entry], *, is_old: bool) -> None:
        self._busy_since = time.monotonic()
        try:
            self._store(group, is_old=is_old)
        except MemoryError:
            self._disconnect()  # its state is unknown
            _settle_all(group, Unavailable(NO_MEMORY))
            logger.error("no memory to store %d items", len(group))
        except Exception:
            logger.exception("the writer failed on a group of %d", len(group))
            _settle_all(group, StorageFailed())
        finally:
            self._busy_since = None

    def _next_entries(self) -> list[_Entry]:
        """Wait for the next entries to store; none when stopped and drained."""
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
        """Try the database again after RECONNECT_SECONDS."""
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
        """Whether the failed items could be stored now; rolls back, as their senders were refused.

        A query would not do: a database that is full or read-only answers it.
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
        """Store one group in one transaction; on an error halve it until the bad item is alone."""
        try:
            outcomes = self._commit([entry[0] for entry in group], is_old=is_old)
        except MemoryError:
            raise  # not caused by an item
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
        """Run one transaction; retry after a conflict or on a lost connection.

        Raises LockNotAvailable if old items would have to wait, because all others would wait too.
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
        """Run a transaction without its commit."""
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
    """Group entries that may share a transaction: of one kind, all fresh or of one old UTC hour.

    Yields each group and whether it is old. Timestamps that will be shifted are grouped by sender,
    because each has its own offset. TimescaleDB records one range of changed time per transaction:
    with an old and a fresh update in one, the next refresh would read everything in between.
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
    """The outcomes of a request; raises Unavailable if the database failed for any item."""
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
