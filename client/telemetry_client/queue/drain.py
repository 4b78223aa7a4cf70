"""Sends a queue's backlog to the hub: in batches, in order, at a pace a returning hub can bear."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from telemetry_client.errors import QueueError
from telemetry_client.queue.protocol import Entry, Queue
from telemetry_client.wire.backoff import after_retry_after, around
from telemetry_client.wire.results import Accepted, Refused, Rejection, Result, Unreachable
from telemetry_client.wire.verdicts import REFUSING

logger = logging.getLogger("telemetry_client.drain")

PROBE_BATCH = 10  # the size of a batch that only finds out whether the hub is back
SPLIT_SECONDS = 0.1  # between halves of a refused batch: the hub is there and answers
IDLE_SECONDS = 1.0  # between checks of an empty queue: other processes fill it too
# Of a hub, or of a proxy that decides by the content: other entries may pass.
_MAY_BLAME_ENTRY = frozenset({HTTPStatus.FORBIDDEN, *REFUSING})


class PushClient(Protocol):
    """The pushes of a `TelemetryClient`."""

    def push(self, update: Mapping[str, Any]) -> Result: ...
    def push_batch(self, updates: Sequence[Mapping[str, Any]]) -> Result: ...
    def push_snapshot(self, snapshot: Mapping[str, Any]) -> Result: ...
    def push_snapshots(self, snapshots: Sequence[Mapping[str, Any]]) -> Result: ...


@dataclass
class DrainStats:
    """What a drain has done so far."""

    sent: int = 0  # entries that the hub has stored, duplicates too
    duplicates: int = 0
    dead: int = 0  # entries that were refused, or failed too often
    failed: int = 0  # requests that did not get through
    not_applied: int = 0  # entries that are stored and did not change their job


class Drain:
    """Empties a queue. For one thread at a time; any number of drains may share a queue.

    Entries that the token does not allow wait, since another sender may have the right token: the
    drain goes on with the entries behind them. A batch that the hub refuses or fails on as a whole
    is halved from one step to the next until the bad entry is alone, so that only this one is given
    up or uses a try; then batches grow again. A proxy may refuse a body too, for its size or its
    content: such a batch is halved likewise, and an entry that does not pass alone waits.
    """

    def __init__(
        self,
        queue: Queue,
        client: PushClient,
        *,
        batch: int = 100,
        batches_per_second: float = 2.0,
        probe_seconds: float = 5.0,
        max_retries: int = 3,
        on_sent: Callable[[list[Entry]], None] | None = None,
        on_dead: Callable[[Entry, str], None] | None = None,
        on_away: Callable[[Unreachable], None] | None = None,
        on_not_applied: Callable[[Entry, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.client = client
        self.stats = DrainStats()
        self.is_away = False  # the last request did not get through
        self._batch = batch
        self._pace_seconds = 1 / batches_per_second
        self._probe_seconds = probe_seconds
        self._max_retries = max_retries
        self._on_sent = on_sent
        self._on_dead = on_dead
        self._on_away = on_away
        self._on_not_applied = on_not_applied
        self._clock = clock
        self._limit = batch  # less while a bad entry is searched for
        self._after = 0  # the token does not allow what waits up to this id
        self._next_at = clock()
        self._last_problem: str | None = None  # the last one that was logged

    def step(self) -> float | None:
        """Send at most one batch. Returns the seconds to wait, or None if the queue is empty.

        Called too early it only returns how long to wait. Raises QueueError.
        """
        early = self._next_at - self._clock()
        if early > 0:
            return early
        is_probe = self.is_away and not self._after
        limit = min(self._limit, PROBE_BATCH) if is_probe else self._limit
        entries = self.queue.dequeue(limit, after=self._after)
        if not entries and self._after:
            self._after = 0
            self._next_at = self._clock() + around(self._probe_seconds)
            return self._next_at - self._clock()
        if not entries:
            wait = self.queue.seconds_until_ready()
            return None if wait is None else min(max(wait, SPLIT_SECONDS), self._probe_seconds)
        wait = self._send(entries)
        self._next_at = self._clock() + wait
        return wait

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set. A failure of the queue is logged once while it lasts."""
        while not stop.is_set():
            try:
                wait = self.step()
                wait = IDLE_SECONDS if wait is None else wait
            except QueueError as exc:
                self._log_once(logging.ERROR, f"the telemetry queue cannot be used: {exc}")
                wait = self._probe_seconds
            except Exception:
                logger.exception("draining the telemetry queue failed")
                wait = self._probe_seconds
            stop.wait(wait)

    def _send(self, entries: list[Entry]) -> float:
        """Push what was leased; returns how long to wait afterwards."""
        updates = [entry for entry in entries if _is_update(entry)]
        snapshots = [entry for entry in entries if _is_snapshot(entry)]
        for entry in entries:
            if not _is_update(entry) and not _is_snapshot(entry):
                self._mark_dead(entry, "it has neither a job_id nor a node_id")
        wait = self._pace_seconds
        for group, push in (
            (updates, self.client.push_batch),
            (snapshots, self.client.push_snapshots),
        ):
            if group:
                wait, goes_on = self._settle(group, push([entry.payload for entry in group]))
                if not goes_on:
                    self.queue.release_all([entry.id for entry in entries])  # those still leased
                    return wait
        return wait

    def _settle(self, group: list[Entry], result: Result) -> tuple[float, bool]:
        """Handle the result of a group; returns the wait, and whether to push more."""
        if isinstance(result, Accepted):
            self._note_back()
            self._limit = min(self._batch, self._limit * 2)
            self._settle_accepted(group, result)
            return around(self._pace_seconds), True
        if isinstance(result, Refused):
            self._note_back()
            if len(group) == 1:
                self._mark_dead(group[0], f"{result.status}: {result.reason}")
            else:
                self._limit = len(group) // 2
            return min(SPLIT_SECONDS, self._pace_seconds), False
        return self._settle_unreachable(group, result), False

    def _settle_unreachable(self, group: list[Entry], result: Unreachable) -> float:
        is_too_large = result.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if is_too_large and len(group) > 1:  # for a proxy, which passes smaller ones on
            self._limit = len(group) // 2
            return min(SPLIT_SECONDS, self._pace_seconds)
        self._note_away(result)
        if result.spends_try and len(group) == 1:
            self._mark_failed(group[0], result.reason)
        elif result.spends_try or (result.status in REFUSING and len(group) > 1):
            self._limit = len(group) // 2
        elif result.status in _MAY_BLAME_ENTRY:
            self._after = max(entry.id for entry in group)
        if result.retry_after_seconds is not None:
            return after_retry_after(result.retry_after_seconds)
        # A hub that answers 500 or 403 is there: look for the entries it means at the usual pace.
        is_there = result.is_from_hub and (
            result.spends_try or result.status == HTTPStatus.FORBIDDEN
        )
        return around(self._pace_seconds if is_there else self._probe_seconds)

    def _settle_accepted(self, group: list[Entry], result: Accepted) -> None:
        rejected = {rejection.index: rejection for rejection in result.rejected}
        sent = [entry for index, entry in enumerate(group) if index not in rejected]
        self._acknowledge(sent, result.duplicates)
        self._note_not_applied(group, result)
        goes_on = True
        for index, rejection in rejected.items():
            if rejection.names_fields:
                self._mark_dead(group[index], rejection.reason)
            elif goes_on:
                goes_on = self._push_alone(group[index], rejection)
            else:  # each would wait for a timeout
                self.queue.release(group[index].id)

    def _push_alone(self, entry: Entry, rejection: Rejection) -> bool:
        """Push a rejected entry alone: its status says why. Returns whether the hub answered."""
        is_snapshot = _is_snapshot(entry)
        push = self.client.push_snapshot if is_snapshot else self.client.push
        result = push(entry.payload)
        if isinstance(result, Accepted) and not result.rejected:
            self._acknowledge([entry], result.duplicates)
            self._note_not_applied([entry], result)
        elif isinstance(result, Refused):
            self._mark_dead(entry, f"{result.status}: {result.reason}")
        elif isinstance(result, Accepted) or result.spends_try:
            self._mark_failed(entry, rejection.reason)
        else:
            self.queue.release(entry.id)
            return False
        return True

    def _acknowledge(self, entries: list[Entry], duplicates: int) -> None:
        if not entries:
            return
        self.queue.acknowledge([entry.id for entry in entries])
        self.stats.sent += len(entries)
        self.stats.duplicates += duplicates
        if self._on_sent is not None:
            self._on_sent(entries)

    def _note_not_applied(self, group: list[Entry], result: Accepted) -> None:
        self.stats.not_applied += len(result.not_applied)
        if self._on_not_applied is not None:
            for item in result.not_applied:
                self._on_not_applied(group[item.index], item.reason)

    def _mark_failed(self, entry: Entry, reason: str) -> None:
        self.queue.mark_failed(entry.id, self._max_retries, reason=reason)
        if entry.tries + 1 >= self._max_retries:
            self._note_dead(entry, f"failed {entry.tries + 1} times: {reason}")

    def _mark_dead(self, entry: Entry, reason: str) -> None:
        self.queue.mark_dead(entry.id, reason)
        self._note_dead(entry, reason)

    def _note_dead(self, entry: Entry, reason: str) -> None:
        self.stats.dead += 1
        name = entry.payload.get("job_id") or entry.payload.get("node_id")
        logger.error("telemetry of %s will not be sent any more: %s", name, reason)
        if self._on_dead is not None:
            self._on_dead(entry, reason)

    def _note_away(self, result: Unreachable) -> None:
        self.is_away = True
        self.stats.failed += 1
        self._log_once(logging.WARNING, f"the hub does not accept telemetry now: {result.reason}")
        if self._on_away is not None:
            self._on_away(result)

    def _note_back(self) -> None:
        if self.is_away:
            logger.info("the hub accepts telemetry again")
        self.is_away = False
        self._last_problem = None

    def _log_once(self, level: int, text: str) -> None:
        if text != self._last_problem:
            self._last_problem = text
            logger.log(level, text)


def _is_update(entry: Entry) -> bool:
    return bool(entry.payload.get("job_id"))


def _is_snapshot(entry: Entry) -> bool:
    return bool(entry.payload.get("node_id")) and not _is_update(entry)
