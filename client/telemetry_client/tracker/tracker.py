"""What a job's code calls to report its progress. A call costs microseconds and raises nothing."""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Union

from telemetry_client.log_limit import LimitedLog
from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.queue.file_queue import TelemetryQueue
from telemetry_client.queue.protocol import Queue
from telemetry_client.queue.spool import Spool
from telemetry_client.settings import default_spool
from telemetry_client.tracker import current
from telemetry_client.tracker.cadence import INTERVAL_SECONDS, PERCENT_STEP
from telemetry_client.tracker.capture import Capture
from telemetry_client.tracker.delivery import Delivery
from telemetry_client.tracker.feed import Change, Feed, Source
from telemetry_client.tracker.job import Job, job_of
from telemetry_client.tracker.outcomes import Counters
from telemetry_client.tracker.signals import EXIT_STATUSES
from telemetry_client.wire.cleaning import clean_disk_index
from telemetry_client.wire.client import TelemetryClient

logger = logging.getLogger("telemetry_client.tracker")

END_DEADLINE_SECONDS = 10.0
EXIT_SECONDS = 1.0  # for what is pending when the process exits
FLUSH_SECONDS = 5.0

SpoolPlace = Union[str, "os.PathLike[str]", Queue, Literal[False], None]


@dataclass(frozen=True)
class TrackerStats:
    """What became of a tracker's updates. `failed` counts requests that did not get through.

    `spooled`: had to wait in the spool; `lost`: dropped because the spool was full, as far as the
    tracker knows (the spool reports most of them to the hub, with a later update); `dead`: refused
    by the hub and kept as dead letters.
    """

    captured: int = 0
    sent: int = 0
    failed: int = 0
    spooled: int = 0
    lost: int = 0
    dead: int = 0


class ProgressTracker:
    """Reports the progress of a job to the hub. Thread-safe. As a context manager it also ends the
    job: completed, failed with the exception's message, or cancelled by Ctrl-C. `async with` does
    so without blocking the event loop.

    Without a job id, as an argument or in MIGRATEKIT_JOB_ID, it does nothing. `spool`: a path, a
    queue, None for the default place, False for none. `source` is called for the progress when an
    update is due, as an alternative to `update_progress`. A tracker that is deleted without an end
    stops sending. In a forked child, its calls do nothing.

    A tracker begins a run of the job, even if its id was used before. `resume`: another process has
    begun the run, and this tracker continues it.
    """

    def __init__(
        self,
        job_id: str | None = None,
        job_type: str | None = None,
        *,
        client: TelemetryClient | None = None,
        spool: SpoolPlace = None,
        vm_name: str | None = None,
        repository_id: str | None = None,
        backup_type: str | None = None,
        total_bytes: int | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        percent_step: float = PERCENT_STEP,
        end_deadline_seconds: float = END_DEADLINE_SECONDS,
        source: Source | None = None,
        phase: str | None = None,
        resume: bool = False,
    ) -> None:
        self.job_id: str | None = None
        self.job_type: str | None = None
        self._feed = Feed(total_bytes, source)
        self._log = LimitedLog(logger)
        self._pid = os.getpid()
        self._is_over = True  # before everything runs, and after the end
        self._first_end = threading.Lock()  # acquired by the first end, and never released
        self._delivery: Delivery | None = None
        self._capture: Capture | None = None
        self._entered: current.Entered | None = None
        self._end_deadline_seconds = end_deadline_seconds
        identity = {"vm_name": vm_name, "repository_id": repository_id, "backup_type": backup_type}
        try:
            job = job_of(
                job_id, job_type, identity, interval_seconds, percent_step, resumes=bool(resume)
            )
            if job is not None:
                self._start(job, client, spool, phase)
        except Exception:
            logger.exception("No telemetry: the tracker could not be started")

    @classmethod
    def from_env(cls, **options: Any) -> ProgressTracker:
        """A tracker of the job in MIGRATEKIT_JOB_ID; without one it does nothing.

        It resumes the run that the process which set the variable has begun, perhaps beside other
        trackers; `resume=False` begins one.
        """
        return cls(**{"resume": True, **options})

    def _start(
        self, job: Job, client: TelemetryClient | None, spool: SpoolPlace, phase: Any
    ) -> None:
        feed = self._feed
        if isinstance(spool, (str, os.PathLike)):  # opened later, in any working directory
            spool = os.path.abspath(spool)
        capture: Capture
        delivery = Delivery(
            job.job_id,
            (lambda: TelemetryClient()) if client is None else (lambda: client),
            Spool(
                job.job_id,
                lambda: _open_queue(spool),
                owns_queue=spool is None or isinstance(spool, str),
            ),
            owns_client=client is None,
            on_back=lambda: capture.capture_now(),
            on_dead=lambda: capture.resend_disks(),
        )
        capture = Capture(job, feed, delivery)
        feed.phase = phase
        feed.changes.append(Change("start", feed.numbers, phase=phase))
        capture.start()
        self.job_id, self.job_type = job.job_id, job.job_type
        self._delivery, self._capture = delivery, capture
        self._is_over = False
        # The threads have no reference to the tracker, so that it can be deleted. When the process
        # exits they get time to put everything on disk.
        weakref.finalize(self, _stop, capture, self._pid)
        logger.info(
            "SHA telemetry tracker initialized: job_id=%s job_type=%s", job.job_id, job.job_type
        )

    # -- progress -----------------------------------------------------------------------------

    def update_progress(
        self,
        bytes_transferred: int,
        total_bytes: int | None = None,
        speed_bps: int | None = None,
        eta_seconds: int | None = None,
        phase: str | None = None,
    ) -> None:
        """Store how far the job is. May be called often; `speed_bps` is BYTES per second.

        Without a speed it is measured, and without a time left it is computed. A total stays once
        it was given.
        """
        feed = self._feed
        if total_bytes is not None:
            feed.total = total_bytes
        feed.numbers = (bytes_transferred, total_bytes, speed_bps, eta_seconds, None)
        if phase is not None and phase is not feed.phase:
            self.set_phase(phase)

    def report(self, progress: Progress) -> None:
        """Store a whole progress with its disks. A new phase or error is sent at once."""
        try:
            feed = self._feed
            if progress.total_bytes is not None:
                feed.total = progress.total_bytes
            feed.numbers = (
                progress.bytes_transferred,
                progress.total_bytes,
                progress.speed_bps,
                progress.eta_seconds,
                progress.percent,
            )
            for disk in progress.disks:
                self._store_disk(disk)
            if progress.phase is not None:
                self.set_phase(progress.phase)
            if progress.error is not None:
                self.report_error(progress.error)
        except Exception:
            self._log_failure("store a progress report")

    def set_phase(self, phase: str) -> None:
        """The job enters a phase, such as snapshot, transferring or finalizing; sent at once."""
        try:
            if phase and phase != self._feed.phase:
                self._feed.phase = phase
                self._add(Change("phase", self._feed.numbers, phase=phase))
        except Exception:
            self._log_failure("store a phase")

    def mark_dry_run(self) -> None:
        """The job writes nothing, and only shows what it would do. Part of every later update."""
        self._feed.is_dry_run = True

    def report_error(self, message: object) -> None:
        """An error that does not end the job; sent at once, the same one only once in a row."""
        try:
            if message != self._feed.error:
                self._feed.error = message
                self._add(Change("error", self._feed.numbers, error=message))
        except Exception:
            self._log_failure("store an error")

    def update_disk(
        self,
        index: int,
        bytes_transferred: int | None = None,
        total_bytes: int | None = None,
        *,
        speed_bps: int | None = None,
        status: str | None = None,
        error: str | None = None,
        percent: float | None = None,
    ) -> None:
        """Store how far one disk is; None leaves a value unchanged. A new status is sent at once.

        `status`: pending, transferring, completed or failed.
        """
        try:
            self._store_disk(
                DiskProgress(
                    index, bytes_transferred, total_bytes, speed_bps, status, error, percent
                )
            )
        except Exception:
            self._log_failure("store the progress of a disk")

    def _store_disk(self, changes: DiskProgress) -> None:
        index = clean_disk_index(
            changes.disk_index, lambda _, sentence: logger.warning("%s", sentence)
        )
        if index is None:
            return
        before = self._feed.disks.get(index, DiskProgress(index))
        known = {name: value for name, value in vars(changes).items() if value is not None}
        disk = replace(before, **{**known, "disk_index": index})
        self._feed.disks[index] = disk
        if (disk.status, disk.error) != (before.status, before.error):
            self.look_now()

    def _add(self, change: Change) -> None:
        if not self._is_over and os.getpid() == self._pid:
            self._feed.add(change)

    def _log_failure(self, what: str) -> None:
        self._log.log(what, f"FAILED to {what}: job_id=%s", self.job_id, trace=True)

    def use_source(self, source: Source) -> None:
        """Call this for the progress from now on, whenever an update is due."""
        self._feed.source = source

    def look_now(self) -> None:
        """Check now whether an update is due: the source has changed."""
        if not self._is_over and os.getpid() == self._pid:
            self._feed.wake.set()

    # -- the end ------------------------------------------------------------------------------

    def complete(self) -> None:
        """End the job: it has done all of its work."""
        self._finish("completed", None)

    def fail(self, error: object) -> None:
        """End the job: it has failed, with this error."""
        self._finish("failed", error)

    def cancel(self, reason: object = None) -> None:
        """End the job: it was stopped on purpose."""
        self._finish("cancelled", reason)

    def _finish(self, status: str, error: object) -> None:
        """Only the first end counts. Waits until the hub has it, and what the spool holds, at most
        until the deadline. If the hub cannot be reached, waits until it is on disk.
        """
        try:
            capture, delivery = self._capture, self._delivery
            seconds = self._deadline_seconds()
            if capture is None or delivery is None or os.getpid() != self._pid:
                return
            if not self._first_end.acquire(blocking=False):
                return
            self._feed.changes.append(
                Change(
                    "end", self._feed.numbers, error=error, status=status, deadline_seconds=seconds
                )
            )
            self._is_over = True
            self._feed.wake.set()
            if delivery.wait_for_end(seconds):
                capture.spool_rest(EXIT_SECONDS)
                delivery.give_up()
            if not delivery.is_delivered:
                logger.error(
                    "FAILED to send telemetry update, the end of the job is not in the hub yet: "
                    "job_id=%s",
                    self.job_id,
                )
        except Exception:
            self._log_failure("send the end of a job")

    def _deadline_seconds(self) -> float:
        """A number that can be waited for, whatever was given."""
        try:
            seconds = float(self._end_deadline_seconds)
        except Exception:
            return END_DEADLINE_SECONDS
        return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), threading.TIMEOUT_MAX)

    def close(self) -> None:
        """Stop sending, without an end of the job. What the hub does not have is in the spool."""
        if self._capture is not None and self._delivery is not None and os.getpid() == self._pid:
            self._first_end.acquire(blocking=False)  # an end that comes now is not sent
            self._is_over = True
            self._capture.stop(EXIT_SECONDS)
            self._delivery.give_up()

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until every change of state is on disk or in the hub; returns whether it is."""
        event = threading.Event()
        if self._is_over or self._delivery is None or os.getpid() != self._pid:
            return False
        self._feed.changes.append(Change("flush", self._feed.numbers, event=event))
        self._feed.wake.set()
        return event.wait(timeout_seconds)

    def end_with(self, exc: BaseException | None) -> None:
        """End the job as a block that was left with this exception; None: at its end."""
        code = exc.code if isinstance(exc, SystemExit) else None
        if exc is None or (isinstance(exc, SystemExit) and not code):
            self.complete()
        elif isinstance(code, int) and code in EXIT_STATUSES:
            self.cancel(EXIT_STATUSES[code])
        elif isinstance(exc, SystemExit):
            self.fail(code if isinstance(code, str) else f"exit status {code}")
        elif isinstance(exc, Exception):
            self.fail(_message_of(exc))
        else:  # KeyboardInterrupt, a cancelled coroutine
            self.cancel(type(exc).__name__)

    def __enter__(self) -> ProgressTracker:
        self._entered = current.enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        current.leave(self._entered)
        self.end_with(exc)

    async def __aenter__(self) -> ProgressTracker:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The end waits for the hub in a thread: other tasks of the event loop go on."""
        import asyncio  # here, so that programs without it do not load it

        current.leave(self._entered)
        await asyncio.get_running_loop().run_in_executor(None, self.end_with, exc)

    # -- the outcome --------------------------------------------------------------------------

    @property
    def stats(self) -> TrackerStats:
        counters = Counters() if self._delivery is None else self._delivery.outcomes.counters
        return TrackerStats(**vars(counters))

    @property
    def is_delivered(self) -> bool:
        """Whether the hub has the end of the job."""
        return self._delivery is not None and self._delivery.is_delivered

    @property
    def is_active(self) -> bool:
        """Whether there is a job to track that has not ended."""
        return not self._is_over


def _stop(capture: Capture, pid: int) -> None:
    if os.getpid() == pid:
        capture.stop(EXIT_SECONDS)


def _open_queue(place: SpoolPlace) -> Queue | None:
    if place is False:
        return None
    if place is None or isinstance(place, (str, os.PathLike)):
        return TelemetryQueue(default_spool() if place is None else place)
    return place


def _message_of(exc: BaseException) -> str:
    """The message of an exception, or its class if it has none."""
    try:
        return str(exc) or type(exc).__name__
    except Exception:
        return type(exc).__name__
