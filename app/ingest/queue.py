"""What waits to be stored: fresh items in the order of their arrival, old ones in turns.

Fresh items are stored first, so that a sender that delivers a backlog delays no other. Among
requests with old items the one with the fewest left comes first: a small one does not wait behind a
large one, and of several large ones the first is answered before the next begins. In every second
turn the request that came first does, so that small ones cannot keep it waiting for ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count, repeat
from typing import Protocol

from app.domain.timestamps import FUTURE_TOLERANCE, OLD_AFTER, SECOND
from app.errors import QueueFull
from app.ingest.transaction import Outcome

LARGEST_COMMIT = 4_000  # items; larger commits save nothing and delay others
# A turn of old items, for which fresh ones wait. It becomes as large as is stored in this time.
TURN_SECONDS = 0.1
FIRST_TURN, SMALLEST_TURN = 500, 100  # items
HOURS_OF_TURN = 100  # each may need a chunk of its own
_HOUR = 3_600 * SECOND

FRESH, OLD = 0, 1  # the ages of items: indexes of counts


class Item(Protocol):
    """What can be stored: an update or a snapshot."""

    timestamp: int | None


class Ticket:
    """The items of one request in the queue.

    The writer's thread calls `when_settled` after the last item; it must not raise. `waiting` (by
    age) and `is_withdrawn` belong to the queue and its lock.
    """

    __slots__ = (
        "_when_settled",
        "active_at",
        "is_withdrawn",
        "outcomes",
        "unsettled",
        "waiting",
    )

    def __init__(self, size: int, when_settled: Callable[[], object]) -> None:
        self.outcomes: list[Outcome | None] = [None] * size
        self.unsettled = size
        self._when_settled = when_settled
        self.active_at = time.monotonic()  # when it came, or its last item was settled
        self.waiting = [0, 0]  # its items in the queue
        self.is_withdrawn = False

    @property
    def is_settled(self) -> bool:
        """Whether every item is stored or refused."""
        return self.unsettled == 0

    def settle(self, position: int, outcome: Outcome) -> None:
        """Set the outcome of one item. Only for the writer's thread."""
        self.outcomes[position] = outcome
        self.active_at = time.monotonic()
        self.unsettled -= 1
        if self.unsettled == 0:
            self._when_settled()


Entry = tuple[Item, Ticket, int]  # and its position in the ticket


class Queue:
    """A bounded queue for one taker. `changed` is its lock: hold it for each call but `waiting`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  # of each age
        self.changed = threading.Condition()
        self._fresh: deque[Entry] = deque()
        self._old: list[deque[Entry]] = []  # one for each ticket
        self._turns = 0
        self._turn_size = FIRST_TURN
        self.counts = [0, 0]  # what waits, by age, without withdrawn items

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(self.counts)

    def waiting_since(self) -> float | None:
        """Since when the first request has waited (monotonic clock); None if none waits."""
        tickets = (
            next((ticket for _, ticket, _ in entries if not ticket.is_withdrawn), None)
            for entries in (self._fresh, *self._old)
        )
        return min((ticket.active_at for ticket in tickets if ticket is not None), default=None)

    def add(self, ticket: Ticket, items: Sequence[Item]) -> None:
        """Queue all items of a ticket.

        Raises QueueFull if there are as many of an age as its capacity: the last batch taken may go
        beyond it.
        """
        now = time.time_ns() // 1000
        earliest, latest = now - OLD_AFTER, now + FUTURE_TOLERANCE
        stamps = [item.timestamp for item in items if item.timestamp is not None]
        fresh: list[Entry] = list(zip(items, repeat(ticket), count()))
        old: list[Entry] = []
        if stamps and not (earliest <= min(stamps) and max(stamps) <= latest):
            fresh, old = _by_age(fresh, earliest, latest)
        counts, capacity = self.counts, self.capacity
        if (fresh and counts[FRESH] >= capacity) or (old and counts[OLD] >= capacity):
            raise QueueFull
        self._fresh.extend(fresh)
        if old:
            self._old.append(deque(old))
        ticket.waiting = [len(fresh), len(old)]
        counts[FRESH] += len(fresh)
        counts[OLD] += len(old)
        self.changed.notify()

    def withdraw(self, ticket: Ticket) -> None:
        """Skip the items of a request that has given up.

        They stay in the queue until the next turn: thousands of requests may give up at once.
        """
        if not ticket.is_withdrawn:
            ticket.is_withdrawn = True
            for age in (FRESH, OLD):
                self.counts[age] -= ticket.waiting[age]

    def take_fresh(self) -> list[Entry]:
        """Remove and return at most LARGEST_COMMIT fresh items."""
        taken: list[Entry] = []
        while self._fresh and len(taken) < LARGEST_COMMIT:
            self._take(self._fresh, FRESH, taken)
        return taken

    def take_old(self) -> list[Entry]:
        """Remove and return one turn of old items."""
        taken: list[Entry] = []
        hours: set[int] = set()
        for entries in self._in_turn():
            while entries and len(taken) < self._turn_size:
                hours.add((entries[0][0].timestamp or 0) // _HOUR)
                if len(hours) > HOURS_OF_TURN:
                    break
                self._take(entries, OLD, taken)
            if entries:
                break
        self._old = [entries for entries in self._old if entries]
        return taken

    def note_turn(self, size: int, seconds: float) -> None:
        """Note how long it took to store a turn; the next ones are larger or smaller for it."""
        if seconds > TURN_SECONDS:
            self._turn_size = max(SMALLEST_TURN, self._turn_size // 2)
        elif size >= self._turn_size and seconds < TURN_SECONDS / 2:
            self._turn_size = min(LARGEST_COMMIT, self._turn_size * 2)

    def _in_turn(self) -> list[deque[Entry]]:
        """The old items of each request, in the order in which they come next."""
        self._old = [entries for entries in self._old if not entries[0][1].is_withdrawn]
        self._turns += 1
        return self._old if self._turns % 2 else sorted(self._old, key=len)

    def take_all(self) -> list[Entry]:
        """Remove and return everything."""
        taken: list[Entry] = []
        for entries, age in ((self._fresh, FRESH), *((old, OLD) for old in self._old)):
            while entries:
                self._take(entries, age, taken)
        self._old = []
        return taken

    def _take(self, entries: deque[Entry], age: int, taken: list[Entry]) -> None:
        entry = entries.popleft()
        ticket = entry[1]
        ticket.waiting[age] -= 1
        if not ticket.is_withdrawn:
            self.counts[age] -= 1
            taken.append(entry)


def _by_age(entries: list[Entry], earliest: int, latest: int) -> tuple[list[Entry], list[Entry]]:
    """The fresh ones, from `earliest` to `latest` (µs), and the old ones."""
    fresh: list[Entry] = []
    old: list[Entry] = []
    for entry in entries:
        at = entry[0].timestamp
        (fresh if at is None or earliest <= at <= latest else old).append(entry)
    return fresh, old
