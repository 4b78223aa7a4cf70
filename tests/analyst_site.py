"""A small site with days of work behind it, for tests of what analysts see. The hub itself makes
its jobs, disks, events and summaries out of what the senders say (`Run`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg

from app.charts.summary import summarise_job
from app.clock import to_micros, utc_now
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS
from app.domain.updates import Fields, Update
from app.store.summaries import write_summary
from jobs import detect_stale_jobs, find_attention, judge_runs
from tests.conftest import TABLES
from tests.storing import store

Analyst = psycopg.Connection[dict[str, Any]]
MIB = 1024**2
MINUTE, HOUR, DAY = 60, 3600, 86_400
LIVE = "backup-pgtest1-1760096737"


@dataclass(frozen=True)
class Run:
    """A job as its sender tells it: `count` updates at a constant speed, the first one a snapshot.

    `end`: the status of the last one, None while it runs; `fraction`: how much of the whole has
    moved by then; `disks`: each one's share; `pause`: after which update, and for how many seconds;
    `lost_updates`: as the update after the pause tells.
    """

    job_id: str
    vm_name: str
    ago_seconds: float
    end: str | None = "completed"
    speed_bps: int = 100 * MIB
    count: int = 13
    every_seconds: int = MINUTE
    repository_id: str = "repo-main"
    fraction: float = 1.0
    disks: dict[int, float] = field(default_factory=dict)
    error: str | None = None
    pause: tuple[int, int] = (0, 0)
    lost_updates: int = 0

    @property
    def moved_bytes(self) -> int:
        return self.speed_bps * self.every_seconds * (self.count - 1)

    def updates(self, now: int) -> list[Update]:
        return [self._update(n, now) for n in range(self.count)]

    def _update(self, n: int, now: int) -> Update:
        left = self.count - 1 - n
        is_end = not left and self.end is not None
        paused = self.pause[1] if n > self.pause[0] else 0
        time = now + round((n * self.every_seconds + paused - self.ago_seconds) * 1_000_000)
        done = self.speed_bps * self.every_seconds * n
        fields: Fields = {
            "current_phase": "finalizing" if is_end else "transferring" if n else "snapshot",
            "bytes_transferred": done,
            "transfer_speed_bps": self.speed_bps if n else 0,
            "eta_seconds": left * self.every_seconds * 3 // 2,  # it never is so long
        }
        if self.moved_bytes:
            fields["total_bytes"] = int(self.moved_bytes / self.fraction)
            fields["progress_percent"] = 100 * done / int(self.moved_bytes / self.fraction)
        if not n:
            fields |= {"vm_name": self.vm_name, "repository_id": self.repository_id}
        if self.error and is_end:
            fields["error_message"] = self.error
        disks = {index: self._disk(share, done, n) for index, share in self.disks.items()}
        return Update(
            self.job_id.split("-")[0],
            self.job_id,
            self.end if is_end and self.end else "running",
            timestamp=time,
            fields=fields,
            disks=disks,
            time=time,
            lost_updates=self.lost_updates if n == self.pause[0] + 1 else 0,
        )

    def _disk(self, share: float, done: int, n: int) -> Fields:
        return {
            "bytes_transferred": round(done * share),
            "total_bytes": round(self.moved_bytes * share / self.fraction),
            "transfer_speed_bps": round(self.speed_bps * share) if n else 0,
        }


OFFSITE = "repo-offsite"
DAILY = [
    Run(
        f"backup-pgtest1-day{d}",
        "pgtest1",
        d * DAY + 2 * HOUR,
        speed_bps=(40 if d == 1 else 100) * MIB,
    )
    for d in range(1, 11)
]
ENDED = [
    *DAILY,
    Run("backup-mail01-full", "mail01", 5 * HOUR, repository_id=OFFSITE, disks={0: 0.8, 1: 0.2}),
    Run(
        "backup-mail01-failed",
        "mail01",
        3 * HOUR + 720,
        "failed",
        repository_id=OFFSITE,
        error="I/O stalled: disk full",
        fraction=0.5,
    ),
    Run("backup-web01-gap", "web01", 6 * HOUR, pause=(6, 600), lost_updates=120),
    Run("backup-web01-empty", "web01", 7 * HOUR, speed_bps=0),
    Run("backup-web01-differs", "web01", 8 * HOUR, disks={0: 0.5, 1: 0.5}),
    Run("replication-web01-1", "web01", 9 * HOUR, "cancelled", fraction=0.5),
    Run("backup-erp-shifted", "erp-app", -2 * HOUR),
    Run("backup-laptop-late", "laptop", 40 * MINUTE),
    Run("backup-vpn-last", "vpn01", 3 * DAY),
]
REVIVED = Run("backup-pgtest1-revived", "pgtest1", 2 * HOUR)
DEAD = Run("backup-web01-dead", "web01", 2 * HOUR, None, fraction=0.5)
STALLED = Run("backup-mail01-stalled", "mail01", 900, None, repository_id=OFFSITE, fraction=0.5)
RUNNING = [
    Run(
        LIVE,
        "pgtest1",
        1200,
        None,
        count=240,
        every_seconds=5,
        fraction=0.5,
        disks={0: 0.75, 1: 0.25},
    ),
    Run(
        "restore-mail01-hung",
        "mail01",
        HOUR,
        None,
        count=120,
        every_seconds=30,
        fraction=0.5,
        repository_id=OFFSITE,
    ),
    Run("backup-web01-quiet", "web01", 900, None, fraction=0.5),
    Run("replication-web01-lost", "web01", 1500, None, fraction=0.5),
]
SILENT_SECONDS = {
    LIVE: 4,
    "restore-mail01-hung": 4,
    "backup-web01-quiet": 90,
    STALLED.job_id: 120,
    "replication-web01-lost": 400,
}


def fill_site(database: Database, config: Config) -> None:
    """Let the hub hear of every run, judge the silent ones and summarise what has ended."""
    now = to_micros(utc_now())
    revived = REVIVED.updates(now)
    runs = [*ENDED, DEAD, STALLED, *RUNNING]
    with database.transaction() as conn:
        store(conn, *(update for run in runs for update in run.updates(now)), *revived[:10])
        beat(conn)
        for job_id, seconds in {DEAD.job_id: 400, REVIVED.job_id: 400, STALLED.job_id: 120}.items():
            set_silence(conn, job_id, seconds)
    for _ in ("stall", "fail"):
        detect_stale_jobs.run_once(database, config)
    with database.transaction() as conn:
        store(conn, *revived[10:])
        conn.execute(HEARD_WHEN_SENT)
        conn.execute(OLDER_SENDERS)
        conn.execute(NODES)
        conn.execute(FLAWS)
        ended = conn.execute("SELECT job_id FROM jobs WHERE completed_at IS NOT NULL").fetchall()
        for (job_id,) in ended:
            write_summary(conn, job_id, *summarise_job(conn, job_id))
        conn.execute(HANGING)
    judge_runs.run_once(database, config)
    find_attention.run_once(database, config)
    with database.transaction() as conn:
        conn.execute(ACKNOWLEDGED)


# The hub heard everything just now; let it have heard each update when it was sent.
HEARD_WHEN_SENT = """
UPDATE job_telemetry SET arrival_lag_ms =
    CASE job_id WHEN 'backup-laptop-late' THEN 1200000 ELSE 700 END;
UPDATE jobs SET created_at = started_at
"""
OLDER_SENDERS = """
INSERT INTO jobs (job_id, job_type, vm_name, status, bytes_transferred, completed_at, ended_by)
VALUES ('backup-old01-1', 'backup', 'old01', 'running', 0, NULL, NULL),
       ('backup-old01-2', 'backup', 'old01', 'completed', 5368709120, now(), 'sender')
"""
NODES = """
INSERT INTO nodes (node_id, newest_snapshot_at, clock_offset_seconds)
VALUES ('node-a', now(), NULL), ('node-b', now(), -3600);
INSERT INTO node_telemetry (time, received_at, node_id, cpu_percent, memory_percent, disk_percent,
                            network_tx_rate_mbps, disk_used_gb)
SELECT now() - n * interval '1 minute', now() - n * interval '1 minute', node_id,
       CASE WHEN node_id = 'node-a' AND n BETWEEN 182 AND 190 THEN 97 ELSE 20 END, 40, 60, 1.5, 300
FROM generate_series(0, 359) AS n
CROSS JOIN unnest('{node-a, node-b}'::text[]) AS node_id;
INSERT INTO node_events (node_id, from_state, to_state, reason)
VALUES ('node-b', 'online', 'offline', 'No snapshot for 180s')
"""
FLAWS = """
UPDATE job_disks SET bytes_transferred = bytes_transferred - 1000
WHERE job_id = 'backup-web01-differs' AND disk_index = 1;
INSERT INTO tasks (task_id, interval_seconds, last_finished_at)
VALUES ('detect_stale_jobs', 30, now() - interval '10 seconds')
"""
ACKNOWLEDGED = """
UPDATE attention
SET acknowledged_at = now(), acknowledged_by = 'anna', note = 'False alarm: the clock was set.'
WHERE kind = 'clock'
"""
HANGING = """
UPDATE jobs SET last_progress_at = now() - interval '30 minutes'
WHERE job_id = 'restore-mail01-hung'
"""


def keep_silences(database: Database) -> None:
    """Make the live jobs as silent now as they were when the site was filled."""
    with database.transaction() as conn:
        beat(conn)
        for job_id, seconds in SILENT_SECONDS.items():
            set_silence(conn, job_id, seconds)
        conn.execute(HANGING)


def set_silence(conn: Connection, job_id: str, seconds: float) -> None:
    conn.execute(
        "UPDATE jobs SET last_telemetry_at = now() - make_interval(secs => %s) WHERE job_id = %s",
        (seconds, job_id),
    )


def beat(conn: Connection) -> None:
    conn.execute(
        "INSERT INTO ingest_beats VALUES ('web', now() - interval '1 hour', now()) "
        "ON CONFLICT (process_id) DO UPDATE SET beat_at = now()"
    )


def empty_site(database: Database) -> None:
    """Empty every table and rollup."""
    with database.transaction() as conn:
        for table in TABLES:
            conn.execute(f"DELETE FROM {table}")
        for rollup in ROLLUPS:  # an emptied rollup is in real time again
            conn.execute(f"TRUNCATE {rollup.name}")
