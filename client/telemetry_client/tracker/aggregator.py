"""Sums the progress of many workers and disks. Counting costs a microsecond."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.tracker.throughput import Throughput, eta_seconds
from telemetry_client.wire.cleaning import LARGEST_INTEGER, clean_disk_index, clean_integer

if TYPE_CHECKING:
    from telemetry_client.tracker.tracker import ProgressTracker

logger = logging.getLogger(__name__)


class _Share:
    """One disk, or the bytes that belong to no disk. `moved` never decreases."""

    __slots__ = ("bytes", "error", "moved", "status", "throughput", "total")

    def __init__(self, total: int | None = None) -> None:
        self.bytes = 0
        self.moved = 0
        self.total = total
        self.status: str | None = None  # completed or failed; otherwise the bytes tell
        self.error: str | None = None
        self.throughput = Throughput()


class ProgressAggregator:
    """The progress of a job that many threads work on. Thread-safe; ignores invalid values.

    With a tracker it becomes the tracker's source, read when an update is due. Not for worker
    processes: nothing that it counts in a forked child reaches the job, which is logged once, and
    it cannot be pickled. Let workers return their bytes, and add them here.
    """

    def __init__(
        self,
        tracker: ProgressTracker | None = None,
        total_bytes: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = tracker
        self._total = clean_integer(total_bytes, "total_bytes", _warn)
        self._clock = clock
        self._is_forked = False  # this is a child's copy, whose counts the tracker does not see
        self._lock = threading.RLock()  # a signal handler may interrupt an addition and add
        self._shares: dict[int | None, _Share] = {}
        self._throughput = Throughput()
        self._phase: str | None = None
        _aggregators.add(self)
        if tracker is not None:
            # Weak, because the tracker's thread keeps its source alive.
            tracker.use_source(_weak_source(self))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a ProgressAggregator cannot be sent to another process: {_FORKED}")

    def add_disk(self, index: int, total_bytes: int | None = None) -> None:
        """Add a disk that the job is going to move."""
        disk = clean_disk_index(index, _warn)
        total = clean_integer(total_bytes, "total_bytes", _warn)
        if disk is None:
            return
        with self._lock:
            share = self._share(disk)
            share.total = share.total if total is None else total

    def add_bytes(self, count: int, disk: int | None = None) -> None:
        """Add bytes that are done."""
        if type(count) is not int or not 0 <= count <= LARGEST_INTEGER:
            whole = clean_integer(count, "bytes", _warn)
            if whole is None:
                return
            count = whole
        if self._is_forked:
            _warn_forked()
        with self._lock:
            share = self._shares.get(disk) if type(disk) is int or disk is None else None
            if share is None:
                share = self._share_for(disk)
            share.bytes += count
            share.moved += count

    def set_bytes(self, total_so_far: int, disk: int | None = None) -> None:
        """Set the bytes from a tool's own counter. A counter that goes back was restarted: the
        bytes go back too, but the speed is not negative.
        """
        count = clean_integer(total_so_far, "bytes", _warn)
        if count is None:
            return
        if self._is_forked:
            _warn_forked()
        with self._lock:
            share = self._share_for(disk)
            share.moved += max(0, count - share.bytes)
            share.bytes = count

    def complete_disk(self, index: int) -> None:
        """A disk is completed."""
        self._end_disk(index, "completed", None)

    def fail_disk(self, index: int, message: str) -> None:
        """A disk has failed."""
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
        """As given, or else the sum of the disks, if all their totals are known."""
        totals = [disk.total_bytes for disk in disks if disk.total_bytes is not None]
        if self._total is not None or not disks or len(totals) < len(disks):
            return self._total
        return sum(totals)

    def _end_disk(self, index: int, status: str, error: str | None) -> None:
        disk = clean_disk_index(index, _warn)
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
        """The share of a disk; bytes with an invalid disk index count for the job only."""
        return self._share(None if disk is None else clean_disk_index(disk, _warn))


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


_warned: set[str] = set()


def _warn(field: str, sentence: str) -> None:
    """Log once for each field: workers may call a thousand times a second."""
    if field not in _warned:
        _warned.add(field)
        logger.warning("%s", sentence)


_FORKED = "let workers return their bytes, and add them in the process of the tracker"


def _warn_forked() -> None:
    _warn("fork", f"Bytes that a forked process adds do not reach the job: {_FORKED}.")


_aggregators: weakref.WeakSet[ProgressAggregator] = weakref.WeakSet()


def _renew_locks() -> None:
    """The thread that held a lock does not exist in the child."""
    for aggregator in list(_aggregators):
        aggregator._lock = threading.RLock()
        aggregator._is_forked = aggregator._tracker is not None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
