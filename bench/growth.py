"""What a request costs with 1,000 jobs in the database, and with 100,000 and 1,000,000.

    python bench/growth.py                     embedded databases of its own
    python bench/growth.py postgresql://…      databases of its own on that server
    python bench/growth.py --jobs 1000 20000   other numbers of jobs; ratios are to the first

A tenth of the jobs is live, 10,000 at the most; the others ended within the last year. One hub runs
on each database, and the same request goes to each in turn, so that they share the machine's good
and bad moments. A line a request: p50 and p99 in milliseconds with each number of jobs, and the
ratio of the medians. It must be at most 1.5, unless the request has to read more; those lines are
marked. Ends with 1 if one is more.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.clock import isoformat, utc_now
from app.config import Config
from app.database.attach import attached_database
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database
from app.logs import configure_logging
from app.store.counts import fold_changes
from bench.ingest import Hub, running_hub
from bench.verdicts import quantile
from jobs import detect_stale_jobs, fold_job_counts

NAME = "hub_bench_growth"
JOBS = (1_000, 100_000, 1_000_000)
MOST_LIVE = 10_000
MOST_MACHINES = 1_000
RARE = 20  # jobs of each rare kind, whatever the number of jobs
RECENT = 500  # jobs in the time range that is the same with every number of jobs
STEP = 50_000  # jobs filled in one statement
SLOWER = 1.5
LONGEST_SUMMARY_MS = 20.0
MILLISECONDS = 1000.0
START_SECONDS = 120.0  # the embedded engine is busy with the first run of the tasks
WARM_UP = 12  # a statement is planned once more after some runs
CHARTED = "charted"

# The rare ones are spread over the year.
_FILL = """
INSERT INTO jobs (job_id, job_type, vm_name, repository_id, status, current_phase,
    bytes_transferred, total_bytes, progress_percent, created_at, started_at, completed_at,
    ended_by, newest_update_at, last_telemetry_at, last_progress_at, performance_metrics)
SELECT CASE WHEN live THEN 'live-' || %(jobs)s - n ELSE 'ended-' || n END,
       CASE WHEN live THEN 'backup' WHEN n %% rare_every = 3 THEN 'verify'
            WHEN n %% 10 = 4 THEN 'replication' ELSE 'backup' END,
       'vm-' || lpad(machine::text, 5, '0'),
       CASE WHEN n %% rare_every = 5 THEN 'repo-rare' ELSE 'repo-' || machine %% 20 END,
       status, CASE WHEN live THEN 'transferring' ELSE 'finalizing' END, 1000000000, 2000000000,
       CASE WHEN status = 'completed' THEN 100 ELSE 50 END, created_at, created_at,
       CASE WHEN NOT live THEN seen_at END, CASE WHEN NOT live THEN 'sender' END,
       seen_at, seen_at, seen_at,
       CASE WHEN NOT live THEN jsonb_build_object(
           'snapshots', n %% 700, 'speeds', (SELECT jsonb_agg(n * i %% 977)
                                            FROM generate_series(1, 40) AS i)) END
FROM (
    SELECT n, live, rare_every, created_at, n * 7919 %% %(machines)s AS machine,
           CASE WHEN live THEN now() ELSE created_at + interval '1 hour' END AS seen_at,
           CASE WHEN live THEN CASE WHEN n %% 100 = 7 THEN 'stalled' ELSE 'running' END
                WHEN n %% rare_every = 7 THEN 'cancelled' WHEN n %% 20 = 9 THEN 'failed'
                ELSE 'completed' END AS status
    FROM (
        SELECT n, n > %(jobs)s - %(live)s AS live, %(jobs)s / %(rare)s AS rare_every,
               now() - (%(jobs)s - n) * (interval '365 days' / %(jobs)s) AS created_at
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    ) AS numbered
) AS made
"""
# One job with an update every 5 s for an hour.
_FILL_CHARTED = """
WITH updates AS (
    INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase,
        bytes_transferred, total_bytes, transfer_speed_bps, eta_seconds)
    SELECT now() - n * interval '5 seconds', 10, %(job_id)s, 'running', 'transferring',
           1000000000 - n * 1000000, 2000000000, 200000 + n * 7919 %% 5000, n
    FROM generate_series(1, 720) AS n
    RETURNING time
)
INSERT INTO jobs (job_id, job_type, status, created_at, started_at, newest_update_at,
    last_telemetry_at)
SELECT %(job_id)s, 'backup', 'running', now() - interval '1 hour', min(time), max(time), now()
FROM updates
"""
_RECENT = "SELECT started_at FROM jobs ORDER BY started_at DESC, id DESC OFFSET %s LIMIT 1"
_BEAT = """
INSERT INTO ingest_beats (process_id, up_since, beat_at)
VALUES ('bench', now() - interval '1 day', now())
ON CONFLICT (process_id) DO UPDATE SET beat_at = excluded.beat_at
"""


# ---------------------------------------------------------------------------------------------
# A hub with so many jobs.


@dataclass
class Site:
    """A running hub, its database, and a connection to it. `times`: seconds of each request."""

    jobs: int
    hub: Hub
    owner: Database
    recent: str  # the instant since which RECENT jobs were started
    times: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = live_of(self.jobs)
        self._client = http.client.HTTPConnection(self.hub.host, self.hub.port, timeout=60)
        self._steps = itertools.count()

    def get(self, path: str) -> None:
        self._request("GET", path)

    def push(self) -> None:
        """An ordinary update of a random live job."""
        step = next(self._steps)
        body = {
            "status": "running",
            "timestamp": isoformat(utc_now()),
            "current_phase": "transferring",
            "bytes_transferred": 1_000_000_001 + step,
            "total_bytes": 2_000_000_000,
            "transfer_speed_bps": 100_000_000 + step,
        }
        self._request("POST", f"/telemetry/backup/live-{random.randrange(self.live)}", body)

    def sweep(self) -> None:
        """The task detect_stale_jobs, with thresholds that no job has reached."""
        config = Config(stale_after_seconds=40_000, fail_after_seconds=50_000)
        sweep = detect_stale_jobs.run_once(self.owner, config)
        if sweep.stalled or sweep.failed or sweep.watched_seconds is None:
            raise SystemExit(f"bench: a sweep that should find nothing: {sweep}")

    def fold(self) -> None:
        fold_job_counts.run_once(self.owner, Config())

    def _request(self, method: str, path: str, body: object = None) -> None:
        text = None if body is None else json.dumps(body)
        self._client.request(
            method, f"/api/v1{path}", text, {"Content-Type": "application/json"} if text else {}
        )
        answer = self._client.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"bench: {method} {path}: {answer.status} {content[:300]!r}")


def live_of(jobs: int) -> int:
    return min(MOST_LIVE, jobs // 10)


def machines_of(jobs: int) -> int:
    return min(MOST_MACHINES, jobs // 100)


@contextmanager
def site(server: str | None, jobs: int) -> Iterator[Site]:
    """A hub on a database of its own with so many jobs."""
    with database(server, jobs) as (config, url), ExitStack() as stack:
        settings = {"HUB_SWEEP_SECONDS": "3600", "HUB_ROLLUP_SECONDS": "3600"}
        if url is None:
            settings["HUB_DATA_DIR"] = str(config.data_dir)
        args = argparse.Namespace(url=None, database_url=url)
        hub = stack.enter_context(running_hub(args, **settings))
        owner = stack.enter_context(attached_database(config, as_owner=True))
        owner.open()
        stack.callback(owner.close)
        with owner.reading(wait_seconds=START_SECONDS) as conn:
            conn.execute(_BEAT)
            row = conn.execute(_RECENT, [RECENT - 1]).fetchone()
        assert row is not None
        yield Site(jobs, hub, owner, isoformat(row[0]))


@contextmanager
def database(server: str | None, jobs: int) -> Iterator[tuple[Config, str | None]]:
    """A filled database of our own, and the DATABASE_URL of a hub on it."""
    if server is None:
        with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
            config = Config(data_dir=Path(folder), embedded_port=0)
            with EmbeddedEngine(config.data_dir):
                _fill(config, jobs)
            yield config, None
        return
    name = f"{NAME}_{jobs}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {name}".encode())
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    try:
        _fill(Config(database_url=url), jobs)
        yield Config(database_url=url), url
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _fill(config: Config, jobs: int) -> None:
    started = time.perf_counter()
    with Database.of_owner(config).connect(autocommit=True) as conn:
        migrate(conn)
        values = {
            "jobs": jobs,
            "live": live_of(jobs),
            "machines": machines_of(jobs),
            "rare": RARE,
        }
        for first in range(1, jobs + 1, STEP):
            conn.execute(_FILL, {**values, "first": first, "last": min(first + STEP - 1, jobs)})
        conn.execute(_FILL_CHARTED, {"job_id": CHARTED})
        fold_changes(conn)
        for table in ("jobs", "job_counts", "machine_job_counts", "job_count_changes"):
            conn.execute(f"VACUUM ANALYZE {table}".encode())
        conn.execute("CHECKPOINT")
    print(f"{jobs:,} jobs filled in {time.perf_counter() - started:.0f} s", flush=True)


# ---------------------------------------------------------------------------------------------
# What is measured.


@dataclass(frozen=True)
class Case:
    """`reads_more`: its answer, or what it must look at, grows with the number of jobs."""

    name: str
    run: Callable[[Site], None]
    reads_more: bool = False


def get(path: str, *, reads_more: bool = False) -> Case:
    return Case(f"GET {path}", lambda site: site.get(path), reads_more)


def since(path: str, name: str, instant: Callable[[Site], str], *, reads_more: bool) -> Case:
    joint = "&" if "?" in path else "?"
    return Case(
        f"GET {path}{joint}from={name}",
        lambda site: site.get(f"{path}{joint}from={quote(instant(site))}"),
        reads_more,
    )


def month_ago(site: Site) -> str:
    return isoformat(utc_now() - timedelta(days=30))


def day_ago(site: Site) -> str:
    return isoformat(utc_now() - timedelta(days=1))


SUMMARY = "GET /jobs/summary"
CASES = (
    Case("push", Site.push),
    get("/jobs"),
    get("/jobs?status=pending,running,stalled"),
    get("/jobs?status=completed,failed,cancelled"),
    get("/jobs?status=cancelled"),
    get("/jobs?status=pending"),
    get("/jobs?job_type=verify"),
    get("/jobs?repository_id=repo-rare"),
    get("/jobs?vm_name=vm-00004"),
    get("/jobs?vm_name=vm-00004&status=cancelled", reads_more=True),
    get("/jobs?status=completed,failed,cancelled&sort=bytes"),
    get("/jobs?status=completed,failed,cancelled&sort=duration&order=asc"),
    get("/jobs?status=failed&sort=speed"),
    get("/jobs?status=cancelled&sort=bytes"),
    get("/jobs?vm_name=vm-00004&sort=bytes", reads_more=True),
    get("/jobs?sort=bytes", reads_more=True),  # every live job
    get("/jobs?q=ended-1", reads_more=True),  # 5,000 jobs at the most
    get("/jobs?q=no-such-text", reads_more=True),  # likewise
    since("/jobs?status=failed", "(500 jobs ago)", lambda site: site.recent, reads_more=False),
    Case(
        "GET /jobs?active_from=(a day ago)",
        lambda site: site.get(f"/jobs?active_from={quote(day_ago(site))}"),
        reads_more=True,
    ),
    get("/jobs/summary"),
    get("/jobs/summary?status=failed"),
    get("/jobs/summary?job_type=backup"),
    get("/jobs/summary?job_type=verify"),
    get("/jobs/summary?repository_id=repo-7"),
    get("/jobs/summary?vm_name=vm-00004"),
    get("/jobs/summary?vm_name=vm-00004&repository_id=repo-4"),
    since("/jobs/summary", "(500 jobs ago)", lambda site: site.recent, reads_more=False),
    since("/jobs/summary", "(a month ago)", month_ago, reads_more=True),
    get("/machines?limit=10"),
    get("/machines?limit=500", reads_more=True),
    get(f"/telemetry/history/{CHARTED}"),
    Case("task detect_stale_jobs", Site.sweep, reads_more=True),
    Case("task fold_job_counts", Site.fold),
)


def measure(sites: Sequence[Site], rounds: int, requests: int) -> None:
    for case in CASES:
        for each in sites:
            for _ in range(WARM_UP):
                case.run(each)
    for _ in range(rounds):
        for case in CASES:
            for each in sites:
                times = each.times.setdefault(case.name, [])
                for _ in range(requests):
                    began = time.perf_counter()
                    case.run(each)
                    times.append(time.perf_counter() - began)


def report(sites: Sequence[Site]) -> bool:
    """A line a case; whether all ratios and the summary are within their limits."""
    first, largest = sites[0], sites[-1]
    all_hold = True
    heads = [f"{each.jobs:>13,} jobs" for each in sites]
    print(f"\n{'p50 / p99, ms':<62}{''.join(heads)}   ratio")
    for case in CASES:
        cells = [_cell(each.times[case.name]) for each in sites]
        ratio = _ratio(first.times[case.name], largest.times[case.name])
        holds = ratio <= SLOWER or case.reads_more
        if case.name == SUMMARY:
            holds &= statistics.median(largest.times[case.name]) * 1000 <= LONGEST_SUMMARY_MS
        all_hold &= holds
        verdict = "reads more" if case.reads_more else "" if holds else "FAILS"
        print(f"{case.name:<62}{''.join(cells)} {ratio:>7.2f}  {verdict}", flush=True)
    return all_hold


def _cell(times: Sequence[float]) -> str:
    p50, p99 = (quantile(times, share) * MILLISECONDS for share in (0.5, 0.99))
    return f"{p50:>10.2f} {p99:>7.1f}"


def _ratio(first: Sequence[float], last: Sequence[float]) -> float:
    return statistics.median(last) / statistics.median(first)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", nargs="?", help="without it: embedded databases")
    parser.add_argument("--jobs", type=int, nargs="+", default=JOBS, help="how many jobs")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=20, help="of each kind in a round")
    args = parser.parse_args()
    configure_logging("ERROR")
    with ExitStack() as stack:
        sites = [stack.enter_context(site(args.server, jobs)) for jobs in args.jobs]
        time.sleep(5)  # the hubs' tasks run at their start
        measure(sites, args.rounds, args.requests)
        return 0 if report(sites) else 1


if __name__ == "__main__":
    sys.exit(main())
