"""Registers a job, before it starts or later."""

from __future__ import annotations

from typing import Any

from app.database.pool import Connection
from app.domain.job_state import JobState
from app.domain.lifecycle import Change, Event
from app.errors import Conflict
from app.ingest.transaction import make_row, rebuild
from app.store import ingest as store
from app.store import registration as registrations


def register(conn: Connection, registration: dict[str, Any]) -> bool:
    """Create the job, or set its unknown fields; return whether it was created.

    Idempotent, in the caller's transaction. Values from telemetry stay, as if the registration had
    come first. A registration is not a sign of life, so a status change by the detector stays too.
    Raises Conflict if an identity field differs, or if the updates behind the job's row are gone.
    """
    job_id = registration["job_id"]
    done = registrations.register(conn, registration)
    if not done.is_changed:
        return False
    locked = store.lock_jobs(conn, [job_id])
    state = locked.states[job_id]
    change = Change(state, is_new=done.is_new, moves=True)
    if done.is_new:
        change.events.append(Event("transition", None, "pending", "sender", "Registered"))
    _require_its_updates(conn, state)
    if state.has_ended:  # the row shows the effects of the end, not the registers
        change.must_rebuild = True
        rebuild(conn, [change], locked.dropped_before)
    else:
        state.merge_registered()
    store.write_jobs(conn, [make_row(change, set(state.disks))], locked.now)
    return done.is_new


def _require_its_updates(conn: Connection, state: JobState) -> None:
    """Raise Conflict if deriving the row again would lose values.

    That is so for imported jobs, and for jobs whose first update is no longer in the series.
    """
    if state.status == "pending":
        return
    first = state.started_at if state.has_telemetry else state.newest
    is_known = state.newest is not None
    if state.has_ended and first is not None:
        is_known = bool(store.find_updates(conn, {(state.job_id, first)}))
    if not is_known:
        reason = f"the job is {state.status} and its updates are no longer kept"
        raise Conflict(f"job_id: {reason}", {"job_id": [reason]})
