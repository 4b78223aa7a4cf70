"""How fast charts are, how much disk an update takes, and what a late update costs.

    python bench/history.py postgresql://postgres@127.0.0.1:5432/    500 jobs, then 2,000, of 24 h
    python bench/history.py                    the same, smaller, on an embedded database of its own

Each job sends an update every 5 s (`--every`) for a day, a tenth of them with two disks. What a
chart reads, its 1,440 minutes, is the same with one every 30 s, and is there in a sixth of the
time. The jobs ran nine days ago, and the scheduled tasks have done to them what they do in nine
days. For each number of jobs it makes a database of its own, on a server `hub_bench_history`, and
drops it at the end.

Charts of these jobs are measured the first time, when they are read, and again, when they are kept.
Then those of live jobs, a day old, each of which gets an update every 5 s meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.config import Config
from app.database.addresses import owner_dsn
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Connection, Database
from app.logs import configure_logging
from bench.ingest import Hub, running_hub
from jobs import compress_chunks, drop_expired_chunks, refresh_rollups
from jobs.runner import Runner
from jobs.schedule import Task
from jobs.summarise_finished_jobs import run_once as summarise

NAME = "hub_bench_history"
DAY_SECONDS = 86_400
DAYS_AGO = 9  # rollups are compressed a week after, single updates are kept for a month
POINTS = 300
REQUESTS = 600
CLIENTS = 8
CLIENT_SECONDS = 8
LATE_ROWS = 40
LIVE_JOBS = 50
LIVE_SECONDS = 5.0  # between two updates of a live job
MILLISECONDS = 1000.0

# Every so many seconds, or 50 ms less; speeds and estimates are noise, bytes grow, percents follow.
_FILL_UPDATES = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase, bytes_transferred,
    total_bytes, transfer_speed_bps, eta_seconds, percent_scale)
SELECT %(start)s + n * %(every)s - random() * interval '50 milliseconds',
       (5 + random() * 60)::bigint, 'backup-vm' || job || '-1760096737', 'running',
       CASE WHEN 300 * n < %(updates)s THEN 'snapshot' WHEN 60 * n < 59 * %(updates)s
            THEN 'transferring' ELSE 'finalizing' END,
       n * (25920000000000 / %(updates)s) + (random() * 1e9)::bigint, 25920000000000,
       (2e8 + random() * 2e8)::bigint,
       ((%(updates)s - n) * extract(epoch FROM %(every)s))::bigint + (random() * 60)::bigint, 100
FROM generate_series(%(first_update)s::bigint, %(last_update)s::bigint) AS n,
     generate_series(%(first_job)s::integer, %(last_job)s::integer) AS job
"""
_FILL_DISKS = """
INSERT INTO disk_telemetry (time, job_id, disk_index, status, bytes_transferred, total_bytes,
    transfer_speed_bps, progress_percent)
SELECT time, job_id, disk, 'transferring', bytes_transferred / 2, total_bytes / 2,
       transfer_speed_bps / 2, round((100.0 * bytes_transferred / total_bytes)::numeric, 2)
FROM job_telemetry, generate_series(0, 1) AS disk
WHERE time > %(start)s + (%(first_update)s - 0.5) * %(every)s
  AND time < %(start)s + (%(last_update)s + 0.5) * %(every)s
  AND job_id = ANY(
      SELECT 'backup-vm' || job || '-1760096737'
      FROM generate_series(%(first_job)s::integer, %(last_job)s::integer, 10) AS job)
"""
_FILL_JOBS = """
INSERT INTO jobs (job_id, job_type, vm_name, status, current_phase, bytes_transferred, total_bytes,
    progress_percent, created_at, started_at, completed_at, ended_by, newest_update_at,
    last_telemetry_at)
SELECT job_id, 'backup', split_part(job_id, '-', 2), 'completed', 'finalizing', 25920000000000,
       25920000000000, 100, min(time), min(time), max(time), 'sender', max(time), max(time)
FROM job_telemetry
WHERE job_id NOT IN (SELECT job_id FROM jobs)
GROUP BY job_id
"""
_FILL_LIVE_JOBS = """
INSERT INTO jobs (job_id, job_type, vm_name, status, current_phase, bytes_transferred, total_bytes,
    started_at, newest_update_at, last_telemetry_at)
SELECT job_id, 'backup', split_part(job_id, '-', 2), 'running', 'finalizing',
       max(bytes_transferred), 25920000000000, min(time), max(time), clock_timestamp()
FROM job_telemetry
WHERE time > %(start)s AND job_id NOT IN (SELECT job_id FROM jobs)
GROUP BY job_id
"""
_LATE_ROW = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, bytes_transferred, total_bytes,
    transfer_speed_bps)
VALUES (%(start)s + random() * interval '23 hours', 0, %(job_id)s, 'running', 1, 2, 3)
"""
_SIZE = "SELECT hypertable_size(%(name)s::regclass)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", nargs="?", help="without it: the embedded database")
    parser.add_argument("--jobs", type=int, nargs="+", help="how many jobs")
    parser.add_argument("--every", type=int, default=5, help="seconds between a job's updates")
    args = parser.parse_args()
    configure_logging("ERROR")
    for jobs in args.jobs or ([500, 2000] if args.server else [20, 60]):
        with scratch(args.server) as (config, database_url):
            Bench(config, database_url, jobs, args.every).run()


@contextmanager
def scratch(server: str | None) -> Iterator[tuple[Config, str | None]]:
    """A database of our own, migrated, and the DATABASE_URL of a hub on it."""
    if server is None:
        with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
            config = Config(data_dir=Path(folder), embedded_port=0)
            with EmbeddedEngine(config.data_dir):
                _migrate(config)
                yield config, None
        return
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {NAME}")
    url = urlunsplit(urlsplit(server)._replace(path=f"/{NAME}"))
    try:
        _migrate(Config(database_url=url))
        yield Config(database_url=url), url
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def _migrate(config: Config) -> None:
    with Database.of_owner(config).connect(autocommit=True) as conn:
        migrate(conn)


class Bench:
    """Fills the database, and prints what it measures at each stage of its life."""

    def __init__(self, config: Config, database_url: str | None, jobs: int, every: int) -> None:
        self.config = config
        self.database_url = database_url or owner_dsn(config)
        self.jobs = jobs
        self.every = timedelta(seconds=every)
        self.updates_per_job = DAY_SECONDS // every
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start = midnight - timedelta(days=DAYS_AGO)
        self.database = Database(self.database_url, is_embedded=database_url is None)

    def run(self) -> None:
        self.database.open()
        try:
            self._measure()
        finally:
            self.database.close()

    def _measure(self) -> None:
        updates = self.jobs * self.updates_per_job
        print(f"{self.jobs:,} jobs, {updates:,} updates", flush=True)
        self._fill()
        self._task("refresh_rollups", refresh_rollups.run_once)
        while self._is_any_unsummarised():  # a run of the task does not take long
            self._task("summarise_finished_jobs", summarise)
        self._sizes("before compression", updates)
        self._charts("not compressed")
        self._task("compress_chunks", compress_chunks.run_once)
        self._sizes("compressed", updates)
        self._charts("compressed")
        self._late_rows()
        self._drop_updates()
        self._charts("single updates gone")
        self._live_charts()

    def _fill(self) -> None:
        started = time.perf_counter()
        jobs = {
            "first_job": 1,
            "last_job": self.jobs,
            "start": self.start,
            "every": self.every,
            "updates": self.updates_per_job,
        }
        with self.database.connect(autocommit=True) as conn:
            for first in range(1, self.updates_per_job, 720):  # in the order of time, as they come
                last = min(first + 719, self.updates_per_job - 1)
                params = {**jobs, "first_update": first, "last_update": last}
                conn.execute(_FILL_UPDATES, params)
                conn.execute(_FILL_DISKS, params)
            conn.execute(_FILL_JOBS)
            conn.execute("VACUUM ANALYZE jobs")
            conn.execute("CHECKPOINT")  # not in the middle of what is measured
        print(f"  filled in {time.perf_counter() - started:.0f} s", flush=True)

    def _task(self, name: str, run: object) -> None:
        """Run a task as the scheduler does, its lease and record included."""
        started = time.perf_counter()
        with self.database.connect(autocommit=True) as conn:
            conn.execute("DELETE FROM tasks WHERE task_id = %s", [name])  # due at once
        Runner(self.database, self.config).run(Task(name, run, 3600))  # type: ignore[arg-type]
        with self.database.connect(autocommit=True) as conn:
            error = conn.execute("SELECT last_error FROM tasks WHERE task_id = %s", [name])
            [failure] = error.fetchone() or ["it did not run"]
        if failure is not None:
            raise SystemExit(f"bench: {name}: {failure}")
        print(f"  {name}: {time.perf_counter() - started:.1f} s", flush=True)

    def _is_any_unsummarised(self) -> bool:
        with self.database.connect(autocommit=True) as conn:
            sql = "SELECT count(*) FROM jobs WHERE performance_metrics IS NULL"
            return _value(conn, sql) > 0

    def _drop_updates(self) -> None:
        config = Config(
            database_url=self.config.database_url,
            data_dir=self.config.data_dir,
            late_data_days=2,
            raw_retention_days=3,
        )
        result = drop_expired_chunks.run_once(self.database, config)
        with self.database.connect(autocommit=True) as conn:
            left = _value(conn, "SELECT count(*) FROM job_telemetry")
        print(f"the updates dropped: {left:,} left ({result})", flush=True)

    def _sizes(self, what: str, updates: int) -> None:
        with self.database.connect(autocommit=True) as conn:
            names = ("job_telemetry", "job_speed_1m", "job_speed_1h")
            sizes = {name: _value(conn, _SIZE, name=name) / updates for name in names}
        print(
            f"  bytes per update, {what}: job_telemetry {sizes['job_telemetry']:.2f}, "
            f"job rollups {sizes['job_speed_1m'] + sizes['job_speed_1h']:.2f} "
            f"(1m {sizes['job_speed_1m']:.2f}, 1h {sizes['job_speed_1h']:.2f})",
            flush=True,
        )

    def _late_rows(self) -> None:
        times = []
        with self.database.connect(autocommit=True) as conn:
            for job in random.sample(range(1, self.jobs + 1), min(LATE_ROWS, self.jobs)):
                params = {"start": self.start, "job_id": _job_id(job)}
                started = time.perf_counter()
                conn.execute(_LATE_ROW, params)
                times.append((time.perf_counter() - started) * MILLISECONDS)
        print(f"  a late row into a compressed chunk: {_spread(times[2:])}", flush=True)

    def _charts(self, what: str) -> None:
        # The hub's own tasks, which run at its start, must leave to this what it measures.
        settings = {"HUB_ROLLUP_SECONDS": "3600", "HUB_COMPRESS_AFTER_HOURS": "87600"}
        jobs = random.sample([_job_id(n + 1) for n in range(self.jobs)], min(self.jobs, REQUESTS))
        with self._hub(**settings) as hub:
            self._warm_up(hub, jobs)
            source, first = self._fetch(hub, jobs)
            again = self._fetch(hub, random.choices(jobs, k=REQUESTS))[1]
            rate = self._rate(hub, jobs)
        print(
            f"  24 h chart, {POINTS} points, {what} (from {source}): first {_spread(first)}; "
            f"again {_spread(again)}; {rate:.0f} requests/s with {CLIENTS} clients",
            flush=True,
        )

    def _live_charts(self) -> None:
        """Charts of jobs that get an update every LIVE_SECONDS."""
        jobs = self._fill_live()
        stop = threading.Event()
        with self._hub() as hub:
            sender = threading.Thread(target=_send_updates, args=[hub, jobs, stop])
            sender.start()
            try:
                self._warm_up(hub, jobs)
                source, times = self._fetch(hub, random.choices(jobs, k=REQUESTS))
                rate = self._rate(hub, jobs)
            finally:
                stop.set()
                sender.join()
        print(
            f"  24 h chart of {len(jobs)} live jobs (from {source}): {_spread(times)}; "
            f"{rate:.0f} requests/s with {CLIENTS} clients",
            flush=True,
        )

    def _fill_live(self) -> list[str]:
        """Jobs that began a day ago and are still running."""
        first = self.jobs + 1
        params = {
            "first_job": first,
            "last_job": self.jobs + LIVE_JOBS,
            "start": datetime.now(UTC) - timedelta(days=1),
            "every": self.every,
            "updates": self.updates_per_job,
            "first_update": 1,
            "last_update": self.updates_per_job - 1,
        }
        with self.database.connect(autocommit=True) as conn:
            conn.execute(_FILL_UPDATES, params)
            conn.execute(_FILL_LIVE_JOBS, params)
            conn.execute("VACUUM ANALYZE jobs")
        self._task("refresh_rollups", refresh_rollups.run_once)
        return [_job_id(first + n) for n in range(LIVE_JOBS)]

    @contextmanager
    def _hub(self, **settings: str) -> Iterator[Hub]:
        args = argparse.Namespace(url=None, database_url=self.database_url)
        with running_hub(args, HUB_SWEEP_SECONDS="3600", **settings) as hub:
            time.sleep(3)  # the scheduled tasks run at the start, and find nothing to do
            yield hub

    def _warm_up(self, hub: Hub, jobs: list[str]) -> None:
        """Plan the statements and load the pages, with other charts than those measured."""
        self._fetch(hub, random.choices(jobs, k=40), points=POINTS - 1)

    def _fetch(self, hub: Hub, jobs: list[str], points: int = POINTS) -> tuple[str, list[float]]:
        """What the charts of jobs were made of, and how long each took, ms."""
        times = []
        body = b""
        with ChartClient(hub) as client:
            for job_id in jobs:
                started = time.perf_counter()
                body = client.get(job_id, points)
                times.append((time.perf_counter() - started) * MILLISECONDS)
        return body.partition(b'"source":"')[2].partition(b'"')[0].decode(), times

    def _rate(self, hub: Hub, jobs: list[str]) -> float:
        counts = [0] * CLIENTS
        stop_at = time.perf_counter() + CLIENT_SECONDS

        def fetch(number: int) -> None:
            with ChartClient(hub) as client:
                while time.perf_counter() < stop_at:
                    client.get(random.choice(jobs))
                    counts[number] += 1

        threads = [threading.Thread(target=fetch, args=[n]) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / CLIENT_SECONDS


def _send_updates(hub: Hub, jobs: list[str], stop: threading.Event) -> None:
    """Push an update of each job every LIVE_SECONDS, one after the other."""
    connection = http.client.HTTPConnection(hub.host, hub.port)
    for number, job_id in enumerate(itertools.cycle(jobs)):
        if stop.wait(LIVE_SECONDS / len(jobs)):
            break
        update = {
            "status": "running",
            "bytes_transferred": 25_910_000_000_000 + number,
            "transfer_speed_bps": random.randrange(200_000_000, 400_000_000),
            "timestamp": datetime.now(UTC).isoformat(),
        }
        path = f"/api/v1/telemetry/backup/{job_id}"
        connection.request("POST", path, json.dumps(update), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"bench: an update was answered {answer.status}")
    connection.close()


class ChartClient:
    """One keep-alive connection; a raw socket, because it shares the machine with the hub."""

    def __init__(self, hub: Hub) -> None:
        self._socket = socket.create_connection((hub.host, hub.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = hub.host

    def __enter__(self) -> ChartClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def get(self, job_id: str, points: int = POINTS) -> bytes:
        """The body of a chart."""
        path = f"/api/v1/telemetry/history/{job_id}?points={points}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: {head[:200]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        return body

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise SystemExit("bench: the hub has closed a connection")
        return data


def _job_id(number: int) -> str:
    return f"backup-vm{number}-1760096737"


def _value(conn: Connection, query: str, **params: object) -> int:
    row = conn.execute(query.encode(), params).fetchone()
    assert row is not None
    return int(row[0])


def _spread(times: list[float]) -> str:
    """Median, 95th and 99th percentile, in milliseconds."""
    p50, p95, p99 = (statistics.quantiles(times, n=100)[k - 1] for k in (50, 95, 99))
    return f"p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms"


if __name__ == "__main__":
    main()
