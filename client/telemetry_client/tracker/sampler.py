"""Reads the progress of a job: from its source or from what it stored, clean, with a speed."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from telemetry_client.log_limit import LimitedLog
from telemetry_client.progress import Progress
from telemetry_client.tracker.feed import Feed, Numbers, Source
from telemetry_client.tracker.throughput import Pace
from telemetry_client.wire.cleaning import clean_progress

logger = logging.getLogger("telemetry_client.tracker")


class Sampler:
    """For the capturing thread. `phase`: the job's current one, as it last reported it."""

    def __init__(self, job_id: str, feed: Feed, log: LimitedLog, interval_seconds: float) -> None:
        self.phase: str | None = None
        self.is_asking = False  # the source's code is running
        self._job_id = job_id
        self._feed = feed
        self._log = log
        self._pace = Pace(interval_seconds)
        self._source_phase: str | None = None
        self._from_source = Progress()  # the source's last answer

    def sample(self, numbers: Numbers) -> Progress:
        """The progress now; `numbers` are used if the job has no source."""
        feed = self._feed
        progress = self._ask(feed.source) if feed.source is not None else progress_of(numbers)
        if progress.total_bytes is None:
            progress = replace(progress, total_bytes=feed.total)
        disks = (*progress.disks, *feed.disks.copy().values())
        progress = clean_progress(replace(progress, disks=disks), self.warn)
        if progress.phase is not None and progress.phase != self._source_phase:
            self._source_phase = self.phase = progress.phase
        progress = replace(_with_disk_sums(progress), phase=self.phase)
        return self._pace.add_to(progress, time.monotonic())

    def warn(self, field: str, sentence: str) -> None:
        """Log that a value is left out or changed, once for each field."""
        self._log.log_once(field, "Invalid telemetry value: job_id=%s %s", self._job_id, sentence)

    def _ask(self, source: Source) -> Progress:
        self.is_asking = True
        try:
            progress = source()
            if isinstance(progress, Progress):
                self._from_source = progress
            elif progress is not None:
                raise TypeError(f"it returned a {type(progress).__name__}")
        except Exception as exc:
            self._log.log(
                "source",
                "The source of a job's progress fails: job_id=%s reason=%s: %s",
                self._job_id,
                type(exc).__name__,
                exc,
            )
        finally:
            self.is_asking = False
        return self._from_source


def progress_of(numbers: Numbers) -> Progress:
    """The progress that a job stored as numbers, not clean."""
    done, total, speed, eta, percent = numbers
    return Progress(done, total, speed, eta, percent=percent)


def _with_disk_sums(progress: Progress) -> Progress:
    """With the sums of the disks if the job itself reports no bytes."""
    disks = progress.disks
    done = [disk.bytes_transferred for disk in disks if disk.bytes_transferred is not None]
    if progress.bytes_transferred is not None or not done:
        return progress
    totals = [disk.total_bytes for disk in disks if disk.total_bytes is not None]
    total = progress.total_bytes
    if total is None and len(totals) == len(disks):
        total = sum(totals)
    return replace(progress, bytes_transferred=sum(done), total_bytes=total)
