"""Registering a job, before it starts or whenever the sender comes to it."""

from __future__ import annotations

from typing import Any

from app.db import Connection
from app.domain.lifecycle import Change, Event
from app.ingest.transaction import make_row, rebuild
from app.store import ingest as store
from app.store import registration as registrations


def register(conn: Connection, registration: dict[str, Any]) -> bool:
    """Create the job, or fill what is not known of it yet; whether it was created.

    Inside the caller's transaction. What telemetry has said stays, as if the registration had come
    first; a verdict of the detector stays too, as this is no sign of life. Raises Conflict when an
    identity field is already known otherwise. Idempotent.
    """
    job_id = registration["job_id"]
    done = registrations.register(conn, registration)
    if not done.is_changed:
        return False
    now, states = store.lock_jobs(conn, [job_id])
    state = states[job_id]
    change = Change(state, is_new=done.is_new, moves=True)
    if done.is_new:
        change.events.append(Event("transition", None, "pending", "sender", "Registered"))
    if state.has_ended:  # the row shows the consequences of the end, not the registers
        change.must_rebuild = True
        rebuild(conn, change)
    else:
        state.merge_registered()
    store.write_jobs(conn, [make_row(change, set(state.disks))], now)
    return done.is_new
