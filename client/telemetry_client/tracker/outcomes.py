"""What became of one tracker's updates: counted, and logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from telemetry_client.log_limit import LimitedLog

logger = logging.getLogger("telemetry_client.tracker")


@dataclass
class Counters:
    """`failed` counts requests, the others updates."""

    captured: int = 0
    sent: int = 0
    failed: int = 0
    spooled: int = 0
    lost: int = 0
    dead: int = 0


class Outcomes:
    """For all threads of the tracker. `on_dead` is called when an update was refused."""

    def __init__(self, job_id: str, on_dead: Callable[[], None]) -> None:
        self.counters = Counters()
        self._job_id = job_id
        self._on_dead = on_dead
        self._log = LimitedLog(logger)
        self._lock = threading.Lock()

    def count(self, **changes: int) -> None:
        """Add to the counters, by name."""
        with self._lock:
            for name, change in changes.items():
                setattr(self.counters, name, getattr(self.counters, name) + change)

    def failed(self, reason: str) -> None:
        """A request did not get through."""
        self.count(failed=1)
        self._log.log(
            reason,
            "FAILED to send telemetry update, it is kept for later: job_id=%s reason=%s",
            self._job_id,
            reason,
        )

    def dead(self, reason: str) -> None:
        """The hub refused an update."""
        self.count(dead=1)
        self._log.log(
            f"refused {reason}",
            "FAILED to send telemetry update, the hub refuses it: job_id=%s reason=%s",
            self._job_id,
            reason,
        )
        self._on_dead()

    def not_applied(self, reason: str) -> None:
        """The hub has stored an update, but the job did not change."""
        self._log.log(
            f"not applied {reason}",
            "The telemetry of this run does not change its job: job_id=%s reason=%s",
            self._job_id,
            reason,
        )

    def lost(self, count: int) -> None:
        """Updates could not be kept."""
        self.count(lost=count)
        self._log.log("lost", "%d telemetry updates are lost: job_id=%s", count, self._job_id)
