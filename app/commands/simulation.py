"""The data of `python -m app demo`: generators of what jobs and nodes send.

They send nothing, do not wait and do not read the clock: everything follows from a seed and an
instant. Speeds are in bytes per second; a body is what a sender posts, without its timestamp.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from app.clock import isoformat

PUSH_SECONDS = 5  # as real senders
SNAPSHOT_SECONDS = 60  # as real node agents
PAUSE_SECONDS = 30  # between two live jobs of a machine
MB = 1_000_000

MACHINES = ("pgprod1", "mail01", "fileserver", "web01", "erp-app", "winad01")
NODES = ("node-fra-1", "node-fra-2", "node-ams-1", "node-ams-2")
REPOSITORIES = ("repo-main", "repo-offsite")
HISTORY = timedelta(hours=24)

Body = dict[str, Any]
Push = tuple[str, Body]  # path below /api/v1, and the body
Fate = Literal["completed", "failed", "cancelled", "quiet"]


@dataclass(frozen=True)
class SimulatedJob:
    """The plan of a job. A `fate` other than `completed` happens at `until_percent`.

    `quiet`: the sender dies and sends no end.
    """

    job_type: str
    vm_name: str
    repository_id: str
    started_at: datetime
    disk_bytes: tuple[int, ...]
    speed_bps: int
    fate: Fate = "completed"
    until_percent: float = 100.0
    backup_type: str | None = None
    has_telemetry: bool = True

    @property
    def job_id(self) -> str:
        return f"{self.job_type}-{self.vm_name}-{int(self.started_at.timestamp())}"

    @property
    def total_bytes(self) -> int:
        return sum(self.disk_bytes)

    @property
    def identity(self) -> Body:
        """The fields that its first update or its registration sends."""
        named = {
            "vm_name": self.vm_name,
            "repository_id": self.repository_id,
            "backup_type": self.backup_type,
            "total_bytes": self.total_bytes,
        }
        return {name: value for name, value in named.items() if value is not None}


def updates(job: SimulatedJob, seed: int) -> Iterator[Body]:
    """The updates of a job, PUSH_SECONDS apart; the last one is its end unless it goes quiet.

    Phases are snapshot, transferring, finalizing; bytes and percent never decrease, and each
    update has only the disks that have changed.
    """
    rng = random.Random(f"{seed} {job.job_id}")
    done = [0] * len(job.disk_bytes)
    disks = [_disk(job, done, index) for index in range(len(done))]
    yield {**job.identity, **_progress(job, "snapshot", done, 0), "disks": disks}
    for _ in range(rng.randint(1, 3)):
        yield _progress(job, "snapshot", done, 0)
    for speed_bps in speeds(job.speed_bps, rng):
        moved = _move(job.disk_bytes, done, speed_bps * PUSH_SECONDS)
        body = _progress(job, "transferring", done, sum(moved.values()) // PUSH_SECONDS)
        body["disks"] = [_disk(job, done, index, bytes_) for index, bytes_ in moved.items()]
        if job.fate != "completed" and body["progress_percent"] >= job.until_percent:
            yield from _end_early(job, body, rng)
            return
        yield body
        if sum(done) == job.total_bytes:
            break
    for _ in range(rng.randint(1, 3)):
        yield _progress(job, "finalizing", done, 0)
    yield {**_progress(job, "finalizing", done, 0), "status": "completed"}


def speeds(mean_bps: int, rng: random.Random) -> Iterator[int]:
    """Speeds around a mean, at most 500 MB/s, with a slow start and dips as by busy storage."""
    level, dip_left = 1.0, 0
    for step in itertools.count(1):
        level += 0.15 * (1 - level) + rng.gauss(0, 0.04)
        if dip_left:
            dip_left -= 1
        elif rng.random() < 0.01:
            dip_left = rng.randint(4, 12)
        factor = level * min(1, step / 4) * (0.35 if dip_left else 1)
        yield int(min(max(mean_bps * factor, 20 * MB), 500 * MB))


def snapshots(node_id: str, seed: int) -> Iterator[Body]:
    """The snapshots of a node, SNAPSHOT_SECONDS apart, without end."""
    rng = random.Random(f"{seed} {node_id}")
    cores, memory_mb = rng.choice((4, 8, 16)), rng.choice((8_192, 16_384, 32_768))
    disk_gb, uptime = rng.choice((500.0, 1_000.0)), rng.randint(86_400, 40 * 86_400)
    load, received, sent = 0.3, uptime * 3_000, uptime * 9_000
    for step in itertools.count():
        load = min(max(load + 0.1 * (0.35 - load) + rng.gauss(0, 0.04), 0.02), 0.98)
        is_busy = step % 180 < 40  # minutes; a job every three hours
        cpu = min(100.0, 100 * load + 35 * is_busy)
        rx_mbps, tx_mbps = 2 * load, (180 * is_busy + 3) * load
        received += int(rx_mbps * MB) * SNAPSHOT_SECONDS
        sent += int(tx_mbps * MB) * SNAPSHOT_SECONDS
        memory_percent = 40 + 25 * load + 10 * is_busy
        disk_percent = min(95.0, 55 + step / 400)
        yield {
            "node_id": node_id,
            "cpu_percent": round(cpu, 1),
            "memory_percent": round(memory_percent, 1),
            "memory_used_mb": round(memory_mb * memory_percent / 100),
            "memory_total_mb": memory_mb,
            "disk_percent": round(disk_percent, 1),
            "disk_used_gb": round(disk_gb * disk_percent / 100, 1),
            "disk_total_gb": disk_gb,
            "network_rx_bytes": received,
            "network_tx_bytes": sent,
            "network_rx_rate_mbps": round(rx_mbps, 2),  # megabytes per second
            "network_tx_rate_mbps": round(tx_mbps, 2),
            "uptime_seconds": uptime + step * SNAPSHOT_SECONDS,
            "process_count": 180 + int(60 * load),
            "active_connections": 20 + int(80 * load),
            "load_avg_1m": round(cores * cpu / 100, 2),
            "load_avg_5m": round(cores * load, 2),
            "load_avg_15m": round(cores * (0.35 + load) / 2, 2),
        }


def _move(sizes: tuple[int, ...], done: list[int], budget: int) -> dict[int, int]:
    """Add up to `budget` bytes to the first two unfinished disks; return the bytes by disk."""
    open_disks = [index for index, size in enumerate(sizes) if done[index] < size][:2]
    moved = {}
    for index in open_disks:
        moved[index] = min(budget // len(open_disks), sizes[index] - done[index])
        done[index] += moved[index]
    return moved


def _progress(job: SimulatedJob, phase: str, done: list[int], speed_bps: int) -> Body:
    remaining = job.total_bytes - sum(done)
    return {
        "status": "running",
        "current_phase": phase,
        "bytes_transferred": sum(done),
        "total_bytes": job.total_bytes,
        "transfer_speed_bps": speed_bps,
        "eta_seconds": remaining // (speed_bps or job.speed_bps),
        "progress_percent": _percent(sum(done), job.total_bytes),
    }


def _disk(job: SimulatedJob, done: list[int], index: int, moved: int = 0) -> Body:
    size = job.disk_bytes[index]
    is_whole = done[index] == size
    return {
        "disk_index": index,
        "status": "completed" if is_whole else "transferring" if done[index] else "pending",
        "bytes_transferred": done[index],
        "total_bytes": size,
        "transfer_speed_bps": moved // PUSH_SECONDS,
        "progress_percent": _percent(done[index], size),
    }


def _percent(done: int, total: int) -> float:
    """Rounded down: 100 only if all is done."""
    return done * 10_000 // total / 100


def _end_early(job: SimulatedJob, body: Body, rng: random.Random) -> Iterator[Body]:
    """The last update of a job that does not complete, if it sends one."""
    if job.fate == "quiet":
        return
    body["status"] = job.fate
    if job.fate == "failed":
        disk = body["disks"][-1]
        error = f"read error at sector {rng.randrange(2**32)}: Input/output error"
        disk.update(status="failed", error_message=error)
        body["error"] = f"disk {disk['disk_index']}: {error}"
    yield body


# ---------------------------------------------------------------------------------------------
# The plan: which machine runs which job, and when.

_TYPES = ("backup", "backup", "backup", "replication", "restore")
_FATES: tuple[Fate, ...] = ("completed", "failed", "cancelled")
_FATE_WEIGHTS = (8, 1, 1)


def plan_job(
    rng: random.Random,
    vm_name: str,
    started_at: datetime,
    minutes: float,
    fate: Fate = "completed",
    job_type: str = "backup",
) -> SimulatedJob:
    """A job that would take about `minutes` to complete, on one to four disks."""
    speed_bps = rng.randint(150, 420) * MB
    shares = [rng.uniform(0.3, 1) for _ in range(rng.randint(1, 4))]
    total = speed_bps * minutes * 60
    return SimulatedJob(
        job_type,
        vm_name,
        rng.choice(REPOSITORIES),
        started_at,
        tuple(int(total * share / sum(shares)) + 1 for share in shares),
        speed_bps,
        fate,
        100.0 if fate == "completed" else rng.uniform(20, 80),
        rng.choice(("full", "incremental")) if job_type == "backup" else None,
    )


def _draw_fate(rng: random.Random) -> Fate:
    return rng.choices(_FATES, _FATE_WEIGHTS)[0]


def plan_history(seed: int, now: datetime) -> list[SimulatedJob]:
    """A day of jobs that have all ended: one every few hours on each machine."""
    rng = random.Random(f"{seed} history")
    jobs = []
    for vm_name in MACHINES:
        started_at = now - HISTORY + timedelta(minutes=rng.uniform(0, 200))
        while started_at < now - timedelta(hours=2):
            minutes = rng.uniform(4, 45)
            fate, job_type = _draw_fate(rng), rng.choice(_TYPES)
            jobs.append(plan_job(rng, vm_name, started_at, minutes, fate, job_type))
            started_at += timedelta(minutes=minutes * 2 + rng.uniform(100, 260))
    return jobs


def plan_live(seed: int, now: datetime, shorter: float) -> list[SimulatedJob]:
    """One job for each outcome that a user can watch.

    They have started some time ago, except the last: an old client that sends no telemetry.
    `shorter`: the factor by which the remaining time of each is shortened.
    """
    rng = random.Random(f"{seed} live")
    # Machine, type, fate, minutes since its start, minutes until its fate.
    plan: tuple[tuple[str, str, Fate, float, float], ...] = (
        ("pgprod1", "replication", "completed", 25, 240),
        ("fileserver", "backup", "completed", 8, 1),
        ("mail01", "backup", "failed", 6, 1.5),
        ("web01", "restore", "cancelled", 4, 2),
        ("erp-app", "backup", "quiet", 5, 0.5),
    )
    jobs = []
    for vm_name, job_type, fate, ago, ahead in plan:
        # Dips and slow starts cost about 7 %; the job must not have ended already.
        minutes = 0.93 * ago + max(ahead / shorter, 0.5)
        started_at = now - timedelta(minutes=ago)
        until_percent = 100.0 if fate == "completed" else 60.0
        job = plan_job(rng, vm_name, started_at, minutes * 100 / until_percent, fate, job_type)
        jobs.append(replace(job, until_percent=until_percent))
    old = plan_job(rng, "winad01", now, 2 / shorter)
    return [*jobs, replace(old, has_telemetry=False)]


def pushes(job: SimulatedJob, seed: int) -> Iterator[Push | None]:
    """The pushes of a job's sender, PUSH_SECONDS apart; None where it sends nothing."""
    if job.has_telemetry:
        path = f"/telemetry/{job.job_type}/{job.job_id}"
        yield from ((path, body) for body in updates(job, seed))
        return
    sizes = [{"disk_index": i, "size_bytes": size} for i, size in enumerate(job.disk_bytes)]
    identity = {"job_id": job.job_id, "job_type": job.job_type, **job.identity}
    yield "/jobs", {**identity, "disks": sizes}
    seconds = job.total_bytes / job.speed_bps
    yield from itertools.repeat(None, int(seconds / PUSH_SECONDS))
    disks = [{"disk_index": i, "bytes_transferred": n} for i, n in enumerate(job.disk_bytes)]
    yield f"/jobs/{job.job_id}/complete", {"status": job.fate, "disks": disks}


class Senders:
    """The senders of the live jobs. A machine whose job has ended starts another one."""

    def __init__(self, seed: int, now: datetime, shorter: float = 1.0) -> None:
        self.jobs = plan_live(seed, now, shorter)
        self._seed = seed
        self._shorter = shorter
        self._rng = random.Random(f"{seed} next")
        self._running = [(job, pushes(job, seed)) for job in self.jobs]
        self._due: list[
            tuple[datetime, SimulatedJob]
        ] = []  # when the next job of a machine starts, and the last one
        self.quiet_count = 0

    @property
    def running_count(self) -> int:
        return len(self._running)

    def past(self, now: datetime) -> Iterator[tuple[datetime, SimulatedJob, Body]]:
        """The updates before `now` of the senders with telemetry, job by job."""
        for job, remaining in self._running:
            at = job.started_at
            while job.has_telemetry and at < now and (push := next(remaining, None)):
                yield at, job, push[1]
                at += timedelta(seconds=PUSH_SECONDS)

    def tick(self, now: datetime) -> list[Push]:
        """The pushes of all senders at this moment; call it every PUSH_SECONDS."""
        for at, last in [due for due in self._due if due[0] <= now]:
            self._due.remove((at, last))
            self._begin(last, now)
        due_pushes = []
        for job, remaining in list(self._running):
            try:
                push = next(remaining)
            except StopIteration:
                self._running.remove((job, remaining))
                self._end(job, now)
                continue
            if push is not None:
                path, body = push
                stamp = {"timestamp": isoformat(now)} if job.has_telemetry else {}
                due_pushes.append((path, {**body, **stamp}))
        return due_pushes

    def _begin(self, last: SimulatedJob, now: datetime) -> None:
        minutes = self._rng.uniform(2, 8) / self._shorter
        fate = _draw_fate(self._rng) if last.has_telemetry else "completed"
        job = plan_job(self._rng, last.vm_name, now, minutes, fate, last.job_type)
        job = replace(job, has_telemetry=last.has_telemetry)
        self._running.append((job, pushes(job, self._seed)))

    def _end(self, job: SimulatedJob, now: datetime) -> None:
        if job.fate == "quiet":
            self.quiet_count += 1  # its machine starts no other job, so that the hub notices
        else:
            self._due.append((now + timedelta(seconds=PAUSE_SECONDS), job))
