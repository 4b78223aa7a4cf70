"""Divides runs that an earlier release has stored as one, because it knew only one run of a job."""

from __future__ import annotations

from app.database.pool import Connection
from app.domain.runs import split_key
from app.ingest.runs import Written, move_all, runs_of, written_changes
from app.ingest.transaction import make_row, rebuild
from app.store import ingest as store
from app.store.runs import read_ends


def divide_run(conn: Connection, key: str) -> int:
    """Divide a run after each of its ends, in the caller's transaction; return the runs added."""
    job_id = split_key(key)[0]
    locked = store.lock_jobs(conn, {job_id, key})
    runs = locked.runs.get(job_id) or runs_of(locked.states[job_id])
    before = len(runs.runs)
    run = next(run for run in runs.runs if run.key == key)
    ends = read_ends(conn, key, run.first or 0, run.newest or 0)
    if not ends:
        return 0
    runs.divide_after(run, ends[0][0])
    written = Written()
    move_all(conn, runs, written)
    changes = written_changes(conn, written)
    rebuild(conn, changes, locked.dropped_before)
    store.insert_updates(conn, [], locked.now, written.moved_times)
    rows = [make_row(change, set(change.state.disks)) for change in changes]
    store.write_jobs(conn, rows, locked.now)
    return len(runs.runs) - before
