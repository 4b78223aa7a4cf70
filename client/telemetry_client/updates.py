"""What an update says: the progress of a job and of its disks, and its body on the wire.

Values come from code of the job, so nothing here raises for them: what the hub would refuse is
left out, cut or replaced, and told to `complain`, by field.
"""

from __future__ import annotations

import json
import math
import operator
import re
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

LARGEST_INTEGER = 2**63 - 1  # the hub's bigint
HIGHEST_DISK_INDEX = 1023
LONGEST_NAME = 255  # a phase, vm_name, repository_id, backup_type
LONGEST_ERROR = 4_000  # characters of a message; the hub has no limit, a spool has
LARGEST_BODY = 1_000  # bytes of an update as JSON
DISK_STATUSES = ("pending", "transferring", "completed", "failed")
END_STATUSES = ("completed", "failed", "cancelled")
RESERVED_JOB_TYPES = frozenset({"batch", "history", "snapshot"})
_JOB_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,49}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Body = dict[str, Any]
Complain = Callable[[str, str], None]  # takes the field and a sentence about it


@dataclass(frozen=True, slots=True)
class DiskProgress:
    """One disk; None is unknown. `status`: pending, transferring, completed or failed."""

    disk_index: int
    bytes_transferred: int | None = None
    total_bytes: int | None = None
    speed_bps: int | None = None  # bytes per second
    status: str | None = None
    error: str | None = None
    percent: float | None = None  # only where bytes are not known


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; None is unknown. `percent` only where the tool gives no bytes."""

    bytes_transferred: int | None = None
    total_bytes: int | None = None
    speed_bps: int | None = None  # bytes per second
    eta_seconds: int | None = None
    phase: str | None = None
    disks: tuple[DiskProgress, ...] = ()
    percent: float | None = None
    error: str | None = None


def percent_of(done: int | None, total: int | None) -> float | None:
    """`done` of `total` in percent, 0 to 100, two decimals rounded down; None when unknown."""
    if done is None or total is None or total <= 0 or done < 0:
        return None
    return min(done * 10_000 // total / 100, 100.0)  # down, so that only all of it is 100


# ---------------------------------------------------------------------------------------------
# Cleaning.


def _silent(_field: str, _sentence: str) -> None:
    """Complaints that nobody wants to hear."""


def clean_integer(value: Any, name: str, complain: Complain = _silent) -> int | None:
    """A whole number the hub takes. What is none is left out: 0 would be an invention."""
    if value is None:
        return None
    if type(value) is int and 0 <= value <= LARGEST_INTEGER:
        return value
    try:
        number = _whole(value)
    except Exception:  # a value's own methods may raise anything
        number = None
    if number is None or not 0 <= number <= LARGEST_INTEGER:
        complain(name, f"{name} is left out: {_shown(value)} is no number from 0 to 2^63-1.")
        return None
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, bool | str | bytes):
        return None
    try:
        return int(operator.index(value))
    except TypeError:
        number = float(value)
    return int(number) if math.isfinite(number) else None


def clean_percent(value: Any, name: str, complain: Complain = _silent) -> float | None:
    """A percent, 0 to 100, two decimals; more than 100 is 100."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except Exception:
        number = math.nan
    if not 0 <= number < math.inf:
        complain(name, f"{name} is left out: {_shown(value)} is no percent.")
        return None
    return math.floor(min(number, 100.0) * 100 + 1e-6) / 100


def clean_text(
    value: Any, name: str, complain: Complain = _silent, longest: int = LONGEST_NAME
) -> str | None:
    """Text the hub takes: no lone surrogates, no NUL, at most `longest` characters; None if empty.

    Always an exact `str`: a subclass can make of itself anything when it is encoded.
    """
    if value is None:
        return None
    try:
        text = str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except Exception:
        complain(name, f"{name} is left out: it cannot be made text.")
        return None
    clean = text.replace("\0", "")
    if not clean.isascii():
        # Two halves of a surrogate pair become their character, a lone half the sign for it.
        clean = clean.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if clean != text:
        complain(name, f"{name} is changed: it had a NUL or surrogates.")
    if len(clean) > longest:
        complain(name, f"{name} is cut to {longest} characters.")
        clean = clean[: longest - 1] + "…"
    return clean or None


def _shown(value: Any) -> str:
    try:
        return ascii(value)[:60]
    except Exception:  # also the digits of a giant integer
        return f"a {type(value).__name__}"


def job_id_problem(text: str) -> str | None:
    """Why the hub does not take a text as a job's id; None when it does."""
    if not 1 <= len(text) <= LONGEST_NAME:
        return f"it must be 1 to {LONGEST_NAME} characters long"
    if "/" in text or text in (".", "..", "summary"):
        return "it must not hold a slash, nor be '.', '..' or 'summary'"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return "it must not hold control characters or surrogates"
    return None


def job_type_problem(text: str) -> str | None:
    """Why the hub does not take a text as a job's type; None when it does."""
    if not _JOB_TYPE.fullmatch(text):
        return "it must be 1 to 50 of a-z, 0-9, _ and -, beginning with a letter"
    return f"{text!r} is reserved" if text in RESERVED_JOB_TYPES else None


def clean_disk_index(value: Any, complain: Complain = _silent) -> int | None:
    index = clean_integer(value, "disk_index", complain)
    if index is not None and index > HIGHEST_DISK_INDEX:
        complain(
            "disk_index", f"disk {index} is left out: the highest index is {HIGHEST_DISK_INDEX}."
        )
        return None
    return index


def clean_progress(progress: Progress, complain: Complain = _silent) -> Progress:
    """The same with what the hub would refuse left out; its disks as they are."""
    return Progress(
        bytes_transferred=clean_integer(progress.bytes_transferred, "bytes_transferred", complain),
        total_bytes=clean_integer(progress.total_bytes, "total_bytes", complain),
        speed_bps=clean_integer(progress.speed_bps, "speed_bps", complain),
        eta_seconds=clean_integer(progress.eta_seconds, "eta_seconds", complain),
        phase=clean_text(progress.phase, "phase", complain),
        disks=progress.disks,
        percent=clean_percent(progress.percent, "percent", complain),
        error=clean_text(progress.error, "error", complain, LONGEST_ERROR),
    )


# ---------------------------------------------------------------------------------------------
# Instants.


class Stamps:
    """The instants of one tracker's updates: strictly increasing microseconds of the wall clock.

    Where the wall clock was set back they go on at the pace of the monotonic one.
    """

    def __init__(self) -> None:
        self._last_us = 0
        self._last_monotonic_ns = 0

    def take(self, now: tuple[int, int] | None = None) -> str:
        """The stamp of an instant (`instant()`, now if None), or the next free one after it."""
        wall_ns, monotonic_ns = now or instant()
        passed_us = (monotonic_ns - self._last_monotonic_ns) // 1_000
        if wall_ns // 1_000 > self._last_us:
            self._last_us = wall_ns // 1_000
        else:
            self._last_us += max(1, passed_us)
        self._last_monotonic_ns = max(monotonic_ns, self._last_monotonic_ns)
        return _stamp_of(self._last_us)


def instant() -> tuple[int, int]:
    """Now, in ns: by the wall clock and by the monotonic one."""
    return time.time_ns(), time.monotonic_ns()


def now_stamp() -> str:
    """Now as an update's timestamp: RFC 3339 in UTC, microseconds."""
    return _stamp_of(time.time_ns() // 1_000)


def _stamp_of(microseconds: int) -> str:
    at = _EPOCH + timedelta(microseconds=microseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond:06d}Z"


# ---------------------------------------------------------------------------------------------
# Bodies.


def to_body(
    progress: Progress,
    *,
    job_id: str,
    job_type: str,
    status: str = "running",
    timestamp: str | None = None,
    identity: dict[str, str | None] | None = None,
    disks: Iterable[Body] | None = None,
    complain: Complain = _silent,
) -> Body:
    """The update that a progress is, as an item of a batch. `disks`: None for all of them.

    What is unknown is left out: to the hub that is "unchanged". The end of a job that completed
    is 100 percent, whatever was counted.
    """
    progress = clean_progress(progress, complain)
    percent = percent_of(progress.bytes_transferred, progress.total_bytes)
    is_completed = status == "completed"
    if disks is None:
        disks = disk_bodies(progress.disks, complain)
    body: Body = {
        "job_id": job_id,
        "job_type": job_type,
        "status": status,
        "current_phase": progress.phase,
        "bytes_transferred": progress.bytes_transferred,
        "total_bytes": progress.total_bytes,
        "transfer_speed_bps": progress.speed_bps,
        "eta_seconds": 0 if is_completed else progress.eta_seconds,
        "progress_percent": 100.0
        if is_completed
        else progress.percent
        if percent is None
        else percent,
        "error": progress.error,
        **(identity or {}),
        "timestamp": timestamp or now_stamp(),
        "disks": list(disks) or None,
    }
    return without_nulls(body)


def disk_bodies(disks: Iterable[DiskProgress], complain: Complain = _silent) -> list[Body]:
    """The disks' parts of an update, one each, by index."""
    bodies = (disk_body(disk, complain) for disk in disks)
    by_index = {body["disk_index"]: body for body in bodies if body is not None}
    return [by_index[index] for index in sorted(by_index)]


def disk_body(disk: DiskProgress, complain: Complain = _silent) -> Body | None:
    """A disk's part of an update; None for a disk that the hub has no place for."""
    index = clean_disk_index(disk.disk_index, complain)
    if index is None:
        return None
    done = clean_integer(disk.bytes_transferred, "disk bytes", complain)
    total = clean_integer(disk.total_bytes, "disk total_bytes", complain)
    percent = percent_of(done, total)
    if percent is None:
        percent = clean_percent(disk.percent, "disk percent", complain)
    status = clean_text(disk.status, "disk status", complain)
    if status is not None and status not in DISK_STATUSES:
        complain("disk status", f"{status!r} is left out: no status of a disk.")
        status = None
    return without_nulls(
        {
            "disk_index": index,
            "bytes_transferred": done,
            "total_bytes": total,
            "transfer_speed_bps": clean_integer(disk.speed_bps, "disk speed_bps", complain),
            "progress_percent": 100.0 if status == "completed" else percent,
            "status": status,
            "error_message": clean_text(disk.error, "disk error", complain, LONGEST_ERROR),
        }
    )


def without_nulls(body: Body) -> Body:
    return {name: value for name, value in body.items() if value is not None}


def size_of(body: Any) -> int:
    """Its bytes as compact JSON."""
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


@dataclass(slots=True)
class DiskNews:
    """What of the disks is still to be told: to the hub, what is absent is unchanged.

    So an update stays below LARGEST_BODY with any number of disks: those that waited longest go
    first, and the rest goes with the next one.
    """

    _told: dict[int, Body] = field(default_factory=dict)
    _waiting: dict[int, int] = field(default_factory=dict)  # disk: since which call
    _calls: int = 0

    def take(self, disks: Iterable[Body], room: int) -> tuple[list[Body], int]:
        """What to tell within so many bytes, by index; and how many disks must wait."""
        self._calls += 1
        news = {disk["disk_index"]: self._news_of(disk) for disk in disks}
        changed = [index for index, told in news.items() if len(told) > 1]
        for index in changed:
            self._waiting.setdefault(index, self._calls)
        chosen: list[int] = []
        for index in sorted(changed, key=lambda index: (self._waiting[index], index)):
            size = size_of(news[index]) + 1
            if size > room and chosen:
                break
            room -= size
            chosen.append(index)
        for index in chosen:
            del self._waiting[index]
            self._told[index] = {**self._told.get(index, {}), **news[index]}
        return [news[index] for index in sorted(chosen)], len(changed) - len(chosen)

    def forget(self) -> None:
        """Tell everything again: an update did not arrive."""
        self._told.clear()

    def _news_of(self, disk: Body) -> Body:
        told = self._told.get(disk["disk_index"], {})
        return {
            name: value
            for name, value in disk.items()
            if name == "disk_index" or told.get(name) != value
        }
