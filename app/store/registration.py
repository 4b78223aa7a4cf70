"""Stores registrations; the caller commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from app.database.pool import Connection
from app.domain.fields import IDENTITY_FIELDS
from app.errors import Conflict
from app.store.ingest import create_missing_jobs
from app.store.sql import load_queries

SQL = load_queries("registration")


@dataclass(frozen=True, slots=True)
class Registered:
    """Whether a registration created the job, and whether it changed anything."""

    is_new: bool
    is_changed: bool


def register(conn: Connection, registration: dict[str, Any]) -> Registered:
    """Store the registration of a job, and lock the job; it is created if missing.

    `registration`: job_id, job_type, and optionally the identity fields, total_bytes (bytes) and
    disks [{disk_index, size_bytes}]. Values registered before stay. Raises Conflict if an identity
    field has another value. `app.ingest.registration` changes what the row shows.
    """
    job_id, job_type = registration["job_id"], registration["job_type"]
    is_new = bool(create_missing_jobs(conn, {job_id: job_type}))
    row = conn.execute(SQL["lock_job"], {"job_id": job_id}).fetchone()
    assert row is not None  # rows of jobs are never deleted by the hub
    named = {name: registration[name] for name in IDENTITY_FIELDS if registration.get(name)}
    known = dict(zip(("job_type", *IDENTITY_FIELDS), row[1:], strict=True))
    _check_identity(known, job_type, named)
    if registration.get("total_bytes") is not None:
        named["total_bytes"] = registration["total_bytes"]
    before: dict[str, Any] = row[0]
    after = {**named, **before}
    is_changed = is_new or after != before
    if after != before:
        values = {"job_id": job_id, "registered": orjson.dumps(after).decode()}
        conn.execute(SQL["keep_registered"], values)
    if disks := registration.get("disks"):
        sizes = {
            "job_id": job_id,
            "indexes": [disk["disk_index"] for disk in disks],
            "sizes": [disk["size_bytes"] for disk in disks],
        }
        is_changed |= conn.execute(SQL["keep_disks"], sizes).rowcount > 0
    return Registered(is_new, is_changed)


def _check_identity(known: dict[str, Any], job_type: str, named: dict[str, Any]) -> None:
    errors = {
        name: ["The job has another value."]  # not which: its sender may not read
        for name, value in {"job_type": job_type, **named}.items()
        if known[name] not in (None, value)
    }
    if errors:
        field, reasons = next(iter(errors.items()))
        raise Conflict(f"{field}: {reasons[0]}", errors)
