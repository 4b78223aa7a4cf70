"""The telemetry of one run of a tool, in threads of its own: the tool never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from telemetry_client.progress import Progress
from telemetry_client.readers import End
from telemetry_client.tracker import ProgressTracker
from telemetry_client.wire.client import TelemetryClient

PUSH_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class JobIdentity:
    """The job and what it backs up."""

    job_id: str
    job_type: str
    vm_name: str | None = None
    repository_id: str | None = None
    backup_type: str | None = None


class Reporter:
    """Creates the tracker and ends it. Failures are printed once and never affect the tool."""

    def __init__(
        self,
        job: JobIdentity,
        *,
        url: str | None,
        spool: Path | None,
        wait_seconds: float,
        is_dry_run: bool,
        say: Callable[[str], None],
    ) -> None:
        self.job = job
        self.done = threading.Event()
        self._url = url
        self._spool = spool
        self._wait_seconds = wait_seconds
        self._is_dry_run = is_dry_run
        self._say = say
        self._tracker: ProgressTracker | None = None
        self._newest = Progress()
        self._end: End | None = None
        self._has_end = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="telemetry-report", daemon=True).start()

    def report(self, progress: Progress) -> None:
        """Store the newest progress; takes a few microseconds."""
        self._newest = progress
        if self._tracker is not None:
            self._tracker.report(progress)

    def finish(self, end: End) -> None:
        """The tool has ended. `done` is set once this is delivered, or in the spool."""
        self._end = end
        self._has_end.set()

    @property
    def is_delivered(self) -> bool:
        return self._tracker is not None and self._tracker.is_delivered

    def _run(self) -> None:
        try:
            self._tracker = tracker = self._make_tracker()
            if self._is_dry_run:
                tracker.mark_dry_run()
            tracker.report(self._newest)
            self._has_end.wait()
            assert self._end is not None
            _end_tracker(tracker, self._end)
            tracker.close()
        except Exception as exc:
            self._say(f"no telemetry for this run: {exc}")
        finally:
            self.done.set()

    def _make_tracker(self) -> ProgressTracker:
        client = TelemetryClient(self._url, timeout=PUSH_TIMEOUT_SECONDS)
        return ProgressTracker(
            self.job.job_id,
            self.job.job_type,
            client=client,
            spool=self._spool,
            vm_name=self.job.vm_name,
            repository_id=self.job.repository_id,
            backup_type=self.job.backup_type,
            end_deadline_seconds=self._wait_seconds,
        )


def _end_tracker(tracker: ProgressTracker, end: End) -> None:
    tracker.report(end.progress)
    if end.is_dry_run:
        tracker.mark_dry_run()
    if end.status == "failed":
        tracker.fail(end.error or "the tool failed")
    elif end.status == "cancelled":
        tracker.cancel(end.error)
    else:
        if end.error:
            tracker.report_error(end.error)
        tracker.complete()


class ErrorPrinter(logging.Handler):
    """Prints the library's errors, each kind once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._print = say
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg not in self._printed:
            self._printed.add(record.msg)
            self._print(f"{record.getMessage()} (shown once; the tool is not affected)")


def route_logging(say: Callable[[str], None]) -> None:
    """Print the library's errors to the screen, never inside the tool's lines."""
    handler = ErrorPrinter(say)
    logger = logging.getLogger("telemetry_client")
    logger.propagate = False
    logger.addHandler(handler)
