"""Turns what a job's code has stored into updates, when one is due, in a thread of its own.

The job's side of it is `Feed`: plain stores and appends, so that the job never waits.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from telemetry_client.cadence import IMPORTANT, Moment, should_send
from telemetry_client.delivery import Delivery
from telemetry_client.loud import Loud
from telemetry_client.throughput import Throughput, eta_seconds
from telemetry_client.updates import (
    LARGEST_BODY,
    LONGEST_ERROR,
    Body,
    Complain,
    DiskNews,
    DiskProgress,
    Progress,
    Stamps,
    clean_progress,
    clean_text,
    disk_bodies,
    instant,
    percent_of,
    size_of,
    to_body,
)

logger = logging.getLogger("telemetry_client.tracker")

POLLS_AN_INTERVAL = 25  # at the usual five seconds the thread looks five times a second
SHORTEST_POLL_SECONDS = 0.01
MOST_CHANGES = 10_000  # that the job may be ahead of the thread
LARGEST_LOSS = 2**31 - 1  # the hub's bound of lost_updates
_ROOM_FOR_LISTS = len(',"disks":[],"lost_updates":2147483647')

Source = Callable[[], Progress | None]  # None: as before
# bytes, total, speed, eta, percent: as the job's code gave them, unchecked
Numbers = tuple[Any, Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state as it happened: what, and the numbers then.

    `kind`: start, phase, error, end (`status` says which), or seen, which changes nothing and sets
    `event` once everything before it is safe.
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
    """An event that is over once it was waited for. A signal's handler may set it at any time:
    one that interrupts `Event.set` and calls it again waits for ever.
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
    """What the job's threads store and the capturing thread reads. No locks: single stores only."""

    __slots__ = (
        "changes",
        "disks",
        "dropped",
        "error",
        "numbers",
        "phase",
        "source",
        "total",
        "wake",
    )

    def __init__(self, total: Any, source: Source | None) -> None:
        self.numbers: Numbers = (None, None, None, None, None)
        self.total = total  # where the numbers name none
        self.phase: Any = None
        self.error: Any = None
        self.disks: dict[int, DiskProgress] = {}
        self.changes: deque[Change] = deque()
        self.dropped = 0  # changes of state that came faster than they can be written
        self.source = source
        self.wake = Wake()


@dataclass(frozen=True, slots=True)
class Job:
    """Whose updates they are, and how often."""

    job_id: str
    job_type: str
    identity: dict[str, str | None]
    interval_seconds: float
    percent_step: float


class Capture:
    """Captures until the job's end, or until it is told to stop."""

    def __init__(self, job: Job, feed: Feed, delivery: Delivery) -> None:
        self._job = job
        self._feed = feed
        self._delivery = delivery
        self._loud = Loud(logger)
        self._stamps = Stamps()
        self._news = DiskNews()
        self._speed = Throughput()
        self._last: Moment | None = None
        self._phase: Any = None  # the last one that was captured
        self._source_phase: Any = None
        self._sourced = Progress()  # the source's last answer
        self._dropped_told = 0
        self._is_due = False  # whatever the cadence says
        self._forgets_disks = False
        self._stops = False
        self._in_hand: Change | None = None
        self._is_asking = False  # the source has the thread
        self._is_left = False
        self._poll_seconds = max(job.interval_seconds / POLLS_AN_INTERVAL, SHORTEST_POLL_SECONDS)
        self._thread = threading.Thread(
            target=self._run, name=f"telemetry-capture-{job.job_id}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def capture_now(self) -> None:
        """The hub is back: it wants to know how things are, not how they were."""
        self._is_due = True
        self._feed.wake.set()

    def tell_disks_again(self) -> None:
        """An update that told of disks did not arrive."""
        self._forgets_disks = True

    def stop(self, timeout_seconds: float) -> None:
        """No end: put what is pending into the spool, and wait for that."""
        self._stops = True
        self._feed.wake.set()
        # The tracker may have been dropped by this very thread: its source was the last to hold it.
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_seconds)

    def leave_rest(self, timeout_seconds: float) -> None:
        """The time for the end is up: wait a moment for what the thread has not come to yet. If the
        job's source holds it, that goes to the spool as it is known without the source. For the
        job's thread.
        """
        if not self._is_asking:
            self._thread.join(timeout_seconds)
        if not self._is_asking:
            return
        self._is_left = self._stops = True
        rest = [self._in_hand, *(self._feed.changes.popleft() for _ in tuple(self._feed.changes))]
        for change in rest:
            if change is not None and change.event is None:
                done, total, speed, eta, percent = change.numbers
                phase = clean_text(change.phase, "phase")
                error = clean_text(change.error, "error", longest=LONGEST_ERROR)
                known = Progress(done, total, speed, eta, phase, percent=percent, error=error)
                self._delivery.leave(self._body(known, change))

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        self._delivery.start()
        while True:
            try:
                if self._turn():
                    return
            except Exception:
                self._log_failure()
            if not self._stops:
                self._feed.wake.wait(self._poll_seconds)

    def _turn(self) -> bool:
        """Capture what is due; whether this was the last time."""
        changes = self._feed.changes
        while changes:
            self._in_hand = changes.popleft()
            if self._take_somehow(self._in_hand):
                return True
            self._in_hand = None
        if self._stops:
            self._delivery.give_up()
            return True
        self._look()
        return False

    def _take_somehow(self, change: Change) -> bool:
        """`_take`; and where that fails, an end at least says that it is one."""
        try:
            return self._take(change)
        except Exception:
            self._log_failure()
        if change.kind != "end":
            return False
        self._delivery.finish(self._body(Progress(), change), change.deadline_seconds)
        return True

    def _take(self, change: Change) -> bool:
        """A change of state that the job told; whether it is the end."""
        if change.event is not None:
            change.event.set()
            return False
        progress = self._progress(change.numbers)
        if self._is_left:
            return True
        if phase := clean_text(change.phase, "phase", self._complain):
            self._phase = phase
        error = clean_text(change.error, "error", self._complain, LONGEST_ERROR)
        progress = replace(progress, phase=self._phase, error=error)
        body = self._body(progress, change)
        self._log_due(change.kind)
        if change.kind == "end":
            self._add_all_disks(body, progress)
            self._delivery.finish(self._with_losses(body), change.deadline_seconds)
            return True
        self._deliver(body, progress)
        now = self._moment(progress)
        # An error that was told here is not one of the source.
        self._last = replace(now, error=self._last.error if self._last else None)
        return False

    def _look(self) -> None:
        """Whether the state as it is now is worth an update."""
        progress = self._progress(self._feed.numbers)
        if self._is_left:
            return
        now = self._moment(progress)
        why = should_send(
            self._last,
            now,
            interval_seconds=self._job.interval_seconds,
            percent_step=self._job.percent_step,
        )
        if why is None and not self._is_due:
            return
        self._is_due = False
        self._log_due(why or "the hub is back")
        if why in IMPORTANT:
            self._deliver(self._body(progress), progress)
        else:
            body = self._body(replace(progress, error=None))  # an error is told when it occurs
            self._add_disks(body, progress)
            self._delivery.offer(self._with_losses(body))
        self._last = now

    def _deliver(self, body: Body, progress: Progress) -> None:
        self._add_all_disks(body, progress)
        self._delivery.deliver(self._with_losses(body))

    def _log_failure(self) -> None:
        self._loud.say(
            "capture",
            "FAILED to capture a telemetry update: job_id=%s",
            self._job.job_id,
            trace=True,
        )

    def _log_due(self, why: str) -> None:
        logger.debug("telemetry update is due: job_id=%s why=%s", self._job.job_id, why)

    def _moment(self, progress: Progress) -> Moment:
        percent = percent_of(progress.bytes_transferred, progress.total_bytes)
        last_error = self._last.error if self._last else None
        return Moment(
            time.monotonic(),
            progress.percent if percent is None else percent,
            phase=progress.phase,
            error=progress.error or last_error,
            disk_statuses={disk.disk_index: (disk.status, disk.error) for disk in progress.disks},
        )

    # -- progress -----------------------------------------------------------------------------

    def _progress(self, numbers: Numbers) -> Progress:
        """What is known, from the source if there is one; clean, with a speed if one can be had."""
        feed = self._feed
        if feed.source is not None:
            told = self._ask(feed.source)
        else:
            done, total, speed, eta, percent = numbers
            told = Progress(done, total, speed, eta, percent=percent)
        if told.total_bytes is None:
            told = replace(told, total_bytes=feed.total)
        disks = {disk.disk_index: disk for disk in (*told.disks, *feed.disks.copy().values())}
        progress = replace(clean_progress(told, self._complain), disks=tuple(disks.values()))
        if progress.phase is not None and progress.phase != self._source_phase:
            self._source_phase = self._phase = progress.phase
        return self._with_speed(replace(_summed(progress), phase=self._phase))

    def _ask(self, source: Source) -> Progress:
        self._is_asking = True
        try:
            told = source()
            if isinstance(told, Progress):
                self._sourced = told
            elif told is not None:
                raise TypeError(f"it gave a {type(told).__name__}")
        except Exception as exc:
            self._loud.say(
                "source",
                "The source of a job's progress fails: job_id=%s reason=%s: %s",
                self._job.job_id,
                type(exc).__name__,
                exc,
            )
        finally:
            self._is_asking = False
        return self._sourced

    def _with_speed(self, progress: Progress) -> Progress:
        done = progress.bytes_transferred
        if done is None:
            return progress
        self._speed.sample(time.monotonic(), done)
        speed = self._speed.bps if progress.speed_bps is None else progress.speed_bps
        eta = progress.eta_seconds
        if eta is None:
            eta = eta_seconds(done, progress.total_bytes, speed)
        return replace(progress, speed_bps=speed, eta_seconds=eta)

    @property
    def _complain(self) -> Complain:
        return lambda name, sentence: self._loud.once(
            name, "A telemetry value is bad: job_id=%s %s", self._job.job_id, sentence
        )

    # -- bodies -------------------------------------------------------------------------------

    def _body(self, progress: Progress, change: Change | None = None) -> Body:
        """An update without its disks; an ordinary one where there is no change of state."""
        is_start = change is not None and change.kind == "start"
        return to_body(
            progress,
            job_id=self._job.job_id,
            job_type=self._job.job_type,
            status=change.status if change else "running",
            timestamp=self._stamps.take(change.at if change else None),
            identity=self._job.identity if is_start else None,
            disks=[],
        )

    def _add_disks(self, body: Body, progress: Progress) -> int:
        """As much news of the disks as there is room for; how many disks must wait."""
        if self._forgets_disks:
            self._forgets_disks = False
            self._news.forget()
        room = LARGEST_BODY - size_of(body) - _ROOM_FOR_LISTS
        disks, waiting = self._news.take(disk_bodies(progress.disks, self._complain), room)
        if disks:
            body["disks"] = disks
        return waiting

    def _add_all_disks(self, body: Body, progress: Progress) -> None:
        """All news of the disks: what has no room in this update goes ahead of it."""
        while self._add_disks(body, progress):
            ahead = self._body(Progress())
            # The stamps change places: what goes ahead is older.
            ahead["timestamp"], body["timestamp"] = body["timestamp"], ahead["timestamp"]
            ahead["disks"] = body.pop("disks")
            self._delivery.deliver(ahead)

    def _with_losses(self, body: Body) -> Body:
        dropped = self._feed.dropped
        losses = self._delivery.take_losses(dropped - self._dropped_told)
        self._dropped_told = dropped
        if losses:
            body["lost_updates"] = min(losses, LARGEST_LOSS)
            self._forgets_disks = True  # some of them told of disks
        return body


def _summed(progress: Progress) -> Progress:
    """With the disks' sums where the job itself names no bytes."""
    disks = disk_bodies(progress.disks)
    done = [disk["bytes_transferred"] for disk in disks if "bytes_transferred" in disk]
    if progress.bytes_transferred is not None or not done:
        return progress
    totals = [disk["total_bytes"] for disk in disks if "total_bytes" in disk]
    total = progress.total_bytes
    if total is None and len(totals) == len(disks):
        total = sum(totals)
    return replace(progress, bytes_transferred=sum(done), total_bytes=total)
