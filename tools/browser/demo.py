"""The data of the browser tests: 10,000 jobs, some of them with everything that a run can have, and
nodes. The 10,000 are written by SQL, everything else through the public API.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from app.clock import isoformat
from app.commands.simulation import PUSH_SECONDS, SimulatedJob, snapshots, updates
from tools.hub_process import HubProcess, wait_until

BULK = 10_000
JUDGED = 300  # the newest of them; to judge all takes a minute on a busy machine
BATCH = 1_000
MB = 1_000_000
GB = 1_000_000_000
# Other tests check the detection of silence; here the seeded jobs must not change.
PATIENT = {
    "HUB_STALE_AFTER_SECONDS": "86400",
    "HUB_FAIL_AFTER_SECONDS": "172800",
    "HUB_NODE_OFFLINE_SECONDS": "86400",
}

LIVE = "backup-fileserver-live"
STALLED = "backup-web01-stalled"
PENDING = "backup-winad01-pending"
NIGHTS = [f"backup-fileserver-night-{night}" for night in range(1, 6)]  # the last one failed
NIGHTLY = "nightly-web02"  # a run each night; the second one failed
NIGHTLY_RUNS = 3
ARCHIVE = "archive"  # a machine; its last run completed, and moved nothing
EMPTY = "backup-archive-empty"
GAPS = "restore-mail01-gaps"
LONG = "backup-erp-app-long"
LONG_UPDATES = 5_000
DAY = "replication-erp-app-day"  # more updates than a chart has points
NODES = ("node-fra-1", "node-fra-2", "node-ams-1", "node-ams-2")
OFFLINE_NODE = NODES[-1]

# Names that a sender may use: markup, script addresses, right-to-left text, maximum length.
IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
ADDRESS = "javascript:alert(3)"
RIGHT_TO_LEFT = "\u202egnp.tset \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
EMOJI = "\U0001f4be\U0001f9d1\u200d\U0001f692 {a|b}"
LENGTHY = ("W\u0130DE" * 64)[:255]
# An id has no direction marks and no joiners; other names may.
HOSTILE_IDS = (
    IMAGE,
    ADDRESS,
    RIGHT_TO_LEFT.replace("\u202e", ""),
    EMOJI.replace("\u200d", ""),
    LENGTHY,
)

Body = dict[str, Any]


@dataclass(frozen=True)
class Demo:
    """The reference time of the runs."""

    now: datetime


def seed(hub: HubProcess) -> Demo:
    """Fill an empty hub."""
    demo = Demo(datetime.now(UTC).replace(microsecond=0))
    made = (_nights, _nightly, _archive, _live, _gaps, _hostile)
    push(hub, itertools.chain.from_iterable(updates_at(demo.now) for updates_at in made))
    _register(hub)
    _push_nodes(hub, demo.now)
    with psycopg.connect(hub.owner_dsn(), prepare_threshold=None) as conn:
        conn.execute(_BULK, {"count": BULK})
        conn.execute(_JUDGE_FEW, {"last": f"bulk-{JUDGED:05}"})
        _insert_series(conn, LONG, LONG_UPDATES, demo.now - timedelta(hours=9))
        _insert_series(conn, DAY, 4 * LONG_UPDATES, demo.now - timedelta(hours=40))
        conn.execute(_ABSENCE, {"from": _gap_time(demo.now, 60), "to": _gap_time(demo.now, 68)})
        conn.execute(_STALL, {"job_id": STALLED})
        conn.execute(_TAKE_OFFLINE, {"node_id": OFFLINE_NODE})
    wait_until(lambda: _is_judged(hub), 120)  # else lists change while they are tested
    return demo


def _is_judged(hub: HubProcess) -> bool:
    with psycopg.connect(hub.owner_dsn(), prepare_threshold=None) as conn:
        row = conn.execute(_JUDGED, {"job_id": EMPTY}).fetchone()
    return row is not None and bool(row[0])


def push(hub: HubProcess, items: Iterable[Body]) -> None:
    """Push updates through the batch endpoint."""
    everything = list(items)
    for start in range(0, len(everything), BATCH):
        body = {"updates": everything[start : start + BATCH]}
        status, _, answer = hub.request("POST", "/api/v1/telemetry/batch", body, timeout=60)
        assert status == 200, answer
        assert not answer["rejected"]


def push_snapshots(hub: HubProcess, items: list[Body]) -> None:
    """Push snapshots of nodes."""
    for start in range(0, len(items), BATCH):
        body = {"snapshots": items[start : start + BATCH]}
        status, _, answer = hub.request("POST", "/api/v1/telemetry/snapshot", body, timeout=60)
        assert status == 200, answer


def run(job_id: str, job: SimulatedJob, end: datetime | None = None) -> Iterator[Body]:
    """The updates of a simulated job with another id, up to an instant."""
    at = job.started_at
    for body in updates(job, 1):
        if end is not None and at >= end:
            return
        yield {"job_id": job_id, "job_type": job.job_type, "timestamp": isoformat(at), **body}
        at += timedelta(seconds=PUSH_SECONDS)


def make_job(vm_name: str, started_at: datetime, minutes: float, **changes: Any) -> SimulatedJob:
    """A backup of two disks."""
    size = int(300 * MB * 60 * minutes)
    given = {"disk_bytes": (size * 2 // 3, size // 3), "speed_bps": 300 * MB, **changes}
    return SimulatedJob(
        given.pop("job_type", "backup"),
        vm_name,
        "repo-main",
        started_at,
        backup_type="incremental",
        **given,
    )


def _nights(now: datetime) -> Iterator[Body]:
    for number, job_id in enumerate(NIGHTS, 1):
        started_at = now - timedelta(days=len(NIGHTS) + 1 - number)
        fails = {"fate": "failed", "until_percent": 40} if job_id == NIGHTS[-1] else {}
        yield from run(job_id, make_job("fileserver", started_at, 15 + number, **fails))


def _nightly(now: datetime) -> Iterator[Body]:
    for number in range(1, NIGHTLY_RUNS + 1):
        started_at = now - timedelta(days=NIGHTLY_RUNS + 1 - number)
        fails = {"fate": "failed", "until_percent": 40} if number == 2 else {}
        yield from run(NIGHTLY, make_job("web02", started_at, 3 + number, **fails))


def _archive(now: datetime) -> Iterator[Body]:
    for night in range(1, 4):
        started_at = now - timedelta(days=night)
        yield from run(f"backup-{ARCHIVE}-night-{night}", make_job(ARCHIVE, started_at, 5))
    for minute, status in ((30, "running"), (20, "completed")):
        yield {
            "job_id": EMPTY,
            "job_type": "backup",
            "status": status,
            "timestamp": isoformat(now - timedelta(minutes=minute)),
            "vm_name": ARCHIVE,
            "repository_id": "repo-main",
            "backup_type": "incremental",
            "bytes_transferred": 0,
            "total_bytes": 52 * GB,
        }


def _live(now: datetime) -> Iterator[Body]:
    yield from run(LIVE, make_job("fileserver", now - timedelta(minutes=12), 30), now)
    yield from run(STALLED, make_job("web01", now - timedelta(minutes=9), 30), now)


def _gap_time(now: datetime, minutes: float) -> datetime:
    """The instant so many minutes after the start of the run with gaps."""
    return now - timedelta(hours=3) + timedelta(minutes=minutes)


def _gaps(now: datetime) -> Iterator[Body]:
    """Two hours with a gap of each reason; a disk fails, and with it the job."""
    job = make_job(
        "mail01", _gap_time(now, 0), 120, job_type="restore", fate="failed", until_percent=80
    )
    missing = ((20, 26), (60, 68), (90, 95))
    lost_at = isoformat(_gap_time(now, 95))
    for body in run(GAPS, job):
        at = datetime.fromisoformat(body["timestamp"])
        if any(_gap_time(now, a) < at < _gap_time(now, b) for a, b in missing):
            continue
        yield {**body, "lost_updates": 59} if body["timestamp"] == lost_at else body


def _hostile(now: datetime) -> Iterator[Body]:
    for place, job_id in enumerate(HOSTILE_IDS):
        names = itertools.cycle((SCRIPT, IMAGE, ADDRESS, RIGHT_TO_LEFT, EMOJI, LENGTHY))
        rest = list(itertools.islice(names, place, place + 6))
        for step in range(30):
            yield {
                "job_id": job_id,
                "job_type": "backup",
                "status": "failed" if step == 29 else "running",
                "timestamp": isoformat(now - timedelta(minutes=20) + timedelta(seconds=5 * step)),
                "vm_name": IMAGE,
                "repository_id": rest[0],
                "backup_type": rest[1],
                "current_phase": rest[step // 10 + 2],
                "bytes_transferred": step * GB,
                "total_bytes": 30 * GB,
                "transfer_speed_bps": 200 * MB + step,
                "disks": [{"disk_index": 0, "status": "failed", "error_message": rest[3]}],
                "error": f"{rest[4]}\n{IMAGE}",
            }


def _register(hub: HubProcess) -> None:
    body = {"job_id": PENDING, "job_type": "backup", "vm_name": "winad01", "total_bytes": 90 * GB}
    status, _, answer = hub.request("POST", "/api/v1/jobs", body)
    assert status == 201, answer


def _push_nodes(hub: HubProcess, now: datetime) -> None:
    times = [now - timedelta(minutes=180 - minute) for minute in range(180)]
    items = [
        {**snapshot, "timestamp": isoformat(at)}
        for node_id in NODES
        for at, snapshot in zip(times, snapshots(node_id, 1), strict=False)
        if node_id != OFFLINE_NODE or at < now - timedelta(minutes=15)
    ]
    items.append({"node_id": IMAGE, "cpu_percent": 3.0, "timestamp": isoformat(now)})
    push_snapshots(hub, items)


# With a summary: otherwise a task would make 10,000 while the tests run.
_BULK = """
INSERT INTO jobs (
    job_id, job_type, vm_name, repository_id, backup_type, status, current_phase,
    bytes_transferred, total_bytes, progress_percent, error_message, created_at, started_at,
    completed_at, ended_by, newest_update_at, last_telemetry_at, last_progress_at,
    performance_metrics)
SELECT
    'bulk-' || lpad(i::text, 5, '0'), (ARRAY['backup', 'replication', 'restore'])[i %% 3 + 1],
    'vm-' || lpad((i %% 200)::text, 3, '0'), 'repo-' || i %% 3, 'incremental', status, 'finalizing',
    moved, total, 100.0 * moved / total,
    CASE status WHEN 'failed' THEN 'read error at sector ' || i * 7919 END,
    start, start, start + length, 'sender', start + length, start + length, start + length,
    jsonb_build_object(
        'peak_speed_bps', moved / 200, 'avg_speed_bps', moved / 300, 'min_speed_bps', moved / 900,
        'effective_speed_bps', moved / extract(epoch FROM length),
        'duration_seconds', extract(epoch FROM length), 'snapshots', 60, 'resolution_seconds', 0,
        'speeds_per_point', 1, 'chart_data', '[]'::jsonb, 'phases', '[]'::jsonb,
        'phases_omitted', 0, 'gaps', '[]'::jsonb, 'gaps_omitted', 0)
FROM generate_series(1, %(count)s) AS i,
     LATERAL (SELECT now() - i * interval '4 minutes' - interval '1 hour' AS start,
                     interval '1 second' * (300 + i %% 1700) AS length,
                     CASE WHEN i %% 17 = 0 THEN 'failed' WHEN i %% 41 = 0 THEN 'cancelled'
                          ELSE 'completed' END AS status,
                     (i %% 97 + 3) * 1000000000::bigint AS total) AS one,
     LATERAL (SELECT CASE status WHEN 'completed' THEN total ELSE total / 3 END AS moved) AS two
"""

# Before the transaction ends, and the task sees what has changed.
_JUDGE_FEW = """
DELETE FROM changed_runs
WHERE id IN (SELECT id FROM jobs WHERE job_id > %(last)s AND job_id LIKE 'bulk-%%')
"""

_JUDGED = """
SELECT NOT EXISTS (SELECT FROM changed_runs) AND EXISTS (
    SELECT FROM series_runs JOIN jobs USING (id)
    WHERE jobs.job_id = %(job_id)s AND result IS NOT NULL)
"""

# It arrives now: what arrived before the last refresh is taken to be in the rollups.
_SERIES_JOB = """
INSERT INTO jobs (
    job_id, job_type, vm_name, status, current_phase, bytes_transferred, total_bytes,
    progress_percent, created_at, started_at, completed_at, ended_by, newest_update_at,
    last_telemetry_at, last_progress_at)
VALUES (
    %(job_id)s, split_part(%(job_id)s, '-', 1), 'erp-app', 'completed', 'transferring',
    %(count)s * 1000000000::bigint, %(count)s * 1000000000::bigint, 100, %(from)s, %(from)s,
    %(to)s, 'sender', %(to)s, now(), %(to)s)
"""

# Speeds wander, and a peak stands out in the middle.
_SERIES = """
INSERT INTO job_telemetry (
    time, arrival_lag_ms, job_id, seq, status, current_phase, bytes_transferred, total_bytes,
    transfer_speed_bps, progress_percent)
SELECT
    %(from)s + i * interval '5 seconds', 0, %(job_id)s, 0,
    CASE i WHEN %(count)s - 1 THEN 'completed' ELSE 'running' END,
    CASE WHEN i = 0 THEN 'transferring' END, i * 1000000000::bigint,
    CASE WHEN i = 0 THEN %(count)s * 1000000000::bigint END,
    CASE WHEN i = %(count)s / 2 THEN 900000000
         ELSE (200000000 + 80000000 * sin(i / 40.0) + 30000000 * sin(i * 2.3))::bigint END,
    100.0 * i / %(count)s
FROM generate_series(0, %(count)s - 1) AS i
"""

_ABSENCE = "INSERT INTO hub_absences (from_at, to_at) VALUES (%(from)s, %(to)s)"
_STALL = "UPDATE jobs SET status = 'stalled' WHERE job_id = %(job_id)s"
_TAKE_OFFLINE = """
WITH gone AS (
    UPDATE nodes SET state = 'offline', state_since = now() WHERE node_id = %(node_id)s
    RETURNING node_id)
INSERT INTO node_events (node_id, from_state, to_state, reason)
SELECT node_id, 'online', 'offline', 'No snapshot for 900 seconds.' FROM gone
"""


def _insert_series(conn: psycopg.Connection, job_id: str, count: int, start: datetime) -> None:
    end = start + timedelta(seconds=5 * (count - 1))
    values = {"job_id": job_id, "count": count, "from": start, "to": end}
    conn.execute(_SERIES_JOB, values)
    conn.execute(_SERIES, values)
