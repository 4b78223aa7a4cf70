"""Registering a job, before it starts or whenever the sender comes to it."""

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
    """Create the job, or fill what is not known of it yet; whether it was created.

    Inside the caller's transaction. What telemetry has reported stays, as if the registration had
    come first; so does a status change by the detector, as a registration is not a sign of life.
    Raises Conflict when an identity field is known to differ, or when what the job's row shows no
    longer follows from stored updates. Idempotent.
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
    if state.has_ended:  # the row shows the consequences of the end, not the registers
        change.must_rebuild = True
        rebuild(conn, change, locked.dropped_before)
    else:
        state.merge_registered()
    store.write_jobs(conn, [make_row(change, set(state.disks))], locked.now)
    return done.is_new


def _require_its_updates(conn: Connection, state: JobState) -> None:
    """Refuse where deriving the row again would lose what it shows.

    So it is with a job that was imported, and with one that ended so long ago that the series no
    longer reaches back to its first update.
    """
    if state.status == "pending":
        return
    first = state.started_at if state.has_telemetry else state.newest
    is_known = state.newest is not None
    if state.has_ended and first is not None:
        is_known = bool(store.find_updates(conn, {(state.job_id, first)}, set()))
    if not is_known:
        reason = f"the job is {state.status} and its updates are no longer kept"
        raise Conflict(f"job_id: {reason}", {"job_id": [reason]})
