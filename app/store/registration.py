"""Stores registrations; the caller commits."""

from __future__ import annotations

from typing import Any

import orjson

from app.database.pool import Connection
from app.domain.fields import IDENTITY_FIELDS
from app.errors import Conflict
from app.store.sql import load_queries

SQL = load_queries("registration")


def register(conn: Connection, key: str, registration: dict[str, Any]) -> bool:
    """Store the registration of a run, by its key, that is locked; return whether it changed it.

    `registration`: job_type, and optionally the identity fields, total_bytes (bytes) and disks
    [{disk_index, size_bytes}]. Values registered before stay. Raises Conflict if the type or an
    identity field has another value. `app.ingest.registration` changes what the row shows.
    """
    row = conn.execute(SQL["read_registered"], {"job_id": key}).fetchone()
    assert row is not None  # rows of jobs are never deleted by the hub
    named = {name: registration[name] for name in IDENTITY_FIELDS if registration.get(name)}
    known = dict(zip(("job_type", *IDENTITY_FIELDS), row[1:], strict=True))
    _check_identity(known, registration["job_type"], named)
    if registration.get("total_bytes") is not None:
        named["total_bytes"] = registration["total_bytes"]
    before: dict[str, Any] = row[0]
    after = {**named, **before}
    is_changed = after != before
    if is_changed:
        values = {"job_id": key, "registered": orjson.dumps(after).decode()}
        conn.execute(SQL["keep_registered"], values)
    if disks := registration.get("disks"):
        sizes = {
            "job_id": key,
            "indexes": [disk["disk_index"] for disk in disks],
            "sizes": [disk["size_bytes"] for disk in disks],
        }
        is_changed |= conn.execute(SQL["keep_disks"], sizes).rowcount > 0
    return is_changed


def note_registration(conn: Connection, key: str) -> None:
    """Note that a run was registered."""
    conn.execute(SQL["note_registration"], {"job_id": key})


def is_past(conn: Connection, key: str) -> bool:
    """Whether a run that has ended was registered before, or its end arrived some time ago."""
    row = conn.execute(SQL["is_past"], {"job_id": key}).fetchone()
    return row is not None and bool(row[0])


def _check_identity(known: dict[str, Any], job_type: str, named: dict[str, Any]) -> None:
    errors = {
        name: ["The job has another value."]  # not which: its sender may not read
        for name, value in {"job_type": job_type, **named}.items()
        if known[name] not in (None, value)
    }
    if errors:
        field, reasons = next(iter(errors.items()))
        raise Conflict(f"{field}: {reasons[0]}", errors)
