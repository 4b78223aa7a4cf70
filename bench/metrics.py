"""What GET /metrics costs with many series: the read of the database, and writing the text.

    python bench/metrics.py [--series 10000] [--server postgresql://postgres@127.0.0.1:5432/]

By default on an embedded database of its own; with `--server` in a database of its own on that
server, `hub_bench_metrics`, which it drops at the end. Prints the plan of the largest query, and
the median and the worst of some rounds, in milliseconds. Ends with 1 if the median read takes more
than 50 ms for 10,000 series.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app import metrics
from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Connection, Database
from app.metrics.state import describe
from app.store.metrics import SQL, read_state

NAME = "hub_bench_metrics"
ROUNDS = 20
MOST_MS = 50.0
BOUND_SERIES = 10_000  # for which MOST_MS holds
_FILL = """
INSERT INTO series (vm_name, name, job_type, repository_id, backup_type, state, runs,
                    last_started_at, last_ended_at, last_good_at, last_bytes, last_seconds,
                    next_expected_at, usual)
SELECT 'vm-' || n, 'vm-' || n, 'backup', 'repo-' || n %% 10, 'incremental', 'good', 100,
       now() - n * interval '7 seconds', now() - n * interval '5 seconds',
       now() - n * interval '5 seconds', n * 1000000::bigint, n, now() + interval '1 day',
       '{"runs": 20, "bytes": {"median": 1e9, "low": 5e8, "high": 2e9},
         "seconds": {"median": 3600, "low": 1800, "high": 7200}}'
FROM generate_series(1, %(series)s::integer) AS n;
INSERT INTO nodes (node_id, newest_snapshot_at)
SELECT 'node-' || n, now() FROM generate_series(1, %(series)s::integer / 10) AS n;
INSERT INTO job_ends (job_type, status, ended_by, ends)
SELECT 'backup', status, 'sender', 1
FROM unnest('{completed, failed, cancelled}'::text[]) AS status
CROSS JOIN generate_series(1, 300)
"""


@contextmanager
def embedded() -> Iterator[Config]:
    """An embedded database in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        engine = EmbeddedEngine(Path(folder), port=0, durable=False)
        engine.start()
        try:
            yield Config(data_dir=Path(folder))
        finally:
            engine.stop()


@contextmanager
def on_server(server: str) -> Iterator[Config]:
    """A database of its own on a server."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {NAME}")
    try:
        yield Config(database_url=urlunsplit(urlsplit(server)._replace(path=f"/{NAME}")))
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def measure(name: str, work: Callable[[], object]) -> float:
    """Print what some rounds took; the median in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    median = statistics.median(times)
    print(f"{name:<34} median {median:7.1f} ms   worst {max(times):7.1f} ms")
    return median


def measure_all(conn: Connection, series: int) -> float:
    """Fill the database, print the measurements; the median of the read."""
    migrate(conn)
    for statement in _FILL.split(";"):
        conn.execute(statement, {"series": series})
    conn.execute("ANALYZE series")
    plan = "EXPLAIN (ANALYZE, TIMING OFF) " + SQL["list_series"]
    for (line,) in conn.execute(plan, {"limit": series}):
        print(line)
    read = measure("read of the database", lambda: read_state(conn, series))
    state = read_state(conn, series)
    measure("text for Prometheus", lambda: metrics.expose("", describe(state)))
    body, _ = metrics.expose("", describe(state))
    print(f"{series} series: {len(body) / 1e6:.1f} MB, {body.count(b'hub_series_')} samples")
    return read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=BOUND_SERIES)
    parser.add_argument("--server", help="a TimescaleDB server (default: the embedded database)")
    args = parser.parse_args()
    with on_server(args.server) if args.server else embedded() as config:
        database = Database.of_owner(config)
        with database.connect(autocommit=True) as conn:
            read = measure_all(conn, args.series)
    return int(args.series <= BOUND_SERIES and read > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
