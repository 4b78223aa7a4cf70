"""What a refresh of the rollups costs, with and without a sender that is two days behind.

    python bench/rollups.py postgresql://postgres@127.0.0.1:5432/ [--jobs 5000] [--every 5]

Time is simulated. Every job sends an update each 5 s (`--every`), in a transaction for each second
as ingest writes them. The sender that is behind sends as often, in transactions of its own; the
hour it is in has the updates of all jobs, compressed. `--hours` of updates, in one chunk, come
before what is measured. Makes a database of its own on that server, `hub_bench_rollups`, and drops
it at the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.config import Config
from app.database.migrate import migrate
from app.database.pool import Connection, Database
from app.logs import configure_logging
from app.store.rollups import read_clock
from jobs import compress_chunks, refresh_rollups

NAME = "hub_bench_rollups"
BEHIND = timedelta(days=2)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# The updates of some seconds: in each of them those of every nth job.
_SEND = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase, bytes_transferred,
    total_bytes, transfer_speed_bps, eta_seconds, percent_scale)
SELECT %(at)s::timestamptz + (second + random()) * interval '1 second',
       (random() * 100)::integer, 'backup-vm' || n || '-1760096737', 'running', 'transferring',
       (extract(epoch FROM %(at)s::timestamptz)::bigint %% 86400 + second) * 100000000,
       8640000000000, (1e8 * random())::bigint, 3600, 100
FROM generate_series(0, %(seconds)s::integer - 1) AS second,
     generate_series((extract(epoch FROM %(at)s::timestamptz)::integer + second) %% %(every)s + 1,
                     %(jobs)s::integer, %(every)s::integer) AS n
ON CONFLICT DO NOTHING
"""
_SEND_LATE = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps)
VALUES (%(at)s, 172800000, %(job_id)s, 'running', 5) ON CONFLICT DO NOTHING
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--hours", type=int, default=1)
    args = parser.parse_args()
    configure_logging("WARNING")
    with psycopg.connect(args.server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {NAME}")
    config = Config(database_url=urlunsplit(urlsplit(args.server)._replace(path=f"/{NAME}")))
    database = Database.from_config(config)
    try:
        with database.connect(autocommit=True) as conn:
            migrate(conn)
            Bench(database, config, conn, args.jobs, args.every).run(args.hours, args.minutes)
    finally:
        with psycopg.connect(args.server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


class Bench:
    """Senders in simulated time, which begins with a chunk."""

    def __init__(
        self, database: Database, config: Config, conn: Connection, jobs: int, every: int
    ) -> None:
        self.database = database
        self.config = config
        self.conn = conn
        self.jobs = jobs
        self.every = every
        self.behind = BEHIND
        now = read_clock(conn)
        self.now = now.replace(hour=now.hour // 6 * 6, minute=0, second=0, microsecond=0)

    def run(self, hours: int, minutes: int) -> None:
        rate = self.jobs // self.every
        print(f"{self.jobs:,} jobs, {rate:,} updates a second; seconds of a refresh, each minute")
        start = self.now
        self.behind = hours * HOUR + BEHIND
        self.fill(start - BEHIND, HOUR)
        self.refresh(start - BEHIND + HOUR + MINUTE)
        compress_chunks.run_once(self.database, self.config, start)
        self.fill(start, hours * HOUR)
        self.refresh(self.now)
        self.conn.execute("VACUUM ANALYZE")
        print(f"  the one that closes an hour    {self.minute():7.3f}", flush=True)
        without = [self.minute() for _ in range(minutes)]
        self.report("every job up to date", without)
        late = [self.minute(is_one_behind=True) for _ in range(minutes)]
        self.report("one sender two days behind", late)
        print(f"  ratio {statistics.median(late) / statistics.median(without):.2f}")
        self.send_late_rows(start - BEHIND)

    def fill(self, start: datetime, length: timedelta) -> None:
        for minute in range(length // MINUTE):
            self.send(start + minute * MINUTE, seconds=60)
        self.now = start + length

    def minute(self, *, is_one_behind: bool = False) -> float:
        """A minute of updates, and how long the refresh after it takes, in seconds."""
        for second in range(60):
            self.send(self.now, seconds=1)
            if is_one_behind and second % self.every == 0:
                self.send_late(self.now - self.behind, "behind")
            self.now += SECOND
        return self.refresh(self.now)

    def send(self, at: datetime, seconds: int) -> None:
        params = {"at": at, "seconds": seconds, "jobs": self.jobs, "every": self.every}
        self.conn.execute(_SEND, params)

    def send_late(self, at: datetime, job_id: str) -> float:
        """Store one late update; milliseconds."""
        started = time.perf_counter()
        self.conn.execute(_SEND_LATE, {"at": at, "job_id": job_id})
        return (time.perf_counter() - started) * 1000

    def refresh(self, now: datetime) -> float:
        started = time.perf_counter()
        refresh_rollups.run_once(self.database, self.config, now)
        return time.perf_counter() - started

    def send_late_rows(self, start: datetime) -> None:
        """How long one late row takes, of a job that has others in that chunk."""
        times = [
            self.send_late(
                start + n * 17 * SECOND, f"backup-vm{n * 7919 % self.jobs + 1}-1760096737"
            )
            for n in range(200)
        ]
        print(
            f"  a late row into a compressed chunk: {statistics.median(times):.2f} ms, "
            f"p95 {sorted(times)[190]:.2f} ms"
        )

    def report(self, name: str, seconds: list[float]) -> None:
        middle, mean = statistics.median(seconds), statistics.mean(seconds)
        print(
            f"  {name:30} {middle:7.3f} (mean {mean:.3f}, largest {max(seconds):.3f}): "
            f"{middle / 60:.1%} of a minute",
            flush=True,
        )


if __name__ == "__main__":
    main()
