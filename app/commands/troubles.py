"""The troubles of `python -m app demo`: machines with nights behind them, and one thing wrong each.

As `app.commands.simulation`: everything follows from an instant, and nothing is sent here. One kind
is missing: a sender cannot cause what is wrong with the hub itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import isoformat
from app.commands.simulation import Body, Push, snapshots

GIB = 2**30
NIGHTS = 8
STEPS = 15  # updates of a night
REPOSITORY = "repo-nightly"
FULL_NODE = "node-ams-full"
GONE_NODE = "node-ams-gone"
CLOCK_AHEAD = timedelta(minutes=3)


@dataclass(frozen=True)
class TroubledJob:
    """A run whose updates are known: when, and what."""

    job_id: str
    vm_name: str
    job_type: str = "backup"


Past = Iterator[tuple[datetime, TroubledJob, Body]]


def past(now: datetime) -> Past:
    """The nights of all machines, the last of them with its trouble."""
    for vm_name in ("crm01", "files02", "dwh01", "billing01", "archive01", "mail02", "lab01"):
        last_good = {"crm01": 5, "billing01": 3}.get(vm_name, 1)
        for ago in range(NIGHTS + last_good, last_good - 1, -1):
            yield from _night(now, vm_name, ago)
    for ago in range(4, -1, -1):
        yield from _night(now, "crm01", ago, share=0.4, status="failed", error="disk full")
    yield from _night(now, "files02", 0, share=0)
    yield from _night(now, "dwh01", 0, size=GIB)


def _night(
    now: datetime,
    vm_name: str,
    ago: int,
    *,
    size: int = 100 * GIB,
    share: float = 1.0,
    status: str = "completed",
    error: str | None = None,
) -> Past:
    """A run of an hour, so many days ago, that moves a share of its size."""
    start = now - timedelta(days=ago, hours=2)
    job = TroubledJob(f"nightly-{vm_name}-{start:%Y%m%d}", vm_name)
    for step in range(STEPS + 1):
        moved = round(size * share * step / STEPS)
        body = _body(job, moved, size)
        if step == STEPS:
            body |= {"status": status} | ({"error": error} if error else {})
        yield start + step * timedelta(hours=1) / STEPS, job, body


def _body(job: TroubledJob, moved: int, total: int) -> Body:
    return {
        "status": "running",
        "vm_name": job.vm_name,
        "repository_id": REPOSITORY,
        "backup_type": "incremental",
        "current_phase": "transferring",
        "bytes_transferred": moved,
        "total_bytes": total,
    }


class TroubledSenders:
    """The live runs that something is wrong with. The hub calls one hung after 15 minutes."""

    def __init__(self, now: datetime) -> None:
        stamp = f"{now:%Y%m%d-%H%M%S}"
        names = {
            "hung": "archive01",
            "slow": "mail02",
            "first": "lab01",
            "second": "lab01",
            "clock": "branch01",
            "losing": "branch02",
        }
        self._jobs = {
            trouble: TroubledJob(f"nightly-{vm_name}-{stamp}-{trouble}", vm_name)
            for trouble, vm_name in names.items()
        }
        self._starts = {
            trouble: now - timedelta(minutes=40 if trouble in ("slow", "first") else 1)
            for trouble in names
        }
        self._has_lost = False

    def past(self) -> Past:
        """The first update of each."""
        for trouble, job in self._jobs.items():
            yield self._starts[trouble], job, _body(job, 0, 100 * GIB)

    def tick(self, now: datetime) -> list[Push]:
        """The pushes of all at this moment."""
        pushes = []
        for trouble, job in self._jobs.items():
            bps = {"hung": 0, "slow": 1_000_000}.get(trouble, 25_000_000)
            seconds = (now - self._starts[trouble]).total_seconds()
            moved = min(2 * GIB + round(seconds * bps), 99 * GIB)
            at = now + CLOCK_AHEAD if trouble == "clock" else now
            body = {**_body(job, moved, 100 * GIB), "timestamp": isoformat(at)}
            if trouble == "losing" and not self._has_lost:
                self._has_lost = True
                body["lost_updates"] = 120
            pushes.append((f"/telemetry/{job.job_type}/{job.job_id}", body))
        return pushes


def full_node(seed: int) -> Iterator[Body]:
    """The snapshots of a node whose disk is nearly full."""
    for body in snapshots(FULL_NODE, seed):
        yield {**body, "disk_percent": 97.0, "disk_used_gb": 0.97 * body["disk_total_gb"]}


def gone_node(seed: int, now: datetime) -> Body:
    """The last snapshot of a node that then sends nothing more."""
    stamp = {"timestamp": isoformat(now - timedelta(hours=1))}
    return {**next(snapshots(GONE_NODE, seed)), **stamp}
