"""Queries and responses for jobs and machines."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.domain.statuses import DISK_STATUSES, JOB_STATUSES
from app.schemas.fields import Text
from app.schemas.queries import (
    CommaSeparated,
    Cursor,
    QueryTimestamp,
    WindowQuery,
    about,
    instant,
    limit_field,
    next_cursor_field,
)

LONGEST_FILTER = 255


# Queries.


class JobFilterQuery(WindowQuery):
    """Which jobs: all filters given must hold."""

    status = CommaSeparated(
        JOB_STATUSES,
        metadata=about(f"One status, or several by comma: {', '.join(JOB_STATUSES)}."),
    )
    job_type = Text(longest=LONGEST_FILTER, metadata=about("Type of the job, such as `backup`."))
    vm_name = Text(longest=LONGEST_FILTER, metadata=about("The machine the job is for."))
    repository_id = Text(
        longest=LONGEST_FILTER, metadata=about("The repository the job writes to.")
    )
    from_ = QueryTimestamp(
        data_key="from",
        metadata=about("Created at or after this instant, RFC 3339 with offset."),
    )
    to = QueryTimestamp(metadata=about("Created before this instant, RFC 3339 with offset."))
    job_id = Text(longest=LONGEST_FILTER, metadata=about("Exactly this id: one job or none."))


class JobListQuery(JobFilterQuery):
    """Filters and page of the list of jobs."""

    limit = limit_field()
    cursor = Cursor("jobs")


# Responses. These schemas are documentation; a test compares their keys with what the API writes.


class JobDiskSchema(Schema):
    """The current state of one disk of a job."""

    job_id = fields.String()
    disk_index = fields.Integer(metadata=about("0 to 1023."))
    status = fields.String(metadata=about("Current status of the disk.", enum=list(DISK_STATUSES)))
    size_bytes = fields.Integer(allow_none=True, metadata=about("Size when registered, bytes."))
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    total_bytes = fields.Integer(metadata=about("Bytes; 0: not known."))
    transfer_speed_bps = fields.Integer(metadata=about("BYTES per second."))
    progress_percent = fields.Float(metadata=about("0 to 100, two decimals."))
    error_message = fields.String(allow_none=True)
    newest_update_at = instant("Sender's clock.", allow_none=True)


class JobItemSchema(Schema):
    """The current state of one job. All instants RFC 3339, UTC."""

    id = fields.Integer(metadata=about("The hub's own number of the job."))
    job_id = fields.String()
    job_type = fields.String()
    vm_name = fields.String(allow_none=True)
    repository_id = fields.String(allow_none=True)
    backup_type = fields.String(allow_none=True)
    status = fields.String(metadata=about("Current status.", enum=list(JOB_STATUSES)))
    current_phase = fields.String()
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    total_bytes = fields.Integer(metadata=about("Bytes; 0: not known."))
    transfer_speed_bps = fields.Integer(metadata=about("BYTES per second, as last reported."))
    eta_seconds = fields.Integer(metadata=about("The sender's estimate, seconds: a hint."))
    hub_eta_seconds = fields.Integer(
        allow_none=True,
        metadata=about(
            "The hub's estimate for a live job, seconds: what remains at the mean rate so far. "
            "Null unless running or stalled, with bytes moved and a total."
        ),
    )
    progress_percent = fields.Float(metadata=about("0 to 100, two decimals."))
    error_message = fields.String(allow_none=True)
    warnings = fields.List(fields.String(), metadata=about("Warnings about the job, as sentences."))
    created_at = instant("First seen; the hub's clock.")
    started_at = instant("Time of the earliest update; sender's clock.")
    completed_at = instant("The end, with any status.", allow_none=True)
    ended_by = fields.String(
        allow_none=True, metadata=about("Who ended it.", enum=["sender", "detector", "operator"])
    )
    newest_update_at = instant("Sender's clock.", allow_none=True)
    last_telemetry_at = instant("Arrival of the last telemetry; the hub's clock.", allow_none=True)
    last_progress_at = instant(
        "Last change of bytes, percent or phase, of the job or a disk; the hub's clock.",
        allow_none=True,
    )
    clock_offset_seconds = fields.Float(
        allow_none=True, metadata=about("What the sender's timestamps were shifted by, seconds.")
    )
    duration_seconds = fields.Float(
        allow_none=True,
        metadata=about("From start to end, or to the newest update of a live job, seconds."),
    )


class JobSchema(JobItemSchema):
    """One job with its disks and, once it has ended, its summary."""

    performance_metrics = fields.Dict(
        allow_none=True, metadata=about("The summary of an ended job: speeds, duration, chart.")
    )
    disks = fields.List(fields.Nested(JobDiskSchema), metadata=about("Ascending by index."))


class JobListSchema(Schema):
    """A page of jobs, newest first."""

    items = fields.List(fields.Nested(JobItemSchema))
    next_cursor = next_cursor_field()


class JobEventSchema(Schema):
    """A transition of a job's status, or a warning (no statuses)."""

    id = fields.Integer()
    time = instant("The hub's clock.")
    kind = fields.String(metadata=about("What it is.", enum=["transition", "warning"]))
    from_status = fields.String(allow_none=True)
    to_status = fields.String(allow_none=True)
    actor = fields.String(
        metadata=about("Who caused it.", enum=["sender", "detector", "operator", "hub"])
    )
    reason = fields.String(metadata=about("A sentence."))
    evidence = fields.Dict(metadata=about("The data behind it."))


class JobEventListSchema(Schema):
    """A page of a job's events, in the order in which they happened."""

    items = fields.List(fields.Nested(JobEventSchema))
    next_cursor = next_cursor_field()


class ByStatusSchema(Schema):
    """A count for each status, 0 where none."""

    pending = fields.Integer()
    running = fields.Integer()
    stalled = fields.Integer()
    completed = fields.Integer()
    failed = fields.Integer()
    cancelled = fields.Integer()


class JobSummarySchema(Schema):
    """How many jobs there are of each status."""

    total = fields.Integer()
    by_status = fields.Nested(ByStatusSchema)


class LastJobSchema(Schema):
    """The newest job of a machine."""

    job_id = fields.String()
    job_type = fields.String()
    status = fields.String(metadata=about("Current status.", enum=list(JOB_STATUSES)))
    started_at = instant("The start.")
    completed_at = instant("The end.", allow_none=True)
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    duration_seconds = fields.Float(allow_none=True, metadata=about("Seconds."))
    error_message = fields.String(allow_none=True)


class MachineSchema(Schema):
    """A machine that jobs ran for."""

    vm_name = fields.String()
    jobs = fields.Integer(metadata=about("How many jobs."))
    by_status = fields.Nested(ByStatusSchema)
    last_job = fields.Nested(LastJobSchema)


class MachineListSchema(Schema):
    """A page of machines, by name."""

    items = fields.List(fields.Nested(MachineSchema))
    next_cursor = next_cursor_field()
