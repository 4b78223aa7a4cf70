"""What a job's threads store and the capturing thread reads, without locks: the job never waits."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Optional

from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.wire.timestamps import instant

MAX_CHANGES = 10_000  # how many changes the job may be ahead of the capturing thread

Source = Callable[[], Optional[Progress]]  # None: unchanged
# bytes, total, speed, eta, percent: as the job's code passed them, unchecked
Numbers = tuple[Any, Any, Any, Any, Any]


@dataclass(frozen=True)
class Change:
    """A change of state, with the numbers of its instant.

    `kind`: start, phase, error, end (with `status`), or flush, which changes nothing and sets
    `event` once everything before it is stored.
    """

    kind: str
    numbers: Numbers
    at: tuple[int, int] = field(default_factory=instant)
    phase: Any = None
    error: Any = None
    status: str = "running"
    deadline_seconds: float = 0.0
    event: threading.Event | None = None


class Wake:
    """An event that is cleared by waiting for it. A signal handler may set it at any time: one that
    interrupts `threading.Event.set` and calls it again would wait for ever.
    """

    def __init__(self) -> None:
        self._marks: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        if self._marks.empty():
            self._marks.put(None)

    def wait(self, timeout_seconds: float) -> None:
        with suppress(queue.Empty):
            self._marks.get(timeout=timeout_seconds)


class Feed:
    """The job's latest progress and its changes of state. Only single assignments and appends."""

    __slots__ = (
        "changes",
        "disks",
        "dropped",
        "error",
        "is_dry_run",
        "numbers",
        "phase",
        "source",
        "total",
        "wake",
    )

    def __init__(self, total: Any, source: Source | None) -> None:
        self.numbers: Numbers = (None, None, None, None, None)
        self.total = total  # used if the numbers contain none
        self.phase: Any = None
        self.error: Any = None
        self.is_dry_run = False
        self.disks: dict[int, DiskProgress] = {}
        self.changes: deque[Change] = deque()
        self.dropped = 0  # changes of state that came faster than they can be written
        self.source = source
        self.wake = Wake()

    def add(self, change: Change) -> None:
        """Add a change of state, or count it as dropped if there are too many."""
        if len(self.changes) < MAX_CHANGES:
            self.changes.append(change)
        else:
            self.dropped += 1
        self.wake.set()
