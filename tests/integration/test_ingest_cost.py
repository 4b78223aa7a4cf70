"""Storing an update costs the same however many chunks are kept: only its own are looked at.

PostgreSQL locks each table of a statement's plan until the transaction ends. The locks show which
chunks were planned for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.database.pool import Connection, Database
from app.domain.updates import Update
from app.ingest.transaction import Receipt, store_updates
from tests.factories import make_update, micros
from tests.storing import LATE_DAYS, store

CHUNKS = """
SELECT count(DISTINCT chunk_name)
FROM pg_locks
JOIN pg_class ON pg_class.oid = pg_locks.relation
JOIN timescaledb_information.chunks ON chunk_name = relname
WHERE coalesce(pid, pg_backend_pid()) = pg_backend_pid()  -- the embedded engine has no pids
  AND hypertable_name IN ('job_telemetry', 'disk_telemetry')
"""
DAYS = 8  # in each, four chunks of each series


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection to a hub that has kept updates of some days."""
    with database.connect(autocommit=True) as conn:
        kept = [
            make_update(-6 * 3_600 * n, job_id="old", disks={0: {"status": "pending"}})
            for n in range(4 * DAYS)
        ]
        store(conn, *kept)
        yield conn


def chunks_of(conn: Connection, *updates: Update) -> int:
    """How many chunks storing the updates looks at."""
    with conn.transaction():
        outcomes = store_updates(conn, updates, LATE_DAYS)
        assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
        row = conn.execute(CHUNKS).fetchone()
    assert row is not None
    return int(row[0])


def test_the_number_of_chunks_is_seen(conn: Connection) -> None:
    with conn.transaction():
        conn.execute("SELECT count(*) FROM job_telemetry")
        row = conn.execute(CHUNKS).fetchone()
    assert row is not None
    assert row[0] >= 4 * DAYS


def with_disk(seconds: float, job_id: str = "j", **changes: Any) -> Update:
    return make_update(seconds, job_id=job_id, disks={0: {"bytes_transferred": 1}}, **changes)


@pytest.mark.parametrize(
    "update",
    [
        with_disk(-60, bytes_transferred=1),  # the same second
        with_disk(-60),  # a repeat
        with_disk(-3_600),  # late
        with_disk(-2 * 86_400),  # two days late
    ],
    ids=["same-second", "repeat", "late", "two-days-late"],
)
def test_only_the_updates_own_chunks_are_looked_at(conn: Connection, update: Update) -> None:
    store(conn, with_disk(-60), with_disk(-3 * 86_400))
    assert chunks_of(conn, update) <= 4


def test_of_a_sender_with_a_wrong_clock_only_the_time_of_its_job_is_looked_at(
    conn: Connection,
) -> None:
    shifted = [with_disk(-400 * 86_400 + n) for n in range(3)]
    store(conn, *shifted[:2])
    assert chunks_of(conn, *shifted) <= 4


def test_an_update_from_before_the_end_costs_the_time_of_its_job(conn: Connection) -> None:
    """The job is derived again from its updates."""
    store(conn, with_disk(-120), with_disk(-60, status="completed"))
    assert chunks_of(conn, with_disk(-90, eta_seconds=3)) <= 4
    row = conn.execute("SELECT eta_seconds, completed_at FROM jobs WHERE job_id = 'j'").fetchone()
    assert row is not None
    assert row[1].timestamp() * 1e6 == micros(-60)


def test_repeats_of_a_backlog_are_found_wherever_they_are(conn: Connection) -> None:
    backlog = [with_disk(-3_600 * n, job_id="backlog") for n in range(1, 24 * DAYS)]
    assert not any(receipt.is_duplicate for receipt in store(conn, *backlog))
    assert all(receipt.is_duplicate for receipt in store(conn, *backlog))
