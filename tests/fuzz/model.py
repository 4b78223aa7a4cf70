"""A model of a job: a function of what was stored, whatever the order in which it came.

No registers and no bringing forward, as the hub has them: everything is worked out from all updates
at every look. Instants are whole microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.domain.fields import DISK_FIELDS, JOB_FIELDS
from app.domain.updates import Update

LARGEST = 2**63 - 1
UNFINISHED = ("pending", "transferring")
STALL_SECONDS, FAIL_SECONDS = 60, 300


class Model:
    """`verdict` is what the detector has made of a silent job: stalled, failed, or None."""

    def __init__(self) -> None:
        self.job_type: str | None = None
        self.updates: list[Update] = []  # all that are stored, ends without telemetry too
        self.too_late: list[Update] = []  # for the ended job: kept as events
        self.registered: dict[str, Any] = {}
        self.sizes: dict[int, int] = {}  # of registered disks
        self.lost: dict[int, int] = {}  # by instant
        self.end: str | None = None  # the sender's first
        self.verdict: str | None = None
        self.verdict_at: int | None = None
        self.offset: int | None = None
        self.transitions: list[tuple[str | None, str, str]] = []
        self.other_ends = 0
        self.is_registered_first = False

    # What happens.

    def find(self, update: Update) -> Update | None:
        """The stored update that this one repeats."""
        if update.timestamp is None:
            return None
        known = [*self.updates, *self.too_late]
        return next((stored for stored in known if says_the_same(stored, update)), None)

    def store(self, new: list[Update]) -> None:
        """Take what one request has brought, no repeats in it, each with its time."""
        for time in sorted({update.time for update in new}):
            group = [update for update in new if update.time == time]
            ends = [update.status for update in group if update.is_end]
            was = self.status if self.updates or self.is_registered else None
            self.updates += group
            if self.end is not None:
                self.other_ends += sum(status != self.end for status in ends)
                continue
            self.verdict = self.verdict_at = None
            self.end = ends[0] if ends else None
            if ends or was != "running":
                self.transitions.append((was, self.status, "sender"))

    def register(self, registration: dict[str, Any]) -> None:
        if self.job_type is None:
            self.transitions.append((None, "pending", "sender"))
            self.is_registered_first = True
        self.job_type = self.job_type or registration["job_type"]
        named = {
            name: registration[name] for name in JOB_FIELDS if registration.get(name) is not None
        }
        self.registered = {"job_type": self.job_type, **named, **self.registered}
        for disk in registration.get("disks", []):
            self.sizes.setdefault(disk["disk_index"], disk["size_bytes"])

    def sweep(self, now: int, watched_seconds: int, last_seen: int | None) -> None:
        """The detector looks, having watched for so long. Failing comes first."""
        if self.end is not None or last_seen is None:
            return
        for status, threshold, verdict in (
            ("stalled", FAIL_SECONDS, "failed"),
            ("running", STALL_SECONDS, "stalled"),
        ):
            is_silent = now - last_seen >= threshold * 1_000_000
            if self.status == status and is_silent and watched_seconds >= threshold:
                self.transitions.append((status, verdict, "detector"))
                self.verdict, self.verdict_at = verdict, now + (self.newest or 0) - last_seen
                return

    # What is to be seen.

    @property
    def is_registered(self) -> bool:
        return bool(self.registered)

    @property
    def status(self) -> str:
        return self.end or self.verdict or ("running" if self.updates else "pending")

    @property
    def newest(self) -> int | None:
        return max((update.time for update in self.updates), default=None)

    @property
    def telemetry(self) -> list[int]:
        return [update.time for update in self.updates if update.is_telemetry]

    @property
    def completed_at(self) -> int | None:
        ends = [update.time for update in self.updates if update.status == self.end]
        return min(ends, default=self.verdict_at if self.verdict == "failed" else None)

    def started_at(self, registered_at: int) -> int:
        """When the run began, of a job that was registered or first seen at an instant."""
        is_sole_end = len(self.updates) == 1 and self.updates[0].status != "running"
        if self.is_registered_first and is_sole_end:
            return min([registered_at, *self.telemetry])
        ends = [self.completed_at] if self.end is not None and self.completed_at else []
        return min([*self.telemetry, *ends]) if self.telemetry else registered_at

    def _counting(self) -> Iterator[Update]:
        """The updates that the row shows, the one that wins last."""
        for update in sorted(self.updates, key=_rank):
            is_in_time = update.time <= (self.completed_at or 0)
            if self.end is None or (is_in_time and update.status in ("running", self.end)):
                yield update

    def rows(self) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
        """The job and its disks as the API shows them."""
        job = {name: value for name, value in self.registered.items() if name != "job_type"}
        named: dict[int, dict[str, Any]] = {index: {} for index in self.sizes}
        at: dict[int | None, dict[str, int]] = {None: {}, **{index: {} for index in self.sizes}}
        for update in self._counting():
            job |= update.fields
            at[None] |= dict.fromkeys(update.fields, update.time)
            for index, fields in update.disks.items():
                named.setdefault(index, {}).update(fields)
                at.setdefault(index, {}).update(dict.fromkeys(fields, update.time))
        disks = {index: self._disk(index, fields, at[index]) for index, fields in named.items()}
        return self._job(job, named, disks, at), disks

    def _disk(self, index: int, named: dict[str, Any], at: dict[str, int]) -> dict[str, Any]:
        row: dict[str, Any] = {name: named.get(name) for name in DISK_FIELDS}
        done = row["bytes_transferred"] = row["bytes_transferred"] or 0
        total = row["total_bytes"] = named.get("total_bytes", self.sizes.get(index)) or 0
        row["transfer_speed_bps"] = row["transfer_speed_bps"] or 0
        is_newer = at.get("bytes_transferred", 0) > at.get("progress_percent", 0)
        if row["progress_percent"] is None or (is_newer and total > 0):
            row["progress_percent"] = _percent(done, total) or 0.0
        is_whole = row["progress_percent"] >= 100 or done >= total > 0
        begun = "transferring" if done or row["progress_percent"] else "pending"
        row["status"] = row["status"] or ("completed" if is_whole else begun)
        if row["status"] in UNFINISHED:
            if self.status == "completed" and is_whole:
                row["status"] = "completed"
            elif self.status in ("failed", "cancelled"):
                row["status"] = self.status
        if self.status == row["status"] == "completed":
            row["progress_percent"] = 100.0
        if not total and "progress_percent" not in named:
            row["progress_percent"] = row["progress_percent"] or None
        return row

    @property
    def unknown(self) -> list[str]:
        """The fields of the job that are null if they are 0: no update has named them."""
        named = set(self.registered).union(*(update.fields for update in self._counting()))
        return [name for name in ("total_bytes", "transfer_speed_bps") if name not in named]

    def _job(
        self,
        job: dict[str, Any],
        named: dict[int, Any],
        disks: dict[int, Any],
        at: dict[int | None, dict[str, int]],
    ) -> dict[str, Any]:
        row: dict[str, Any] = {name: job.get(name) for name in JOB_FIELDS}
        row["eta_seconds"] = row["eta_seconds"] or None
        for name in ("bytes_transferred", "transfer_speed_bps"):
            if row[name] is None:
                row[name] = min(sum(disk[name] for disk in disks.values()), LARGEST)
        totals = [disk["total_bytes"] for disk in disks.values()]
        if row["total_bytes"] is None:
            row["total_bytes"] = min(sum(totals), LARGEST) if all(totals) else 0
        known = _percent(row["bytes_transferred"], row["total_bytes"])
        by = at[None].get("bytes_transferred", -1)
        is_by_disks = bool(disks) and (by < 0 or known is None)
        if is_by_disks:
            by = max(
                at[index].get(name, -1)
                for index in disks
                for name in ("bytes_transferred", "progress_percent")
            )
            have_bytes = all("bytes_transferred" in fields for fields in named.values())
            if not have_bytes or known is None:
                weights, total = totals, row["total_bytes"]
                if not total or not all(totals):
                    weights, total = [1] * len(totals), len(totals)
                percents = [disk["progress_percent"] or 0.0 for disk in disks.values()]
                weighted = sum(p * w for p, w in zip(percents, weights, strict=True))
                known = min(weighted / total, 99.99)
        is_newer = known is not None and by > at[None].get("progress_percent", -1)
        if row["progress_percent"] is None or is_newer:
            is_known = known or row["total_bytes"] or row["progress_percent"] is not None
            row["progress_percent"] = (known or 0.0) if is_known else None
        if self.end == "completed":
            row |= {"progress_percent": 100.0, "eta_seconds": 0}
            if disks and all("bytes_transferred" in fields for fields in named.values()):
                done = sum(disk["bytes_transferred"] for disk in disks.values())
                row["bytes_transferred"] = min(done, LARGEST)
        return row

    def chart(self) -> dict[str, Any]:
        """What GET …/history says of all of it, where that is not derived."""
        start = min(self.telemetry, default=0)
        charted = [update.fields for update in self.updates if update.time >= start]
        speeds: list[Any] = [fields.get("transfer_speed_bps") or 0 for fields in charted]
        moving = [speed for speed in speeds if speed > 0]
        chart: dict[str, Any] = {"snapshots": len(charted)}
        if any("transfer_speed_bps" in fields for fields in charted):
            chart |= {
                "speed_source": "reported",
                "peak_speed_bps": max(moving, default=None),
                "min_speed_bps": min(moving, default=None),
                "avg_speed_bps": round(sum(moving) / len(moving), 2) if moving else None,
            }
        if any("bytes_transferred" in fields for fields in charted):  # else of the disks
            chart["bytes"] = sorted(fields.get("bytes_transferred", -1) for fields in charted)
        return chart


def says_the_same(one: Update, other: Update) -> bool:
    """What makes two updates one sent twice."""
    what = ("timestamp", "status", "fields", "disks")
    return all(getattr(one, name) == getattr(other, name) for name in what)


def _rank(update: Update) -> tuple[Any, ...]:
    """Newest last; of one instant the ends, then more bytes, then what they say, as text."""
    is_end = update.status != "running"
    disks = [(index, sorted(named.items())) for index, named in sorted(update.disks.items())]
    content = repr((update.status, sorted(update.fields.items()), disks))
    return update.time, is_end, update.fields.get("bytes_transferred", -1), content


def _percent(done: int, total: int) -> float | None:
    return min(100.0 * done / total, 99.99) if total > 0 else None
