"""How far a job is, and how far each of its disks is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiskProgress:
    """One disk; None is unknown. `status`: pending, transferring, completed or failed."""

    disk_index: int
    bytes_transferred: int | None = None
    total_bytes: int | None = None
    speed_bps: int | None = None  # bytes per second
    status: str | None = None
    error: str | None = None
    percent: float | None = None  # only if bytes are unknown


@dataclass(frozen=True)
class Progress:
    """How far a job is; None is unknown. `percent` only if the tool reports no bytes."""

    bytes_transferred: int | None = None
    total_bytes: int | None = None
    speed_bps: int | None = None  # bytes per second
    eta_seconds: int | None = None
    phase: str | None = None
    disks: tuple[DiskProgress, ...] = ()
    percent: float | None = None
    error: str | None = None


def percent_of(done: int | None, total: int | None) -> float | None:
    """`done` of `total` in percent, 0 to 100, two decimals rounded down; None if unknown.

    More than the total is unknown: then that is not the total.
    """
    if done is None or total is None or total <= 0 or not 0 <= done <= total:
        return None
    return done * 10_000 // total / 100  # down, so that only all of it is 100
