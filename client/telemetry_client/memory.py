"""A tracker's queue where there is no file for one: bounded, and gone with the process.

The part of TelemetryQueue that a tracker and a Drain use. Evictions are counted as there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from telemetry_client.queue import Entry

MOST_ENTRIES = 500
RETRY_SECONDS = 5.0


@dataclass(slots=True)
class _Held:
    entry: Entry
    rank: int  # what is evicted first: 0 ordinary, 1 a change of state, 2 an end
    ready_at: float = 0.0  # of the monotonic clock
    is_leased: bool = False


class MemoryQueue:
    """First in, first out. Thread-safe. Its entries are one tracker's, and so of one stream."""

    def __init__(self, max_size: int = MOST_ENTRIES) -> None:
        self._max_size = max_size
        self._lock = threading.Lock()
        self._held: dict[int, _Held] = {}  # ascending by id
        self._next_id = 1
        self._losses = 0

    def enqueue(
        self, payload: Mapping[str, Any], *, important: bool = False, leased: bool = False
    ) -> int:
        rank = 2 if payload.get("status") != "running" else int(important)
        with self._lock:
            if len(self._held) >= self._max_size:
                self._evict()
            entry = Entry(self._next_id, dict(payload), 0, time.time())
            self._held[entry.id] = _Held(entry, rank, is_leased=leased)
            self._next_id += 1
            return entry.id

    def dequeue(self, limit: int = 10, *, after: int = 0) -> list[Entry]:
        now = time.monotonic()
        found: list[Entry] = []
        with self._lock:
            for held in self._held.values():
                if held.entry.id <= after:
                    continue
                if held.is_leased or held.ready_at > now or len(found) == limit:
                    break  # in order
                held.is_leased = True
                found.append(held.entry)
        return found

    def mark_sent(self, entry_id: int) -> None:
        self.acknowledge([entry_id])

    def acknowledge(self, entry_ids: Sequence[int]) -> None:
        with self._lock:
            for entry_id in entry_ids:
                self._held.pop(entry_id, None)

    def release(self, entry_id: int) -> None:
        self.release_all([entry_id])

    def release_all(self, entry_ids: Sequence[int]) -> None:
        with self._lock:
            for entry_id in entry_ids:
                if held := self._held.get(entry_id):
                    held.is_leased = False

    def mark_failed(self, entry_id: int, max_retries: int = 3, *, reason: str = "") -> None:
        with self._lock:
            if held := self._held.get(entry_id):
                held.entry = replace(held.entry, tries=held.entry.tries + 1)
                held.is_leased = False
                held.ready_at = time.monotonic() + RETRY_SECONDS
                if held.entry.tries >= max_retries:
                    self._drop(entry_id)

    def mark_dead(self, entry_id: int, reason: str) -> None:
        self.acknowledge([entry_id])  # nowhere to keep it; the caller has logged the reason

    def get_queue_size(self) -> int:
        return len(self._held)

    def seconds_until_ready(self) -> float | None:
        with self._lock:
            first = next(iter(self._held.values()), None)
            if first is None:
                return None
            return RETRY_SECONDS if first.is_leased else max(0.0, first.ready_at - time.monotonic())

    def take_losses(self, stream: str) -> int:
        with self._lock:
            losses, self._losses = self._losses, 0
            return losses

    def take_all(self) -> list[tuple[dict[str, Any], bool]]:
        """Everything in order, with whether it is important; empty afterwards."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
        return [(one.entry.payload, one.rank > 0) for one in held]

    def _evict(self) -> None:
        candidates: Iterable[_Held] = (held for held in self._held.values() if not held.is_leased)
        victim = min(candidates, key=lambda held: (held.rank, held.entry.id), default=None)
        if victim is not None:
            self._drop(victim.entry.id)

    def _drop(self, entry_id: int) -> None:
        payload = self._held.pop(entry_id).entry.payload
        self._losses += 1 + int(payload.get("lost_updates", 0))
