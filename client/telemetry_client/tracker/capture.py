"""Turns what a job has stored into updates when one is due, in a thread of its own."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import replace

from telemetry_client.log_limit import LimitedLog
from telemetry_client.progress import Progress, percent_of
from telemetry_client.tracker.cadence import IMPORTANT, Moment, should_send
from telemetry_client.tracker.delivery import Delivery
from telemetry_client.tracker.disk_changes import DiskChanges
from telemetry_client.tracker.feed import Change, Feed
from telemetry_client.tracker.job import Job
from telemetry_client.tracker.sampler import Sampler, progress_of
from telemetry_client.wire.body import LARGEST_BODY, Body, disk_bodies, size_of, to_body
from telemetry_client.wire.cleaning import clean_error, clean_progress, clean_text
from telemetry_client.wire.timestamps import Stamps

logger = logging.getLogger("telemetry_client.tracker")

POLLS_PER_INTERVAL = 25  # with the usual five seconds, five times a second
SHORTEST_POLL_SECONDS = 0.01
LARGEST_LOSS = 2**31 - 1  # the hub's limit of lost_updates
LONGEST_INTERVAL = 86_400  # the hub's limit of interval_seconds
_ROOM_FOR_LISTS = len(',"disks":[],"lost_updates":2147483647')


class Capture:
    """Captures until the job ends, or until it is stopped."""

    def __init__(self, job: Job, feed: Feed, delivery: Delivery) -> None:
        self._job = job
        self._feed = feed
        self._delivery = delivery
        self._log = LimitedLog(logger)
        self._sampler = Sampler(job.job_id, feed, self._log, job.interval_seconds)
        self._stamps = Stamps()
        self._disk_changes = DiskChanges()
        self._last: Moment | None = None
        self._dropped_reported = 0
        self._is_due = False  # whatever the cadence says
        self._resends_disks = False
        self._is_stopping = False
        self._current: Change | None = None
        self._is_abandoned = False  # the job's thread has captured what was left
        self._poll_seconds = max(job.interval_seconds / POLLS_PER_INTERVAL, SHORTEST_POLL_SECONDS)
        self._thread = threading.Thread(
            target=self._run, name=f"telemetry-capture-{job.job_id}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def capture_now(self) -> None:
        """Capture the current state: the hub is back."""
        self._is_due = True
        self._feed.wake.set()

    def resend_disks(self) -> None:
        """Send the disks again: an update with disks did not arrive."""
        self._resends_disks = True

    def stop(self, timeout_seconds: float) -> None:
        """Stop without an end of the job, after everything pending is in the spool."""
        self._is_stopping = True
        self._feed.wake.set()
        # This thread may have dropped the tracker itself: its source held the last reference.
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_seconds)

    def spool_rest(self, timeout_seconds: float) -> None:
        """Wait a moment for what is not captured yet. If the job's source blocks the thread, put it
        into the spool as far as it is known without the source. For the job's thread.
        """
        if not self._sampler.is_asking:
            self._thread.join(timeout_seconds)
        if not self._sampler.is_asking:
            return
        self._is_abandoned = self._is_stopping = True
        rest = [self._current, *(self._feed.changes.popleft() for _ in tuple(self._feed.changes))]
        for change in rest:
            if change is not None and change.event is None:
                known = replace(progress_of(change.numbers), phase=change.phase, error=change.error)
                self._delivery.spool(self._body(clean_progress(known), change))

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        self._delivery.start()
        while True:
            try:
                if self._turn():
                    return
            except Exception:
                self._log_failure()
            if not self._is_stopping:
                self._feed.wake.wait(self._poll_seconds)

    def _turn(self) -> bool:
        """Capture what is due; returns whether this was the last time."""
        changes = self._feed.changes
        while changes:
            self._current = changes.popleft()
            if self._capture_or_log(self._current):
                return True
            self._current = None
        if self._is_stopping:
            self._delivery.give_up()
            return True
        self._capture_if_due()
        return False

    def _capture_or_log(self, change: Change) -> bool:
        """`_capture_change`; if that fails, an end is sent without its details."""
        try:
            return self._capture_change(change)
        except Exception:
            self._log_failure()
        if change.kind != "end":
            return False
        self._delivery.finish(self._body(Progress(), change), change.deadline_seconds)
        return True

    def _capture_change(self, change: Change) -> bool:
        """Capture a change of state that the job reported; returns whether it is the end."""
        if change.event is not None:
            change.event.set()
            return False
        progress = self._sampler.sample(change.numbers)
        if self._is_abandoned:
            return True
        if phase := clean_text(change.phase, "phase", self._sampler.warn):
            self._sampler.phase = phase
        error = clean_error(change.error, "error", self._sampler.warn)
        progress = replace(progress, phase=self._sampler.phase, error=error)
        body = self._body(progress, change)
        self._log_due(change.kind)
        if change.kind == "end":
            self._add_all_disks(body, progress)
            self._delivery.finish(self._with_losses(body), change.deadline_seconds)
            return True
        self._deliver(body, progress)
        # This error is not one of the source, whose errors are compared with the last one.
        last_error = self._last.error if self._last else None
        self._last = replace(self._moment(progress), error=last_error)
        return False

    def _capture_if_due(self) -> None:
        """Capture the current state if the cadence asks for it."""
        progress = self._sampler.sample(self._feed.numbers)
        if self._is_abandoned:
            return
        now = self._moment(progress)
        reason = should_send(
            self._last,
            now,
            interval_seconds=self._job.interval_seconds,
            percent_step=self._job.percent_step,
        )
        if reason is None and not self._is_due:
            return
        self._is_due = False
        self._log_due(reason or "the hub is back")
        if reason in IMPORTANT:
            self._deliver(self._body(progress), progress)
        else:
            body = self._body(replace(progress, error=None))  # an error is sent when it occurs
            self._add_disks(body, progress)
            self._delivery.offer(self._with_losses(body))
        self._last = now

    def _deliver(self, body: Body, progress: Progress) -> None:
        self._add_all_disks(body, progress)
        self._delivery.deliver(self._with_losses(body))

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

    def _log_failure(self) -> None:
        self._log.log(
            "capture",
            "FAILED to capture a telemetry update: job_id=%s",
            self._job.job_id,
            trace=True,
        )

    def _log_due(self, reason: str) -> None:
        logger.debug("telemetry update is due: job_id=%s why=%s", self._job.job_id, reason)

    # -- bodies -------------------------------------------------------------------------------

    def _body(self, progress: Progress, change: Change | None = None) -> Body:
        """An update without its disks; an ordinary one if there is no change of state."""
        is_start = change is not None and change.kind == "start"
        body = to_body(
            progress,
            job_id=self._job.job_id,
            job_type=self._job.job_type,
            status=change.status if change else "running",
            timestamp=self._stamps.take(change.at if change else None),
            identity=self._job.identity if is_start else None,
            disks=[],
        )
        if is_start:
            seconds = min(math.ceil(self._job.interval_seconds), LONGEST_INTERVAL)
            body["interval_seconds"] = seconds  # the hub waits for three of them
        if self._feed.is_dry_run:
            body["dry_run"] = True
        if is_start and not self._job.resumes:
            body["new_run"] = True
        return body

    def _add_disks(self, body: Body, progress: Progress) -> int:
        """Add as many changes of disks as there is room for; returns how many disks must wait."""
        if self._resends_disks:
            self._resends_disks = False
            self._disk_changes.resend()
        room = LARGEST_BODY - size_of(body) - _ROOM_FOR_LISTS
        disks, waiting = self._disk_changes.take(disk_bodies(progress.disks), room)
        if disks:
            body["disks"] = disks
        return waiting

    def _add_all_disks(self, body: Body, progress: Progress) -> None:
        """Add all changes of disks: what has no room in this update goes ahead in others."""
        while self._add_disks(body, progress):
            ahead = self._body(Progress())
            # The timestamps change places: what goes ahead is older.
            ahead["timestamp"], body["timestamp"] = body["timestamp"], ahead["timestamp"]
            ahead["disks"] = body.pop("disks")
            if "new_run" in body:
                ahead["new_run"] = body.pop("new_run")
            self._delivery.deliver(ahead)

    def _with_losses(self, body: Body) -> Body:
        dropped = self._feed.dropped
        losses = self._delivery.take_losses(dropped - self._dropped_reported)
        self._dropped_reported = dropped
        if losses:
            body["lost_updates"] = min(losses, LARGEST_LOSS)
            self._resends_disks = True  # some of them contained disks
        return body
