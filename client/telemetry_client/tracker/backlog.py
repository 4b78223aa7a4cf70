"""A tracker's updates in the spool: when they are sent, and whether the hub can be reached."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from telemetry_client.queue.drain import Drain, PushClient
from telemetry_client.queue.protocol import Entry, Queue
from telemetry_client.tracker.outcomes import Outcomes
from telemetry_client.wire.results import Unreachable

PROBE_SECONDS = 5.0


class Backlog:
    """A drain for each queue of the spool. For the posting thread, except `add` and `schedule`.

    `on_back` is called when the hub can be reached again; once `closing` is set no drain steps.
    """

    def __init__(
        self,
        job_id: str,
        outcomes: Outcomes,
        *,
        on_back: Callable[[], None],
        closing: threading.Event,
    ) -> None:
        self.is_away = False  # the hub cannot be reached
        self.is_hub_busy = False  # it is away because the hub asked to come back later
        self._job_id = job_id
        self._outcomes = outcomes
        self._on_back = on_back
        self._closing = closing
        self._lock = threading.Lock()
        self._size = 0  # updates of this tracker in the spool, as far as it knows
        self._drains: list[Drain] = []
        self._due_at: list[float | None] = []

    def open(self, queues: Sequence[Queue], client: PushClient) -> None:
        """Make the drains, due at once: there may be updates of earlier trackers."""
        self._drains = [
            Drain(
                queue,
                client,
                probe_seconds=PROBE_SECONDS,
                on_sent=self._on_sent,
                on_dead=self._on_dead,
                on_away=self._on_away,
                on_not_applied=self._on_not_applied,
            )
            for queue in queues
        ]
        self._due_at = [0.0 for _ in self._drains]

    def add(self, count: int = 1) -> None:
        """Updates were put into the spool, or left it if negative."""
        with self._lock:
            self._size += count

    @property
    def is_empty(self) -> bool:
        return self._size <= 0

    @property
    def dues(self) -> list[float]:
        """When the drains are due, on the monotonic clock."""
        return [at for at in self._due_at if at is not None]

    def step(self) -> None:
        """Step each drain that is due."""
        for position, drain in enumerate(self._drains):
            due = self._due_at[position]
            if due is None or time.monotonic() < due or self._closing.is_set():
                continue
            self._due_at[position] = None  # before the step: another thread may schedule again
            wait = self._step(drain)
            if wait is not None:
                self._schedule(position, wait)
        if all(due is None for due in self._due_at):
            self._size = 0  # whoever sent it

    def schedule(self, seconds: float, *, replace: bool = False) -> None:
        """Make all drains due in so many seconds, or keep an earlier time unless `replace`."""
        for position in range(len(self._due_at)):
            if replace:
                self._due_at[position] = None
            self._schedule(position, seconds)

    def schedule_next(self) -> None:
        """Make the drains due for an update that was just added."""
        self.schedule(PROBE_SECONDS if self.is_away else 0.0)

    def hub_answered(self) -> None:
        """The hub can be reached: send what waits at once if it could not be reached before."""
        self.is_hub_busy = False
        if self.is_away:
            self.is_away = False
            self.schedule(0.0, replace=True)
            self._on_back()

    def hub_failed(self, result: Unreachable) -> None:
        """A request did not get through."""
        self._outcomes.failed(result.reason)
        # A 500 is about an update: the hub is there, and the drain finds out which one it is.
        self.is_away = self.is_away or not result.spends_try
        self.is_hub_busy = result.is_from_hub and result.retry_after_seconds is not None

    def schedule_retry(self, retry_after_seconds: float | None) -> None:
        """Make all drains due after a failure."""
        self.schedule(with_jitter(retry_after_seconds or PROBE_SECONDS), replace=True)

    def _schedule(self, position: int, seconds: float) -> None:
        due, planned = time.monotonic() + seconds, self._due_at[position]
        self._due_at[position] = due if planned is None else min(due, planned)

    def _step(self, drain: Drain) -> float | None:
        try:
            return drain.step()
        except Exception as exc:
            self._outcomes.failed(f"the spool cannot be read: {exc}")
            return PROBE_SECONDS

    def _on_sent(self, entries: list[Entry]) -> None:
        ours = sum(entry.payload.get("job_id") == self._job_id for entry in entries)
        self._outcomes.count(sent=ours)
        self.add(-ours)
        self.hub_answered()

    def _on_dead(self, entry: Entry, reason: str) -> None:
        if entry.payload.get("job_id") == self._job_id:
            self.add(-1)
            self._outcomes.dead(reason)

    def _on_not_applied(self, entry: Entry, reason: str) -> None:
        # Updates that waited are often older than those that are in the hub. An end is not.
        is_end = entry.payload.get("status", "running") != "running"
        if is_end and entry.payload.get("job_id") == self._job_id:
            self._outcomes.not_applied(reason)

    def _on_away(self, result: Unreachable) -> None:
        if result.status != HTTPStatus.FORBIDDEN or not result.is_from_hub:
            self.hub_failed(result)
            return
        # The hub is there, and what it forbids may be updates of jobs that have another token.
        self._outcomes.failed(result.reason)
        self.is_away, was_away = False, self.is_away
        if was_away:
            self._on_back()


def with_jitter(seconds: float) -> float:
    """A little later, so that a fleet does not come back at once."""
    return seconds * random.uniform(1.0, 1.3)
