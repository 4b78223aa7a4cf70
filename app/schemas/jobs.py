"""Queries and responses for jobs and machines."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import OneOf

from app.domain.attention.items import KINDS
from app.domain.attention.run import RESULTS
from app.domain.chart import SpeedSource
from app.domain.estimates import Basis
from app.domain.fields import JOB_FIELDS, Field, Kind
from app.domain.job_lists import MOST_EXAMINED, SORTS
from app.domain.rules import JOB_SETTINGS
from app.domain.staleness import RaisedBy
from app.domain.statuses import DISK_STATUSES, JOB_STATUSES, REPORTED_STATUSES
from app.domain.texts import LONGEST_LISTED
from app.schemas.answers import AnswerSchema
from app.schemas.fields import Text
from app.schemas.queries import (
    CommaSeparated,
    Cursor,
    QueryTimestamp,
    TableQuery,
    WindowQuery,
    about,
    instant,
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
        metadata=about("Started at or after this instant, RFC 3339 with offset."),
    )
    to = QueryTimestamp(metadata=about("Started before this instant, RFC 3339 with offset."))
    active_from = QueryTimestamp(
        metadata=about("Ran at some time at or after this instant: it had not ended before.")
    )
    active_to = QueryTimestamp(
        metadata=about("Ran at some time before this instant: it had started.")
    )
    job_id = Text(
        longest=LONGEST_FILTER, metadata=about("Exactly this id: all runs of one job, or none.")
    )
    result = fields.String(
        validate=OneOf(RESULTS, error="Must be one of: {choices}."),
        metadata=about("Completed runs with this result: `good` or `warning`."),
    )
    attention = CommaSeparated(
        ("any", *KINDS),
        metadata=about(
            "Kinds by comma: runs that an open item of one of them is about; `any`: of any kind."
        ),
    )

    @validates_schema
    def _check_active(self, data: dict[str, Any], **kwargs: Any) -> None:
        active_from, active_to = data.get("active_from"), data.get("active_to")
        if active_from and active_to and active_to <= active_from:
            raise ValidationError("Must be later than `active_from`.", "active_to")


class RunListQuery(TableQuery):
    """Page of the list of a job's runs."""

    cursor = Cursor("runs")


class JobListQuery(JobFilterQuery, TableQuery):
    """Filters, order and page of the list of jobs."""

    q = Text(
        longest=LONGEST_FILTER,
        metadata=about(
            "Jobs whose `job_id`, `vm_name`, `repository_id` or `error_message` contains this "
            f"text, in any case. A page looks at {MOST_EXAMINED:,} jobs, in the order of the list: "
            "it may have fewer items than `limit`, or none, and still have a `next_cursor`."
        ),
    )
    sort = fields.String(
        load_default=SORTS[0],
        validate=OneOf(SORTS, error="Must be one of: {choices}."),
        metadata=about(
            "`started_at`; `duration`, to the end or the newest update; `bytes`, transferred; "
            "`speed`, bytes by duration."
        ),
    )
    order = fields.String(
        load_default="desc",
        validate=OneOf(("asc", "desc"), error="Must be one of: {choices}."),
        metadata=about("`desc`: the newest or largest first."),
    )
    cursor = Cursor("jobs")

    @validates_schema
    def _check_cursor(self, data: dict[str, Any], **kwargs: Any) -> None:
        order = [data["sort"], data["order"]]
        if "cursor" in data and data["cursor"][:2] != order:
            raise ValidationError("Is of a list in another order.", "cursor")


def _reported(field: Field) -> fields.Field[Any]:
    if field.kind is Kind.INTEGER:
        return fields.Integer(allow_none=True, metadata=about(field.description))
    if field.kind in (Kind.NUMBER, Kind.PERCENT):
        return fields.Float(allow_none=True, metadata=about(field.description))
    return fields.String(allow_none=True, metadata=about(field.description))


# Responses. These schemas are documentation; a test compares their keys with what the API writes.


class JobDiskSchema(AnswerSchema):
    """The current state of one disk of a job."""

    job_id = fields.String()
    disk_index = fields.Integer(metadata=about("0 to 1023."))
    status = fields.String(metadata=about("Current status of the disk.", enum=list(DISK_STATUSES)))
    size_bytes = fields.Integer(allow_none=True, metadata=about("Size when registered, bytes."))
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    total_bytes = fields.Integer(allow_none=True, metadata=about("Bytes; null: not known."))
    transfer_speed_bps = fields.Integer(
        allow_none=True, metadata=about("BYTES per second, as last reported; null: never.")
    )
    progress_percent = fields.Float(
        allow_none=True,
        metadata=about("0 to 100, two decimals; null: neither reported nor a total known."),
    )
    error_message = fields.String(allow_none=True)
    newest_update_at = instant("Sender's clock.", allow_none=True)


class TimeLeftSchema(AnswerSchema):
    """How long a live job still needs after its newest update."""

    seconds = fields.Integer(allow_none=True, metadata=about("Seconds; null: see `reason`."))
    low = fields.Integer(allow_none=True, metadata=about("Probably at least, seconds."))
    high = fields.Integer(allow_none=True, metadata=about("Probably at most, seconds."))
    basis = fields.String(
        allow_none=True,
        metadata=about(
            "`rate`: how fast its bytes move now; `percent`: how fast its percent grows; "
            "`history`: how earlier runs of the same machine, type and repository went on.",
            enum=list(get_args(Basis)),
        ),
    )
    reason = fields.String(allow_none=True, metadata=about("Why there is no estimate."))


class JobItemSchema(AnswerSchema):
    """The current state of one run of a job. All instants RFC 3339, UTC."""

    id = fields.Integer(metadata=about("The hub's own number of the run."))
    job_id = fields.String()
    run = fields.Integer(
        metadata=about("The run of the job, from 1, in the order in which the hub saw them.")
    )
    runs = fields.Integer(metadata=about("How many runs the job has."))
    job_type = fields.String()
    vm_name = fields.String(allow_none=True)
    repository_id = fields.String(allow_none=True)
    backup_type = fields.String(allow_none=True)
    status = fields.String(metadata=about("Current status.", enum=list(JOB_STATUSES)))
    result = fields.String(
        allow_none=True,
        metadata=about(
            "Of a completed run: `good`, or `warning` if it contradicts itself or is unusual; null "
            "until it is judged, some seconds after its end.",
            enum=list(RESULTS),
        ),
    )
    current_phase = fields.String(
        allow_none=True, metadata=about("As last reported; null: never reported.")
    )
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    total_bytes = fields.Integer(allow_none=True, metadata=about("Bytes; null: not known."))
    transfer_speed_bps = fields.Integer(
        allow_none=True,
        metadata=about("BYTES per second, as last reported; see `speed_source`. Null: not known."),
    )
    speed_source = fields.String(
        allow_none=True,
        metadata=about(
            "`reported`; or `derived`: the sender reports no speed, and it is that of the last "
            "seconds of a running job, by its bytes (not in CSV).",
            enum=list(get_args(SpeedSource)),
        ),
    )
    eta_seconds = fields.Integer(
        allow_none=True,
        metadata=about("The sender's estimate, seconds: a hint; null: not reported, 0: completed."),
    )
    hub_eta = fields.Nested(
        TimeLeftSchema,
        allow_none=True,
        metadata=about("The hub's estimate for a running or stalled job; else null."),
    )
    progress_percent = fields.Float(
        allow_none=True,
        metadata=about("0 to 100, two decimals; null: neither reported nor a total known."),
    )
    error_message = fields.String(
        allow_none=True,
        metadata=about(
            f"What went wrong. In a list cut to {LONGEST_LISTED} characters, with `…` at its end."
        ),
    )
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
    clock_skew_seconds = fields.Float(
        allow_none=True,
        metadata=about(
            "How far the sender's clock is ahead of the hub's, seconds; negative: behind. Null up "
            "to 5 s, and if no update arrived in time to tell."
        ),
    )
    interval_seconds = fields.Integer(
        allow_none=True,
        metadata=about("How often its sender reports, as it says, seconds; null: it does not say."),
    )
    pause_seconds = fields.Integer(
        allow_none=True,
        metadata=about(
            "The longest silence, in seconds, after which it had been stalled or failed and "
            "reported again; null: none."
        ),
    )
    duration_seconds = fields.Float(
        allow_none=True,
        metadata=about("From start to end, or to the newest update of a live job, seconds."),
    )


class FindingSchema(AnswerSchema):
    """Why a completed run is not good."""

    kind = fields.String(
        metadata=about(
            "`suspicious`: it contradicts itself; `unusual`: it differs from earlier runs.",
            enum=["suspicious", "unusual"],
        )
    )
    summary = fields.String(metadata=about("A sentence."))
    evidence = fields.Dict(metadata=about("The numbers behind it."))


class AppliedSchema(AnswerSchema):
    """The value of one threshold for a job, and where it comes from."""

    value = fields.Raw(
        allow_none=True,
        metadata=about(
            "A number; of `mute_until` an instant, of `schedule` an object with `schedule` and "
            "`timezone`. Null: no rule sets it."
        ),
    )
    rule_id = fields.Integer(
        allow_none=True, metadata=about("The rule that sets it; null: the hub's settings, or none.")
    )
    raised_by = fields.String(
        allow_none=True,
        metadata=about(
            "Why it is more than was set: `interval`, of the sender; `pause`, after which the job "
            "had reported again; `stall_after_seconds`, as it is failed later than it is stalled.",
            enum=list(get_args(RaisedBy)),
        ),
    )


class ThresholdsSchema(AnswerSchema):
    """What applies to a job in its current phase, by the most specific rule for each."""

    class Meta:
        include: ClassVar = {name: fields.Nested(AppliedSchema) for name in JOB_SETTINGS}


class JobSchema(JobItemSchema):
    """One job with its disks and, once it has ended, its summary."""

    thresholds = fields.Nested(ThresholdsSchema)

    performance_metrics = fields.Dict(
        allow_none=True, metadata=about("The summary of an ended job: speeds, duration, chart.")
    )
    series_id = fields.Integer(
        allow_none=True,
        metadata=about(
            "The series that the run belongs to; null for some seconds after its start."
        ),
    )
    findings = fields.List(
        fields.Nested(FindingSchema), metadata=about("Why its result is `warning`.")
    )
    disks = fields.List(fields.Nested(JobDiskSchema), metadata=about("Ascending by index."))


class JobListSchema(AnswerSchema):
    """A page of jobs, by default the newest run first."""

    items = fields.List(fields.Nested(JobItemSchema))
    next_cursor = next_cursor_field()


class JobUpdateSchema(AnswerSchema):
    """One update of a job, with the values that it reported; null: not reported."""

    class Meta:
        include: ClassVar = {name: _reported(field) for name, field in JOB_FIELDS.items()}

    time = instant("When it is stored; sender's clock.")
    received_at = instant("Arrival; the hub's clock.")
    sender_time = instant("Its timestamp, where that was shifted.", allow_none=True)
    status = fields.String(metadata=about("Reported status.", enum=list(REPORTED_STATUSES)))


class JobUpdateListSchema(AnswerSchema):
    """A page of a job's updates, oldest first."""

    items = fields.List(fields.Nested(JobUpdateSchema))
    next_cursor = next_cursor_field()


class JobEventSchema(AnswerSchema):
    """A transition of a job's status, or a warning or log (no statuses)."""

    id = fields.Integer()
    time = instant("The hub's clock.")
    kind = fields.String(metadata=about("What it is.", enum=["transition", "warning", "log"]))
    from_status = fields.String(allow_none=True)
    to_status = fields.String(allow_none=True)
    actor = fields.String(
        metadata=about("Who caused it.", enum=["sender", "detector", "operator", "hub"])
    )
    reason = fields.String(metadata=about("A sentence."))
    evidence = fields.Dict(metadata=about("The data behind it."))


class JobEventListSchema(AnswerSchema):
    """A page of a job's events, in the order in which they happened."""

    items = fields.List(fields.Nested(JobEventSchema))
    next_cursor = next_cursor_field()


class ByStatusSchema(AnswerSchema):
    """A count for each status, 0 where none."""

    pending = fields.Integer()
    running = fields.Integer()
    stalled = fields.Integer()
    completed = fields.Integer()
    failed = fields.Integer()
    cancelled = fields.Integer()


class ByResultSchema(AnswerSchema):
    """The completed runs, by result. Those that are not judged yet count as good."""

    good = fields.Integer()
    warning = fields.Integer()


class JobSummarySchema(AnswerSchema):
    """How many runs there are of each status and result."""

    total = fields.Integer()
    by_status = fields.Nested(ByStatusSchema)
    by_result = fields.Nested(ByResultSchema)


class LastJobSchema(AnswerSchema):
    """The newest run of a machine, by its start."""

    job_id = fields.String()
    run = fields.Integer(metadata=about("The run of the job, from 1."))
    runs = fields.Integer(metadata=about("How many runs the job has."))
    job_type = fields.String()
    status = fields.String(metadata=about("Current status.", enum=list(JOB_STATUSES)))
    result = fields.String(
        allow_none=True, metadata=about("Of a completed run.", enum=list(RESULTS))
    )
    started_at = instant("The start.")
    completed_at = instant("The end.", allow_none=True)
    bytes_transferred = fields.Integer(metadata=about("Bytes."))
    duration_seconds = fields.Float(allow_none=True, metadata=about("Seconds."))
    error_message = fields.String(allow_none=True)


class MachineSchema(AnswerSchema):
    """A machine that jobs ran for."""

    vm_name = fields.String()
    jobs = fields.Integer(metadata=about("How many jobs."))
    by_status = fields.Nested(ByStatusSchema)
    by_result = fields.Nested(ByResultSchema)
    last_job = fields.Nested(LastJobSchema)


class MachineListSchema(AnswerSchema):
    """A page of machines, by name."""

    items = fields.List(fields.Nested(MachineSchema))
    next_cursor = next_cursor_field()
