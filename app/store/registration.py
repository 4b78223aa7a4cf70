"""Registering a job before it starts; the caller commits."""

from __future__ import annotations

from typing import Any

from app.db import Connection
from app.domain.job_state import REGISTERED
from app.domain.updates import JOB_FIELDS
from app.errors import Conflict
from app.store.sql import load_queries

SQL = load_queries("registration")

IDENTITY = ("vm_name", "repository_id", "backup_type")


def register(conn: Connection, registration: dict[str, Any]) -> bool:
    """Create the job, or fill what is not known of it yet; whether it was created.

    `registration`: job_id, job_type, and optionally the identity fields, total_bytes (bytes) and
    disks [{disk_index, size_bytes}]. What telemetry has said stays. Raises Conflict when an
    identity field is already known otherwise. Idempotent.
    """
    job_id = registration["job_id"]
    known = {name: registration.get(name) or None for name in IDENTITY}
    params = {
        **known,
        "job_id": job_id,
        "job_type": registration["job_type"],
        "total_bytes": registration.get("total_bytes"),
    }
    times = _merged_times([], params)
    created = conn.execute(SQL["insert_job"], {**params, "field_times": times}).fetchone()
    if created is None:
        _fill(conn, params)
    else:
        conn.execute(SQL["insert_event"], {"job_id": job_id})
    if disks := registration.get("disks"):
        conn.execute(
            SQL["upsert_disks"],
            {
                "job_id": job_id,
                "indexes": [disk["disk_index"] for disk in disks],
                "sizes": [disk.get("size_bytes") for disk in disks],
            },
        )
    return created is not None


def _fill(conn: Connection, params: dict[str, Any]) -> None:
    row = conn.execute(SQL["lock_job"], params).fetchone()
    assert row is not None  # rows of jobs are never deleted by the hub
    stored = dict(zip(("job_type", *IDENTITY), row, strict=False))
    errors = {
        name: [f"The job has {value!r}."]
        for name, value in stored.items()
        if value is not None and params[name] not in (None, value)
    }
    if errors:
        field, reasons = next(iter(errors.items()))
        raise Conflict(f"{field}: {reasons[0]}", errors)
    conn.execute(SQL["fill_job"], {**params, "field_times": _merged_times(row[4], params)})


def _merged_times(times: list[int | None], params: dict[str, Any]) -> list[int | None]:
    """The registers' instants, with those that only the registration names at REGISTERED."""
    stored = dict(zip(JOB_FIELDS, times, strict=False))
    return [
        REGISTERED
        if stored.get(name) is None and params.get(name) is not None
        else stored.get(name)
        for name in JOB_FIELDS
    ]
