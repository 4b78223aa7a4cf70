"""The queue in memory, for a tracker without a file: bounded, and lost with the process."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from telemetry_client.queue.payload import losses_of, rank_of, stream_of
from telemetry_client.queue.protocol import LEASE_SECONDS, Entry
from telemetry_client.wire.backoff import backoff_seconds

MAX_SIZE = 500


@dataclass
class _Slot:
    """An entry with what the columns of the file's table hold."""

    entry: Entry
    stream: str | None
    rank: int
    held_until: float = 0.0
    leased_by: int | None = None  # a thread

    def is_held(self, now: float) -> bool:
        return self.held_until > now

    def is_leased(self, now: float) -> bool:
        return self.leased_by is not None and self.is_held(now)


class MemoryQueue:
    """A `Queue` of one process. It keeps no dead letters: what fails too often is counted as lost.

    Losses are not added to later updates; `take_losses` has all of them.
    """

    def __init__(
        self,
        max_size: int = MAX_SIZE,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_size = max_size
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._slots: dict[int, _Slot] = {}  # ascending by id
        self._last_id = 0
        self._losses: Counter[str] = Counter()

    def enqueue(
        self, payload: Mapping[str, Any], *, important: bool = False, leased: bool = False
    ) -> int:
        """See `Queue`."""
        with self._lock:
            self._last_id += 1
            entry = Entry(self._last_id, dict(payload), 0, self._wall_clock())
            slot = _Slot(entry, stream_of(payload), rank_of(payload, important))
            if leased:
                self._lease(slot)
            self._slots[entry.id] = slot
            self._make_room()
            return entry.id

    def dequeue(self, limit: int = 10, *, after: int = 0) -> list[Entry]:
        """See `Queue`."""
        with self._lock:
            slots = [slot for slot in self._ready() if slot.entry.id > after][:limit]
            for slot in slots:
                self._lease(slot)
            return [slot.entry for slot in slots]

    def seconds_until_ready(self) -> float | None:
        """See `Queue`."""
        with self._lock:
            if not self._slots:
                return None
            if next(self._ready(), None) is not None:
                return 0.0
            now = self._clock()
            return min(s.held_until for s in self._slots.values() if s.is_held(now)) - now

    def mark_sent(self, entry_id: int) -> None:
        """See `Queue`."""
        self.acknowledge([entry_id])

    def acknowledge(self, entry_ids: Sequence[int]) -> None:
        """See `Queue`."""
        with self._lock:
            for entry_id in entry_ids:
                self._slots.pop(entry_id, None)

    def release(self, entry_id: int) -> None:
        """See `Queue`."""
        self.release_all([entry_id])

    def release_all(self, entry_ids: Sequence[int]) -> None:
        """See `Queue`."""
        with self._lock:
            for entry_id in entry_ids:
                slot = self._slots.get(entry_id)
                if slot is not None and slot.leased_by is not None:
                    slot.leased_by, slot.held_until = None, 0.0

    def mark_failed(self, entry_id: int, max_retries: int = 3, *, reason: str = "") -> None:
        """See `Queue`."""
        with self._lock:
            slot = self._slots.get(entry_id)
            if slot is None:
                return
            tries = slot.entry.tries + 1
            if tries >= max_retries:
                self._drop(slot)
                return
            slot.entry = replace(slot.entry, tries=tries)
            slot.leased_by, slot.held_until = None, self._clock() + backoff_seconds(tries)

    def mark_dead(self, entry_id: int, reason: str) -> None:
        """See `Queue`."""
        self.acknowledge([entry_id])  # the caller has logged the reason

    def get_queue_size(self) -> int:
        """See `Queue`."""
        return len(self._slots)

    def take_losses(self, stream: str) -> int:
        """See `Queue`."""
        with self._lock:
            return self._losses.pop(stream, 0)

    def take_all(self) -> list[tuple[dict[str, Any], bool]]:
        """Remove everything: the payloads in order, each with whether it is important."""
        with self._lock:
            slots, self._slots = list(self._slots.values()), {}
        return [(slot.entry.payload, slot.rank > 0) for slot in slots]

    def close(self) -> None:
        """See `Queue`."""

    def _ready(self) -> Iterator[_Slot]:
        """What may be sent now, oldest first."""
        now, thread = self._clock(), threading.get_ident()
        blocked: set[str] = set()
        for slot in self._slots.values():
            if not slot.is_held(now):
                if slot.stream not in blocked:
                    yield slot
            elif slot.stream is not None and slot.leased_by != thread:
                blocked.add(slot.stream)

    def _lease(self, slot: _Slot) -> None:
        slot.held_until = self._clock() + self._lease_seconds
        slot.leased_by = threading.get_ident()

    def _make_room(self) -> None:
        excess = len(self._slots) - self._max_size
        if excess <= 0:
            return
        now = self._clock()
        free = heapq.nsmallest(
            excess + 1,
            (slot for slot in self._slots.values() if not slot.is_leased(now)),
            key=lambda slot: (slot.rank, slot.entry.id),
        )
        # If all others are leased, and so about to leave, one may stay beside them for a moment.
        for slot in free[:excess] if len(free) > excess else free[:-1]:
            self._drop(slot)

    def _drop(self, slot: _Slot) -> None:
        payload = self._slots.pop(slot.entry.id).entry.payload
        if slot.stream is not None:
            self._losses[slot.stream] += 1 + losses_of(payload)
