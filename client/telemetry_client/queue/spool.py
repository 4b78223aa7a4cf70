"""Where a tracker keeps updates that are not in the hub yet: its queue, or memory if that fails.

Nothing here raises: the failure of a queue is logged once, at ERROR, and the tracker goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from telemetry_client.log_limit import LimitedLog
from telemetry_client.queue.memory import MemoryQueue
from telemetry_client.queue.protocol import Queue
from telemetry_client.wire.body import Body

logger = logging.getLogger("telemetry_client.tracker")

RETRY_SECONDS = 30.0  # after the queue failed; until then memory is used


@dataclass(eq=False)
class Parcel:
    """An update on its way to the hub; `queue` and `id`: where it is kept meanwhile, if it is."""

    body: Body
    queue: Queue | None = None
    id: int = 0


class Spool:
    """The spool of one tracker. Thread-safe. `make_queue` returns None for memory only."""

    def __init__(
        self, job_id: str, make_queue: Callable[[], Queue | None], *, owns_queue: bool
    ) -> None:
        self.memory = MemoryQueue()
        self.disk: Queue | None = None
        self._job_id = job_id
        self._make_queue = make_queue
        self._owns_queue = owns_queue
        self._retry_at = 0.0
        self._log = LimitedLog(logger)

    def open(self) -> None:
        """Open the queue."""
        try:
            self.disk = self._make_queue()
        except Exception as exc:
            self._disk_failed(exc)

    def close(self) -> None:
        """Close the queue, unless the tracker was given it."""
        if self.disk is not None and self._owns_queue:
            try:
                self.disk.close()
            except Exception as exc:
                self._disk_failed(exc)

    @property
    def queues(self) -> list[Queue]:
        """What has to be drained."""
        return [self.memory] if self.disk is None else [self.disk, self.memory]

    def keep(self, body: Body, *, important: bool = False, leased: bool = False) -> Parcel:
        """Store an update: on disk once this returns, or in memory if that fails."""
        if self.disk is not None and time.monotonic() >= self._retry_at:
            try:
                entry_id = self.disk.enqueue(body, important=important, leased=leased)
                return Parcel(body, self.disk, entry_id)
            except Exception as exc:
                self._disk_failed(exc)
        entry_id = self.memory.enqueue(body, important=important, leased=leased)
        return Parcel(body, self.memory, entry_id)

    def is_on_disk(self, parcel: Parcel) -> bool:
        """Whether it outlives the process."""
        return parcel.queue is not None and parcel.queue is self.disk

    def mark_sent(self, parcel: Parcel) -> None:
        """The hub has stored it."""
        self._settle(parcel, lambda queue: queue.mark_sent(parcel.id))

    def release(self, parcel: Parcel) -> None:
        """The hub may not have stored it: any drain may send it."""
        self._settle(parcel, lambda queue: queue.release(parcel.id))

    def mark_dead(self, parcel: Parcel, reason: str) -> None:
        """The hub will never accept it."""
        if parcel.queue is None:
            parcel = self.keep(parcel.body, leased=True)
        self._settle(parcel, lambda queue: queue.mark_dead(parcel.id, reason))

    def take_losses(self) -> int:
        """How many updates were evicted since the last call."""
        losses = self.memory.take_losses(self._job_id)
        try:
            return losses + (self.disk.take_losses(self._job_id) if self.disk else 0)
        except Exception as exc:
            self._disk_failed(exc)
            return losses

    def flush_memory(self) -> int:
        """Move to disk, at the end, what is in memory only; returns how many updates are lost."""
        rest = self.memory.take_all()
        for position, (body, important) in enumerate(rest):
            try:
                if self.disk is None:
                    return len(rest)
                self.disk.enqueue(body, important=important)
            except Exception:  # logged before
                return len(rest) - position
        return 0

    def _settle(self, parcel: Parcel, action: Callable[[Queue], None]) -> None:
        if parcel.queue is not None:
            try:
                action(parcel.queue)
            except Exception as exc:  # its lease will end, and the hub stores a repeat once
                self._disk_failed(exc)

    def _disk_failed(self, exc: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._log.log_once(
            "spool",
            "The telemetry spool cannot be used, updates are kept in memory: job_id=%s reason=%s",
            self._job_id,
            exc,
            level=logging.ERROR,
        )
