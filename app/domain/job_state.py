"""The state of a job as a function of its updates, whatever their order of arrival.

Each field is a register that keeps the value of the newest update naming it, together with that
update's instant. Registers merge by "newest wins", which is commutative, associative and
idempotent, so the same updates give the same state in any order. What the sender has never named
is derived (`job_columns`, `disk_columns`), and the end of a job is applied on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.domain.fields import DISK_FIELDS, JOB_FIELDS, Value
from app.domain.statuses import END_STATUSES
from app.domain.updates import Fields, Update

REGISTERED = 0  # the instant of values from POST /jobs: older than any update
NEVER = -1
_DISK_PROGRESS = ("bytes_transferred", "progress_percent")
_JOB_DEFAULTS = {name: field.default for name, field in JOB_FIELDS.items()}
_DISK_DEFAULTS = {name: field.default for name, field in DISK_FIELDS.items()}
HIGHEST_DERIVED_PERCENT = 99.99  # a derived percent is never 100 before the job completed

JobColumns = dict[str, Value | None]
DiskColumns = dict[str, Value | None]


@dataclass(slots=True)
class Registers:
    """Named values and the instant (µs) of the update that each came from."""

    values: Fields = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def merge(self, time: int, named: Fields) -> bool:
        """Take each value that is not older than the current one; return whether any was taken."""
        times = self.times
        taken = False
        for name, value in named.items():
            if time >= times.get(name, -1):
                self.values[name] = value
                times[name] = time
                taken = True
        return taken

    def take(self, time: int, named: Fields) -> bool:
        """`merge` for a time that is later than that of any register."""
        self.values.update(named)
        self.times.update(dict.fromkeys(named, time))
        return bool(named)

    def before(self, instant: int) -> Registers:
        """The registers that come from updates before an instant (µs)."""
        times = {name: time for name, time in self.times.items() if time < instant}
        return Registers({name: self.values[name] for name in times}, times)


@dataclass(slots=True)
class DiskState(Registers):
    """One disk's registers, and the size it was registered with."""

    size_bytes: int | None = None

    @property
    def progress(self) -> tuple[Value | None, ...]:
        """What changes when the disk moves."""
        get = self.values.get
        return get("bytes_transferred"), get("progress_percent"), get("status")


@dataclass(slots=True)
class JobState:
    """The registers of a job's run, its disks and its status. Instants in µs.

    `run` is the run's key. For `begins_at` and `is_announced` see `app.domain.runs.Run`.
    `registered` are the values from POST /jobs by field, even if updates have changed them.
    `shown_error` is the error_message of the job's row. `has_telemetry`: an update began the run,
    so `started_at` is not the time of its registration. `has_disk_progress`: bytes, percent or
    status of a disk have changed since the row was written. `skew`: how far the sender's clock is
    ahead of the hub's (µs), if an update has shown it. `interval`: how often the sender reports, in
    seconds: the longest that it has named, 0 if none.
    """

    run: str
    job_type: str
    status: str = "pending"
    registers: Registers = field(default_factory=Registers)
    disks: dict[int, DiskState] = field(default_factory=dict)
    registered: Fields = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    started_at: int = 0
    completed_at: int | None = None
    ended_by: str | None = None
    clock_offset: int | None = None
    newest: int | None = None
    has_telemetry: bool = False
    shown_error: str | None = None
    has_disk_progress: bool = False
    begins_at: int | None = None
    is_announced: bool = False
    skew: int | None = None
    interval: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it has ended for good. A new update revives a job that the detector failed."""
        return self.status in END_STATUSES and self.ended_by != "detector"

    @property
    def first(self) -> int:
        """No update of the job is stored before this instant."""
        known = (self.started_at, self.completed_at, self.newest)
        return min(instant for instant in known if instant is not None)

    def may_have(self, time: int) -> bool:
        """Whether the series may hold an update of the job at this instant."""
        return self.newest is not None and self.first <= time <= self.newest

    def merge(self, update: Update) -> bool:
        """Merge one update into the registers; return whether any register took its value."""
        is_newest = self.newest is not None and update.time > self.newest
        merge = Registers.take if is_newest else Registers.merge
        taken = merge(self.registers, update.time, update.fields)
        for index, named in update.disks.items():
            disk = self.disks.get(index)
            if disk is None:
                disk = self.disks[index] = DiskState()
                taken = True
            before = disk.progress
            taken = merge(disk, update.time, named) or taken
            self.has_disk_progress |= disk.progress != before
        return taken

    def merge_all(self, updates: Iterable[Update]) -> None:
        """Merge updates in any order, including ties of one instant."""
        for update in sorted(updates, key=lambda u: (u.time, u.tie_key())):
            self.merge(update)

    def end(self, status: str, at: int, by: str) -> None:
        """Set the end. The columns show its consequences (`job_columns`)."""
        self.status, self.completed_at, self.ended_by = status, at, by

    def reopen(self) -> None:
        """Set a job that the detector failed back to running."""
        self.status, self.completed_at, self.ended_by = "running", None, None

    def forget_telemetry(self, since: int) -> None:
        """Drop the values of updates from `since` (µs) on, before the series is read again.

        Older values are kept: their updates have been dropped and cannot be read again.
        """
        self.registers = self.registers.before(since)
        self.merge_registered()
        disks: dict[int, DiskState] = {}
        for index, disk in self.disks.items():
            kept = disk.before(since)
            if kept.times or disk.size_bytes is not None:
                disks[index] = DiskState(kept.values, kept.times, disk.size_bytes)
        self.disks = disks

    def merge_registered(self) -> None:
        """Take the registered values of the fields that no update has named."""
        self.registers.merge(REGISTERED, self.registered)


# ---------------------------------------------------------------------------------------------
# The rows show named values, else derived ones, with the effects of the end applied on top.


def disk_columns(disk: DiskState, job_status: str) -> DiskColumns:
    """The columns of one disk's row."""
    named = disk.values
    total = _integer(named, "total_bytes", disk.size_bytes or 0)
    done = _integer(named, "bytes_transferred", 0)
    percent = _newer_percent(
        disk, percent_of(done, total), disk.times.get("bytes_transferred", NEVER)
    )
    status = str(named.get("status") or _inferred_disk_status(done, total, percent))
    if job_status == "completed" and status in ("pending", "transferring"):
        if _is_whole(done, total, percent):
            status = "completed"
    elif job_status in ("failed", "cancelled") and status in ("pending", "transferring"):
        status = job_status
    return {
        **_DISK_DEFAULTS,
        **named,
        "status": status,
        "total_bytes": total,
        "progress_percent": 100.0 if job_status == status == "completed" else percent,
    }


def job_columns(state: JobState, disks: dict[int, DiskColumns]) -> JobColumns:
    """The columns of the job's row that follow from its updates, given those of its disks."""
    named = state.registers.values
    columns: JobColumns = {
        **_JOB_DEFAULTS,
        **named,
        "bytes_transferred": _named_or_summed(state, "bytes_transferred"),
        "total_bytes": _total_bytes(state),
        "transfer_speed_bps": _named_or_summed(state, "transfer_speed_bps"),
    }
    columns["progress_percent"] = _newer_percent(
        state.registers, *_derived_percent(state, columns, disks)
    )
    if state.status == "stalled" or state.ended_by == "detector":
        columns["error_message"] = state.shown_error
    if state.status == "completed":
        columns["progress_percent"] = 100.0
        columns["eta_seconds"] = 0
        summed = _sum_of_disks(state)
        if summed is not None:
            columns["bytes_transferred"] = summed
    return columns


def end_warnings(state: JobState, disks: dict[int, DiskColumns]) -> dict[str, str]:
    """Warnings about how the job completed: code (of END_WARNINGS) to sentence."""
    if state.status != "completed":
        return {}
    warnings = {}
    reported = _named_or_summed(state, "bytes_transferred")
    summed = _sum_of_disks(state)
    if summed is not None and summed != reported:
        warnings["bytes_differ"] = (
            f"The disks add up to {summed} bytes, the job reported {reported}; "
            "the disks' sum is kept."
        )
    unfinished = [
        f"{index} ({disk['status']})"
        for index, disk in sorted(disks.items())
        if disk["status"] != "completed"
    ]
    if unfinished:
        warnings["unfinished_disks"] = (
            f"The job completed while these disks had not: disk {', '.join(unfinished)}."
        )
    if _has_reported_bytes(state) and not (reported if summed is None else summed):
        warnings["no_bytes"] = "The job completed with 0 bytes transferred."
    return warnings


def _has_reported_bytes(state: JobState) -> bool:
    """Whether the bytes of the job, or of a disk, are known: what is not reported is not zero."""
    reported = (state.registers, *state.disks.values())
    return any("bytes_transferred" in registers.values for registers in reported)


END_WARNINGS = ("bytes_differ", "unfinished_disks", "no_bytes")


def percent_of(done: int, total: int) -> float | None:
    """`done` of `total` in percent, 0…99.99; None if the total is unknown (0)."""
    if total <= 0:
        return None
    return min(100.0 * done / total, HIGHEST_DERIVED_PERCENT)


def clamp_percent(named: Fields, notes: dict[str, str]) -> Fields:
    """Cut a percent above 100 to 100, in place, with a warning in `notes` (code to sentence)."""
    if float(named.get("progress_percent", 0)) > 100:
        named["progress_percent"] = 100.0
        notes["progress_above_100"] = "The sender reported more than 100 percent; 100 is kept."
    return named


def _integer(named: Fields, name: str, default: int) -> int:
    return int(named.get(name, default))


def _is_whole(done: int, total: int, percent: float) -> bool:
    return percent >= 100 or done >= total > 0


def _inferred_disk_status(done: int, total: int, percent: float) -> str:
    if _is_whole(done, total, percent):
        return "completed"
    return "transferring" if done > 0 or percent > 0 else "pending"


def _named_or_summed(state: JobState, name: str) -> int:
    """The job's own number, or the sum over its disks if the sender gave none."""
    named = state.registers.values.get(name)
    if named is not None:
        return int(named)
    return clamp_bigint(sum(_integer(disk.values, name, 0) for disk in state.disks.values()))


def _total_bytes(state: JobState) -> int:
    named = state.registers.values.get("total_bytes")
    if named is not None:
        return int(named)
    totals = [_integer(d.values, "total_bytes", d.size_bytes or 0) for d in state.disks.values()]
    return clamp_bigint(sum(totals)) if all(totals) else 0  # one unknown: all unknown


def _newer_percent(registers: Registers, derived: float | None, derived_at: int) -> float:
    """The percent that the sender named, unless one is known from what it named later (µs)."""
    named = registers.values.get("progress_percent")
    if named is None:
        return derived or 0.0
    if derived is not None and derived_at > registers.times["progress_percent"]:
        return derived
    return float(named)


def _derived_percent(
    state: JobState, columns: JobColumns, disks: dict[int, DiskColumns]
) -> tuple[float | None, int]:
    """The percent known from the bytes of the job or from its disks, and since when (µs)."""
    done, total = int(columns["bytes_transferred"] or 0), int(columns["total_bytes"] or 0)
    times = state.registers.times
    if "bytes_transferred" in times and (percent := percent_of(done, total)) is not None:
        return percent, times["bytes_transferred"]
    if not disks:
        return percent_of(done, total), NEVER
    at = max(disk.times.get(n, NEVER) for disk in state.disks.values() for n in _DISK_PROGRESS)
    if all("bytes_transferred" in disk.times for disk in state.disks.values()):
        percent = percent_of(done, total)
        if percent is not None:
            return percent, at
    return _percent_of_disks(disks.values(), total), at


def _percent_of_disks(disks: Iterable[DiskColumns], total: int) -> float:
    """Their percents of their sizes, of the job's total; the mean if a size is unknown."""
    percents = [float(disk["progress_percent"] or 0) for disk in disks]
    sizes = [int(disk["total_bytes"] or 0) for disk in disks]
    if not (total and all(sizes)):
        sizes, total = [1] * len(percents), len(percents)
    # Rounded once, so that it does not depend on the order of the disks.
    done = math.fsum(percent * size for percent, size in zip(percents, sizes, strict=True))
    return min(done / total, HIGHEST_DERIVED_PERCENT)


def clamp_bigint(number: int) -> int:
    """The number, or the largest the database's bigint holds."""
    return min(number, 2**63 - 1)


def _sum_of_disks(state: JobState) -> int | None:
    """The bytes of all disks; None without disks, or if one has not reported its own."""
    disks = state.disks.values()
    if not disks or not all("bytes_transferred" in disk.values for disk in disks):
        return None
    return clamp_bigint(sum(_integer(disk.values, "bytes_transferred", 0) for disk in disks))
