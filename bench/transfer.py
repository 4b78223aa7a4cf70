"""How long a hub's export and import take.

    python bench/transfer.py [--updates 10000000] [--to DATABASE_URL]

The source is a new embedded database, with one disk update for each update, over 30 days. The
target is another one, or a new database of the server given, whose user may create databases.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database
from app.errors import DatabaseUnavailable
from app.transfer.export import Filters, export
from app.transfer.load import import_all

DAYS = 30
JOBS = 1_000
FILL = """
WITH updates AS (
    INSERT INTO job_telemetry
        (time, arrival_lag_ms, job_id, status, bytes_transferred, total_bytes, transfer_speed_bps)
    SELECT %(start)s + n * %(step)s, 20, 'job-' || n %% 1000, 'running', n, 1 << 40, 1000000 + n
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    RETURNING time, job_id, bytes_transferred
)
INSERT INTO disk_telemetry (time, job_id, disk_index, bytes_transferred)
SELECT time, job_id, 0, bytes_transferred FROM updates
"""
FILL_JOBS = f"""
INSERT INTO jobs (job_id, job_type, status, last_telemetry_at)
SELECT 'job-' || n, 'backup', 'running', now() FROM generate_series(0, {JOBS - 1}) AS n
"""
STEP_ROWS = 250_000


@contextmanager
def embedded(folder: Path) -> Iterator[Config]:
    """A new embedded database."""
    with EmbeddedEngine(folder, port=0):
        yield Config(data_dir=folder)


@contextmanager
def on_server(server: str) -> Iterator[Config]:
    """A new database of a server."""
    name = f"hub_transfer_{int(time.time())}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    try:
        yield Config(database_url=urlunsplit(urlsplit(server)._replace(path=f"/{name}")))
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def fill(database: Database, updates: int) -> None:
    """Store so many updates, evenly over DAYS until now."""
    with database.connect(autocommit=True) as conn:
        migrate(conn)
        (now,) = conn.execute("SELECT now()").fetchone() or (None,)
        assert now is not None
        (length,) = conn.execute(f"SELECT interval '{DAYS} days' / {updates}").fetchone() or (0,)
        (start,) = conn.execute(f"SELECT now() - interval '{DAYS} days'").fetchone() or (0,)
        conn.execute(FILL_JOBS.encode())
        for first in range(0, updates, STEP_ROWS):
            last = min(first + STEP_ROWS, updates) - 1
            conn.execute(FILL, {"start": start, "step": length, "first": first, "last": last})


def wait_for(database: Database) -> None:
    """Wait for the checkpoint after so many rows."""
    while True:
        with suppress(DatabaseUnavailable):
            database.connect().close()
            return


def timed(what: str, work: Callable[[], object], updates: int) -> None:
    """Do it, and print how long it took."""
    began = time.monotonic()
    work()
    seconds = time.monotonic() - began
    print(f"{what}: {seconds:.1f} s, {updates / seconds:,.0f} updates/s", flush=True)


def main() -> None:
    """Fill, export and import."""
    parser = argparse.ArgumentParser(description="How long export and import take.")
    parser.add_argument("--updates", type=int, default=10_000_000)
    parser.add_argument("--to", metavar="DATABASE_URL", help="a server, instead of an embedded one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with embedded(folder / "source") as config:
            source = Database.of_owner(config)
            timed("fill", lambda: fill(source, args.updates), args.updates)
            wait_for(source)
            timed(
                "export",
                lambda: export(source, folder / "out", Filters(), lambda *_: None),
                args.updates,
            )
        size = sum(file.stat().st_size for file in (folder / "out").rglob("*.gz"))
        print(f"{size / args.updates:.1f} bytes an update in the files")
        with on_server(args.to) if args.to else embedded(folder / "target") as config:
            target = Database.of_owner(config)
            with target.connect(autocommit=True) as conn:
                migrate(conn)
            timed(
                "import",
                lambda: import_all(target, config, folder / "out", lambda *_: None),
                args.updates,
            )


if __name__ == "__main__":
    main()
