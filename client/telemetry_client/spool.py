"""Where one tracker keeps what is not in the hub yet: its queue's file, or memory while that fails.

Raises nothing: a broken spool is said once, at ERROR, and the tracker goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from telemetry_client.loud import Loud
from telemetry_client.memory import MemoryQueue
from telemetry_client.queue import TelemetryQueue
from telemetry_client.updates import Body

logger = logging.getLogger("telemetry_client.tracker")

REST_SECONDS = 30.0  # after the file failed; until then memory has to do


@dataclass(slots=True, eq=False)
class Parcel:
    """A frozen update on its way; `queue` and `id`: where it is kept meanwhile, if it is."""

    body: Body
    queue: TelemetryQueue | None = None
    id: int = 0


class Spool:
    """For the threads of one tracker. `make_queue` gives None where no file is wanted."""

    def __init__(
        self, job_id: str, make_queue: Callable[[], TelemetryQueue | None], *, owns_queue: bool
    ) -> None:
        # A Drain takes either; the queue in memory has all that one asks for.
        self.memory = cast(TelemetryQueue, MemoryQueue())
        self.disk: TelemetryQueue | None = None
        self._job_id = job_id
        self._make_queue = make_queue
        self._owns_queue = owns_queue
        self._rests_until = 0.0
        self._loud = Loud(logger)

    def open(self) -> None:
        try:
            self.disk = self._make_queue()
        except Exception as exc:
            self._failed(exc)

    def close(self) -> None:
        if self.disk is not None and self._owns_queue:
            try:
                self.disk.close()
            except Exception as exc:
                self._failed(exc)

    @property
    def queues(self) -> list[TelemetryQueue]:
        return [self.memory] if self.disk is None else [self.disk, self.memory]

    def keep(self, body: Body, *, important: bool = False, leased: bool = False) -> Parcel:
        """It is on disk once this returns, or where that does not work in memory."""
        if self.disk is not None and time.monotonic() >= self._rests_until:
            try:
                entry_id = self.disk.enqueue(body, important=important, leased=leased)
                return Parcel(body, self.disk, entry_id)
            except Exception as exc:
                self._failed(exc)
        entry_id = self.memory.enqueue(body, important=important, leased=leased)
        return Parcel(body, self.memory, entry_id)

    def forget(self, parcel: Parcel) -> None:
        """It is in the hub."""
        self._settle(parcel, lambda queue: queue.mark_sent(parcel.id))

    def release(self, parcel: Parcel) -> None:
        """It is not, as far as we know: whoever drains the queue may send it."""
        self._settle(parcel, lambda queue: queue.release(parcel.id))

    def bury(self, parcel: Parcel, reason: str) -> None:
        """The hub will never take it."""
        if parcel.queue is None:
            parcel = self.keep(parcel.body, leased=True)
        self._settle(parcel, lambda queue: queue.mark_dead(parcel.id, reason))

    def take_losses(self) -> int:
        """Updates that were evicted since this was last asked."""
        losses = self.memory.take_losses(self._job_id)
        try:
            return losses + (self.disk.take_losses(self._job_id) if self.disk else 0)
        except Exception as exc:
            self._failed(exc)
            return losses

    def empty_memory(self) -> int:
        """To disk, at the end, what is in memory only; how many are lost."""
        left = cast(MemoryQueue, self.memory).take_all()
        for position, (body, important) in enumerate(left):
            try:
                if self.disk is None:
                    return len(left)
                self.disk.enqueue(body, important=important)
            except Exception:  # said before
                return len(left) - position
        return 0

    def _settle(self, parcel: Parcel, action: Callable[[TelemetryQueue], None]) -> None:
        if parcel.queue is not None:
            try:
                action(parcel.queue)
            except Exception as exc:  # its lease will end, and the hub takes a repeat once
                self._failed(exc)

    def _failed(self, exc: Exception) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        self._loud.once(
            "spool",
            "The telemetry spool cannot be used, updates are kept in memory: job_id=%s reason=%s",
            self._job_id,
            exc,
            level=logging.ERROR,
        )
