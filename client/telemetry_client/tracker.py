"""The tracker of one job: what the job's code calls. It costs microseconds and raises nothing."""

from __future__ import annotations

import logging
import math
import os
import threading
import weakref
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

from telemetry_client.cadence import INTERVAL_SECONDS, PERCENT_STEP
from telemetry_client.capture import MOST_CHANGES, Capture, Change, Feed, Job, Source
from telemetry_client.client import TelemetryClient
from telemetry_client.delivery import Counters, Delivery
from telemetry_client.loud import Loud
from telemetry_client.queue import TelemetryQueue
from telemetry_client.settings import Settings, default_spool, job_type_of
from telemetry_client.spool import Spool
from telemetry_client.updates import (
    DiskProgress,
    Progress,
    clean_disk_index,
    clean_text,
    job_id_problem,
    job_type_problem,
)

logger = logging.getLogger(__name__)

END_DEADLINE_SECONDS = 10.0
EXIT_SECONDS = 1.0  # for what is pending when the process ends
FLUSH_SECONDS = 5.0

SpoolPlace = str | os.PathLike[str] | TelemetryQueue | Literal[False] | None


@dataclass(frozen=True, slots=True)
class TrackerStats:
    """What became of a tracker's updates. `failed` counts posts that did not get through.

    `spooled`: had to wait in the spool; `lost`: dropped for want of room, as far as the tracker
    knows (of most the spool itself tells the hub, with the update after); `dead`: the hub refuses
    them, they are kept as dead letters.
    """

    captured: int = 0
    sent: int = 0
    failed: int = 0
    spooled: int = 0
    lost: int = 0
    dead: int = 0


class ProgressTracker:
    """Tells the hub how a job gets on. Thread-safe; as a context manager it ends the job as well:
    completed, failed with the exception's message, or cancelled by Ctrl-C.

    Without a job id, given or in MIGRATEKIT_JOB_ID, it does nothing at all. `spool`: a path, a
    queue, None for the default place, False for none. `source` is asked for the progress when an
    update is due, instead of being told by `update_progress`. A tracker that is dropped without an
    end stops; so does its copy in a forked child, whose calls do nothing.
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
    ) -> None:
        self.job_id: str | None = None
        self.job_type: str | None = None
        self._feed = Feed(total_bytes, source)
        self._loud = Loud(logger)
        self._pid = os.getpid()
        self._is_over = True  # until everything runs; then until the end
        self._first_end = threading.Lock()  # taken by the first end, for good
        self._delivery: Delivery | None = None
        self._capture: Capture | None = None
        self._end_deadline_seconds = end_deadline_seconds
        identity = {"vm_name": vm_name, "repository_id": repository_id, "backup_type": backup_type}
        try:
            job = _job_of(job_id, job_type, identity, interval_seconds, percent_step)
            if job is not None:
                self._start(job, client, spool, phase)
        except Exception:
            logger.exception("No telemetry: the tracker could not be set up")

    @classmethod
    def from_env(cls, **options: Any) -> ProgressTracker:
        """The tracker of the job that MIGRATEKIT_JOB_ID names; without it one that does nothing."""
        return cls(**options)

    def _start(
        self, job: Job, client: TelemetryClient | None, spool: SpoolPlace, phase: Any
    ) -> None:
        feed = self._feed
        if isinstance(spool, str | os.PathLike):  # opened later, and not wherever we are then
            spool = os.path.abspath(spool)
        capture: Capture
        delivery = Delivery(
            job.job_id,
            (lambda: TelemetryClient()) if client is None else (lambda: client),
            Spool(
                job.job_id,
                lambda: _open_queue(spool),
                owns_queue=not isinstance(spool, TelemetryQueue),
            ),
            owns_client=client is None,
            on_back=lambda: capture.capture_now(),
            on_dead=lambda: capture.tell_disks_again(),
        )
        capture = Capture(job, feed, delivery)
        feed.phase = phase
        feed.changes.append(Change("start", feed.numbers, phase=phase))
        capture.start()
        self.job_id, self.job_type = job.job_id, job.job_type
        self._delivery, self._capture = delivery, capture
        self._is_over = False
        # The threads know nothing of the tracker, so that it can be dropped; and they are given
        # the time to put everything on disk when the process ends.
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
        """Store how far the job is. Call it as often as you like; `speed_bps` is BYTES per second.

        Without a speed it is measured, and without a time left that is computed. A total that was
        given once stays.
        """
        feed = self._feed
        if total_bytes is not None:
            feed.total = total_bytes
        feed.numbers = (bytes_transferred, total_bytes, speed_bps, eta_seconds, None)
        if phase is not None and phase is not feed.phase:
            self.set_phase(phase)

    def report(self, progress: Progress) -> None:
        """Store a whole progress, disks and all. A new phase or error is told at once."""
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
            self._failed("take a progress report")

    def set_phase(self, phase: str) -> None:
        """The job enters a phase, such as snapshot, transferring, finalizing; told at once."""
        try:
            if phase and phase != self._feed.phase:
                self._feed.phase = phase
                self._tell(Change("phase", self._feed.numbers, phase=phase))
        except Exception:
            self._failed("take a phase")

    def report_error(self, message: object) -> None:
        """Something went wrong that does not end the job; told at once, the same one only once."""
        try:
            if message != self._feed.error:
                self._feed.error = message
                self._tell(Change("error", self._feed.numbers, error=message))
        except Exception:
            self._failed("take an error")

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
        """Store how far one disk is; what is None stays as it was. A new status is told at once.

        `status`: pending, transferring, completed or failed.
        """
        try:
            self._store_disk(
                DiskProgress(
                    index, bytes_transferred, total_bytes, speed_bps, status, error, percent
                )
            )
        except Exception:
            self._failed("take a disk's progress")

    def _store_disk(self, said: DiskProgress) -> None:
        index = clean_disk_index(said.disk_index, lambda _, why: logger.warning("%s", why))
        if index is None:
            return
        before = self._feed.disks.get(index, DiskProgress(index))
        disk = DiskProgress(
            index,
            *(
                getattr(before, name) if getattr(said, name) is None else getattr(said, name)
                for name in DiskProgress.__slots__[1:]
            ),
        )
        self._feed.disks[index] = disk
        if (disk.status, disk.error) != (before.status, before.error):
            self.look_now()

    def _tell(self, change: Change) -> None:
        if self._is_over or os.getpid() != self._pid:
            return
        if len(self._feed.changes) < MOST_CHANGES:
            self._feed.changes.append(change)
        else:
            self._feed.dropped += 1
        self._feed.wake.set()

    def _failed(self, what: str) -> None:
        """Say what raised, but not as often as the job calls."""
        self._loud.say(what, f"FAILED to {what}: job_id=%s", self.job_id, trace=True)

    def use_source(self, source: Source) -> None:
        """Ask this for the progress from now on, whenever an update is due."""
        self._feed.source = source

    def look_now(self) -> None:
        """Something has changed that the source tells of."""
        if not self._is_over and os.getpid() == self._pid:
            self._feed.wake.set()

    # -- the end ------------------------------------------------------------------------------

    def complete(self) -> None:
        """The job has done all of its work."""
        self._finish("completed", None)

    def fail(self, error: object) -> None:
        """The job has failed; `error` is kept with it."""
        self._finish("failed", error)

    def cancel(self, reason: object = None) -> None:
        """The job was stopped on purpose."""
        self._finish("cancelled", reason)

    def _finish(self, status: str, error: object) -> None:
        """The first end counts. Waits until it is in the hub, and what else the spool holds of the
        job while the hub takes it, but not longer than the deadline.
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
            if not delivery.done.wait(seconds):
                capture.leave_rest(EXIT_SECONDS)
                delivery.give_up()
            if not delivery.is_delivered:
                logger.error(
                    "FAILED to send telemetry update, the end of the job is not in the hub: "
                    "job_id=%s",
                    self.job_id,
                )
        except Exception:
            self._failed("tell the end of a job")

    def _deadline_seconds(self) -> float:
        """A number to wait for, whatever was given."""
        try:
            seconds = float(self._end_deadline_seconds)
        except Exception:
            return END_DEADLINE_SECONDS
        return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), threading.TIMEOUT_MAX)

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until every change of state told so far is on disk or in the hub; whether it is."""
        event = threading.Event()
        if self._is_over or self._delivery is None or os.getpid() != self._pid:
            return False
        self._feed.changes.append(Change("seen", self._feed.numbers, event=event))
        self._feed.wake.set()
        return event.wait(timeout_seconds)

    def __enter__(self) -> ProgressTracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None or (isinstance(exc, SystemExit) and not exc.code):
            self.complete()
        elif isinstance(exc, SystemExit):
            self.fail(exc.code if isinstance(exc.code, str) else f"exit status {exc.code}")
        elif isinstance(exc, Exception):
            self.fail(_sentence(exc))
        else:  # KeyboardInterrupt, a cancelled coroutine
            self.cancel(type(exc).__name__)

    # -- what came of it ----------------------------------------------------------------------

    @property
    def stats(self) -> TrackerStats:
        counters = Counters() if self._delivery is None else replace(self._delivery.counters)
        return TrackerStats(*(getattr(counters, name) for name in TrackerStats.__slots__))

    @property
    def is_delivered(self) -> bool:
        """Whether the hub has the end of the job."""
        return self._delivery is not None and self._delivery.is_delivered

    @property
    def is_active(self) -> bool:
        """Whether there is a job to track, and no end of it yet."""
        return not self._is_over


def _stop(capture: Capture, pid: int) -> None:
    if os.getpid() == pid:
        capture.stop(EXIT_SECONDS)


def _job_of(
    job_id: str | None,
    job_type: str | None,
    identity: dict[str, str | None],
    interval_seconds: float,
    percent_step: float,
) -> Job | None:
    """The job to track, None where there is none or where the hub would refuse its id."""
    if job_id is None:
        job_id = Settings.from_env().job_id
    if job_id is None:
        logger.info("No telemetry: there is no job id")
        return None
    job_id = _exact_text(job_id)
    if problem := job_id_problem(job_id):
        logger.error("No telemetry: job_id %s: %s", ascii(job_id)[:300], problem)
        return None
    said_type = job_type_of(job_id) if job_type is None else _exact_text(job_type)
    if problem := job_type_problem(said_type):
        logger.error("job_type %s: %s", ascii(said_type)[:100], problem)
        said_type = job_type_of(job_id)
    clean = {
        name: clean_text(value, name, lambda _, why: logger.warning("%s", why))
        for name, value in identity.items()
    }
    return Job(
        job_id,
        said_type,
        clean,
        _positive(interval_seconds, INTERVAL_SECONDS),
        _positive(percent_step, PERCENT_STEP),
    )


def _exact_text(value: object) -> str:
    """Text as it is; of anything else its text, empty where it has none."""
    if isinstance(value, str):
        return str.__str__(value)
    return clean_text(value, "text") or ""


def _positive(value: float, otherwise: float) -> float:
    try:
        number = float(value)
    except Exception:
        return otherwise
    return number if 0 < number < math.inf else otherwise


def _open_queue(place: SpoolPlace) -> TelemetryQueue | None:
    if place is False:
        return None
    if isinstance(place, TelemetryQueue):
        return place
    return TelemetryQueue(default_spool() if place is None else place)


def _sentence(exc: BaseException) -> str:
    """Its message, or its name where it has none."""
    try:
        return str(exc) or type(exc).__name__
    except Exception:
        return type(exc).__name__
