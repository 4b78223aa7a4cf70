"""Adds up what many workers and disks have done, and how fast. Counting costs a microsecond."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from telemetry_client.throughput import Throughput, eta_seconds
from telemetry_client.updates import (
    LARGEST_INTEGER,
    DiskProgress,
    Progress,
    clean_disk_index,
    clean_integer,
)

if TYPE_CHECKING:
    from telemetry_client.tracker import ProgressTracker

logger = logging.getLogger(__name__)


class _Share:
    """One disk, or what belongs to none. `moved` only grows, whatever a counter does."""

    __slots__ = ("bytes", "error", "moved", "status", "throughput", "total")

    def __init__(self, total: int | None = None) -> None:
        self.bytes = 0
        self.moved = 0
        self.total = total
        self.status: str | None = None  # completed or failed; else bytes say it
        self.error: str | None = None
        self.throughput = Throughput()


class ProgressAggregator:
    """The progress of a job that many threads work on. Thread-safe; raises nothing for bad values.

    With a tracker it becomes the tracker's source: the tracker asks when an update is due.
    """

    def __init__(
        self,
        tracker: ProgressTracker | None = None,
        total_bytes: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = tracker
        self._total = clean_integer(total_bytes, "total_bytes", _complain)
        self._clock = clock
        self._lock = threading.RLock()  # a signal's handler may add while its thread adds
        self._shares: dict[int | None, _Share] = {}
        self._throughput = Throughput()
        self._phase: str | None = None
        _aggregators.add(self)
        if tracker is not None:
            # Weak, because the tracker's thread holds the source for as long as it runs.
            tracker.use_source(_weak_source(self))

    def add_disk(self, index: int, total_bytes: int | None = None) -> None:
        """A disk that the job is going to move."""
        disk = clean_disk_index(index, _complain)
        total = clean_integer(total_bytes, "total_bytes", _complain)
        if disk is None:
            return
        with self._lock:
            share = self._share(disk)
            share.total = share.total if total is None else total

    def add_bytes(self, count: int, disk: int | None = None) -> None:
        """So many more bytes are done."""
        if type(count) is not int or not 0 <= count <= LARGEST_INTEGER:
            whole = clean_integer(count, "bytes", _complain)
            if whole is None:
                return
            count = whole
        with self._lock:
            share = self._shares.get(disk) if type(disk) is int or disk is None else None
            if share is None:
                share = self._share_for(disk)
            share.bytes += count
            share.moved += count

    def set_bytes(self, total_so_far: int, disk: int | None = None) -> None:
        """What a tool's own counter says. A counter that goes back was restarted: the bytes are
        as it says, and nothing was moved at a negative speed.
        """
        count = clean_integer(total_so_far, "bytes", _complain)
        if count is None:
            return
        with self._lock:
            share = self._share_for(disk)
            share.moved += max(0, count - share.bytes)
            share.bytes = count

    def complete_disk(self, index: int) -> None:
        """All of a disk is done."""
        self._end_disk(index, "completed", None)

    def fail_disk(self, index: int, message: str) -> None:
        """A disk could not be moved."""
        self._end_disk(index, "failed", message)

    def set_phase(self, name: str) -> None:
        """The job enters a phase."""
        self._phase = name
        if self._tracker is not None:
            self._tracker.set_phase(name)

    def progress(self) -> Progress:
        """Totals, the disks by index, and speeds smoothed over about ten seconds."""
        now = self._clock()
        with self._lock:
            done = sum(share.bytes for share in self._shares.values())
            self._throughput.sample(now, sum(share.moved for share in self._shares.values()))
            disks = tuple(
                _progress_of(index, self._shares[index], now)
                for index in sorted(index for index in self._shares if index is not None)
            )
        total = self._total_of(disks)
        speed = self._throughput.bps
        return Progress(done, total, speed, eta_seconds(done, total, speed), self._phase, disks)

    def _total_of(self, disks: tuple[DiskProgress, ...]) -> int | None:
        """As given, else the disks' sum, if each of them has one."""
        totals = [disk.total_bytes for disk in disks if disk.total_bytes is not None]
        if self._total is not None or not disks or len(totals) < len(disks):
            return self._total
        return sum(totals)

    def _end_disk(self, index: int, status: str, error: str | None) -> None:
        disk = clean_disk_index(index, _complain)
        if disk is None:
            return
        with self._lock:
            share = self._share(disk)
            share.status, share.error = status, error
        if self._tracker is not None:
            self._tracker.look_now()

    def _share(self, disk: int | None) -> _Share:
        if disk not in self._shares:
            self._shares[disk] = _Share()
        return self._shares[disk]

    def _share_for(self, disk: Any) -> _Share:
        """That of a disk; what is no disk's index counts for the job alone."""
        return self._share(None if disk is None else clean_disk_index(disk, _complain))


def _progress_of(index: int, share: _Share, now: float) -> DiskProgress:
    share.throughput.sample(now, share.moved)
    status = share.status or ("transferring" if share.moved else "pending")
    speed = share.throughput.bps if status == "transferring" else None
    return DiskProgress(index, share.bytes, share.total, speed, status, share.error)


def _weak_source(aggregator: ProgressAggregator) -> Callable[[], Progress | None]:
    method = weakref.WeakMethod(aggregator.progress)

    def ask() -> Progress | None:
        progress = method()
        return None if progress is None else progress()

    return ask


_complained: set[str] = set()


def _complain(field: str, sentence: str) -> None:
    """Once each: workers come by a thousand times a second."""
    if field not in _complained:
        _complained.add(field)
        logger.warning("%s", sentence)


_aggregators: weakref.WeakSet[ProgressAggregator] = weakref.WeakSet()


def _renew_locks() -> None:
    """A thread that held one is not in the child."""
    for aggregator in list(_aggregators):
        aggregator._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
