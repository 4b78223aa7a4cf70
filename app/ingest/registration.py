"""Registers a run of a job, before it starts or later."""

from __future__ import annotations

from typing import Any

from app.database.pool import Connection
from app.domain.job_state import JobState
from app.domain.lifecycle import Change, Event
from app.domain.runs import JobRuns
from app.domain.statuses import END_STATUSES
from app.errors import Conflict
from app.ingest.runs import runs_of
from app.ingest.transaction import make_row, rebuild
from app.store import ingest as store
from app.store import registration as registrations
from app.store.runs import create_runs


def register(conn: Connection, registration: dict[str, Any]) -> bool:
    """Create a run, or set unknown fields of the newest one; return whether one was created.

    Idempotent, in the caller's transaction. Values from telemetry stay, as if the registration had
    come first. A registration is not a sign of life, so a status change by the detector stays too.
    Raises Conflict if the type or an identity field differs, or if the updates behind the row are
    gone.
    """
    job_id, job_type = registration["job_id"], registration["job_type"]
    is_new = bool(store.create_missing_jobs(conn, {job_id: job_type}))
    locked = store.lock_jobs(conn, [job_id])
    runs = locked.runs.get(job_id) or runs_of(locked.states[job_id])
    newest = store.lock_jobs(conn, [runs.newest.key]).states[runs.newest.key]
    if not is_new and _is_over(conn, newest, registration):
        newest, is_new = _begin_run(conn, runs), True
    is_changed = registrations.register(conn, newest.run, registration)
    registrations.note_registration(conn, newest.run)
    if interval := registration.get("interval_seconds"):
        store.raise_intervals(conn, {newest.run: interval})
    if is_new or is_changed:
        _show(conn, newest.run, is_new=is_new)
    return is_new


def _is_over(conn: Connection, state: JobState, registration: dict[str, Any]) -> bool:
    """Whether a registration is of the run after this one.

    One that comes shortly after the end of a run which was not registered is of that run: the two
    were sent at the same time, or the registration was repeated.
    """
    if registration.get("new_run"):
        return state.has_telemetry or state.has_ended
    return state.status in END_STATUSES and registrations.is_past(conn, state.run)


def _begin_run(conn: Connection, runs: JobRuns) -> JobState:
    key = runs.begin(runs.newest.clock_offset).key
    create_runs(conn, runs, is_registered=True)
    return store.lock_jobs(conn, [key]).states[key]


def _show(conn: Connection, key: str, *, is_new: bool) -> None:
    """Let the row of a run show what has been registered."""
    locked = store.lock_jobs(conn, [key])
    state = locked.states[key]
    change = Change(state, is_new=is_new, moves=True)
    if is_new:
        change.events.append(Event("transition", None, "pending", "sender", "Registered"))
    _require_its_updates(conn, state)
    if state.has_ended:  # the row shows the effects of the end, not the registers
        change.must_rebuild = True
        rebuild(conn, [change], locked.dropped_before)
    else:
        state.merge_registered()
    store.write_jobs(conn, [make_row(change, set(state.disks))], locked.now)


def _require_its_updates(conn: Connection, state: JobState) -> None:
    """Raise Conflict if deriving the row again would lose values.

    That is so for imported jobs, and for jobs whose first update is no longer in the series.
    """
    if state.status == "pending":
        return
    first = state.started_at if state.has_telemetry else state.newest
    is_known = state.newest is not None
    if state.has_ended and first is not None:
        is_known = bool(store.find_updates(conn, {(state.run, first)}))
    if not is_known:
        reason = f"the job is {state.status} and its updates are no longer kept"
        raise Conflict(f"job_id: {reason}", {"job_id": [reason]})
