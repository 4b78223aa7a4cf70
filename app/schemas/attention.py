"""Queries and responses about what needs attention, and about series of runs."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields
from marshmallow.validate import OneOf, Range

from app.domain.attention.items import KINDS, SEVERITIES
from app.domain.attention.run import RESULTS
from app.domain.statuses import JOB_STATUSES
from app.schemas.answers import AnswerSchema
from app.schemas.fields import Text
from app.schemas.queries import (
    CommaSeparated,
    Cursor,
    TableQuery,
    WholeNumber,
    about,
    instant,
    next_cursor_field,
)

LONGEST_FILTER = 255
LARGEST_ID = 10**18 - 1  # of 18 digits
LONGEST_NOTE = 2_000
LONGEST_NAME = 100
SERIES_STATES = ("new", "running", "good", "warning", "failed", "cancelled")


def _series_id() -> WholeNumber:
    return WholeNumber(
        validate=Range(0, LARGEST_ID, error="Must be {min} to {max}."),
        metadata=about("The number of a series."),
    )


class AttentionQuery(TableQuery):
    """Which items: all filters given must hold."""

    cursor = Cursor("attention")
    state = fields.String(
        load_default="open",
        validate=OneOf(("open", "ended", "all"), error="Must be one of: {choices}."),
        metadata=about("`open` (default), `ended`, or `all`, the open ones first."),
    )
    kind = CommaSeparated(KINDS, metadata=about(f"Kinds by comma: {', '.join(KINDS)}."))
    severity = CommaSeparated(
        SEVERITIES, metadata=about(f"Severities by comma: {', '.join(SEVERITIES)}.")
    )
    is_acknowledged = fields.String(
        data_key="acknowledged",
        validate=OneOf(("true", "false"), error="Must be one of: {choices}."),
        metadata=about("Only items that have been acknowledged, or have not."),
    )
    vm_name = Text(longest=LONGEST_FILTER, metadata=about("About this machine."))
    job_type = Text(longest=LONGEST_FILTER, metadata=about("About jobs of this type."))
    repository_id = Text(longest=LONGEST_FILTER, metadata=about("About this repository."))
    node_id = Text(longest=LONGEST_FILTER, metadata=about("About this node."))
    job_id = Text(longest=LONGEST_FILTER, metadata=about("About any run of this job."))
    series_id = _series_id()


class AttentionItemSchema(AnswerSchema):
    """Something that an operator should know. All instants RFC 3339, UTC."""

    id = fields.Integer()
    kind = fields.String(metadata=about("What it is.", enum=list(KINDS)))
    severity = fields.String(metadata=about("How bad it is.", enum=list(SEVERITIES)))
    subject = fields.String(
        metadata=about("What has it, for machines: at most one open item of a kind has a subject.")
    )
    series_id = fields.Integer(allow_none=True, metadata=about("The series that it is about."))
    job_id = fields.String(allow_none=True, metadata=about("The job that it is about."))
    run = fields.Integer(allow_none=True, metadata=about("The run of that job, from 1."))
    node_id = fields.String(allow_none=True, metadata=about("The node that it is about."))
    vm_name = fields.String(allow_none=True)
    job_type = fields.String(allow_none=True)
    repository_id = fields.String(allow_none=True)
    since = instant("Since when it is so.")
    noticed_at = instant("When the hub noticed it.")
    until = instant("When it ended; null: it is open.", allow_none=True)
    summary = fields.String(metadata=about("What is wrong, as a sentence with numbers."))
    advice = fields.String(metadata=about("What to check."))
    evidence = fields.Dict(metadata=about("The numbers behind it; they depend on the kind."))
    acknowledged_at = instant("When it was acknowledged.", allow_none=True)
    acknowledged_by = fields.String(allow_none=True, metadata=about("Who acknowledged it."))
    note = fields.String(allow_none=True, metadata=about("What was noted about it."))


class AttentionListSchema(AnswerSchema):
    """A page of items: open ones first, by severity, then the oldest first."""

    items = fields.List(fields.Nested(AttentionItemSchema))
    next_cursor = next_cursor_field()


class AcknowledgementSchema(Schema):
    """That someone has seen an item."""

    class Meta:
        unknown = EXCLUDE

    by = Text(
        longest=LONGEST_NAME,
        allow_none=True,
        metadata=about("Who; default: the name of the token, or `operator`."),
    )
    note = Text(longest=LONGEST_NOTE, allow_none=True, metadata=about("What to know about it."))


class SeriesQuery(TableQuery):
    """Which series: all filters given must hold."""

    cursor = Cursor("series")
    state = CommaSeparated(
        SERIES_STATES, metadata=about(f"States by comma: {', '.join(SERIES_STATES)}.")
    )
    attention = CommaSeparated(
        ("any", *KINDS),
        metadata=about("Kinds by comma: series with an open item of one of them; `any`: of any."),
    )
    vm_name = Text(longest=LONGEST_FILTER, metadata=about("The machine."))
    job_type = Text(longest=LONGEST_FILTER, metadata=about("The type of the jobs."))
    repository_id = Text(longest=LONGEST_FILTER, metadata=about("The repository."))


class BandSchema(AnswerSchema):
    """The usual range of a value; outside of it, it is unusual."""

    median = fields.Float()
    low = fields.Float()
    high = fields.Float()


class UsualSchema(AnswerSchema):
    """What is usual for a series. A band is null until five good runs are known."""

    runs = fields.Integer(metadata=about("From how many good runs, at most the last 20."))
    bytes = fields.Nested(BandSchema, allow_none=True, metadata=about("Bytes moved."))
    seconds = fields.Nested(BandSchema, allow_none=True, metadata=about("Duration, seconds."))
    bps = fields.Nested(
        BandSchema, allow_none=True, metadata=about("Mean speed, BYTES per second.")
    )


class SeriesRunSchema(AnswerSchema):
    """A run of a series."""

    job_id = fields.String()
    run = fields.Integer(metadata=about("The run of the job, from 1."))
    status = fields.String(metadata=about("Current status.", enum=list(JOB_STATUSES)))
    result = fields.String(
        allow_none=True,
        metadata=about("Of a completed run; null: not judged yet.", enum=list(RESULTS)),
    )
    started_at = instant("The start; sender's clock.")
    completed_at = instant("The end, with any status.", allow_none=True)
    bytes_transferred = fields.Integer(metadata=about("Bytes."))


class SeriesSchema(AnswerSchema):
    """The runs of one job type, repository and backup type of a machine, or of one job without a
    machine.
    """

    id = fields.Integer()
    vm_name = fields.String(allow_none=True, metadata=about("The machine."))
    job_id = fields.String(allow_none=True, metadata=about("The job, if it names no machine."))
    job_type = fields.String()
    repository_id = fields.String(allow_none=True)
    backup_type = fields.String(allow_none=True)
    state = fields.String(
        metadata=about(
            "Of its newest ended run; `running`: none has ended; `new`: none has begun.",
            enum=list(SERIES_STATES),
        )
    )
    attention = fields.List(fields.String(), metadata=about("The kinds of its open items."))
    runs = fields.Integer(metadata=about("How many runs it has."))
    failures = fields.Integer(metadata=about("How many failed since the last completed one."))
    last_run = fields.Nested(SeriesRunSchema, allow_none=True, metadata=about("The newest run."))
    last_good_run = fields.Nested(
        SeriesRunSchema,
        allow_none=True,
        metadata=about("The newest run that completed without contradicting itself."),
    )
    usual = fields.Nested(UsualSchema)
    distance_seconds = fields.Float(
        allow_none=True, metadata=about("How far apart its runs usually are; null: no rhythm.")
    )
    next_expected_at = instant("When the next run is expected to begin.", allow_none=True)
    overdue_at = instant("Since when it is overdue, if none begins before.", allow_none=True)


class SeriesListSchema(AnswerSchema):
    """A page of series, by machine (or job) and number."""

    items = fields.List(fields.Nested(SeriesSchema))
    next_cursor = next_cursor_field()
