"""Keeps the counts of jobs, which `app.store.jobs` reads (docs/decisions/0020)."""

from __future__ import annotations

from dataclasses import dataclass

from app.database.pool import Connection
from app.store.sql import load_queries

SQL = load_queries("counts")

# Of the table jobs, made by a migration.
COUNTING_TRIGGERS = (
    "count_deleted_jobs",
    "count_inserted_jobs",
    "count_moved_job",
    "count_no_jobs",
)
_RECOUNT = (
    "use_one_snapshot",
    "keep_others_from_folding",
    "delete_changes",
    "delete_counts",
    "delete_counts_of_machines",
    "count_jobs",
    "count_jobs_of_machines",
)


@dataclass(frozen=True, slots=True)
class Differences:
    """By how many jobs the kept counts differ from the rows of `jobs`: 0, unless triggers were
    disabled.
    """

    in_all: int
    of_machines: int


def fold_changes(conn: Connection) -> int:
    """Add the logged changes to the counts; return how many there were. The caller commits."""
    row = conn.execute(SQL["fold_changes"]).fetchone()
    assert row is not None
    return int(row[0])


def fold_ends(conn: Connection) -> None:
    """Add up the ends of runs that triggers have noted. The sums stay. The caller commits."""
    conn.execute(SQL["fold_ends"])


def find_differences(conn: Connection) -> Differences:
    """Compare the counts with the rows of one snapshot. Reads every job."""
    row = conn.execute(SQL["find_differences"]).fetchone()
    assert row is not None
    return Differences(*row)


def recount(conn: Connection) -> None:
    """Compute the counts from the rows of `jobs`, in the transaction that the caller has begun.

    All of it is of one snapshot, so jobs may change meanwhile: their changes are logged, and added
    later.
    """
    for name in _RECOUNT:
        conn.execute(SQL[name])
