"""Query and response of a job's chart. `bps` are BYTES per second, a name that senders use."""

from __future__ import annotations

from typing import Any, get_args
from urllib.parse import parse_qsl

from marshmallow import ValidationError, fields, validate

from app.domain.chart import SpeedSource
from app.domain.stretches import LEAST_GAP_SECONDS, MOST_STRETCHES, GapReason
from app.schemas.answers import AnswerSchema
from app.schemas.queries import (
    QueryTimestamp,
    WholeNumber,
    WindowQuery,
    about,
    instant,
    points_field,
    run_field,
)
from app.schemas.updates import HIGHEST_DISK_INDEX

FORMATS = ("json", "columns", "csv")


class HistoryQuery(WindowQuery):
    """The window of a job's chart, its number of points, and its format."""

    run = run_field()
    points = points_field()
    from_ = QueryTimestamp(
        data_key="from", metadata=about("Start of the window; default: the start of the job.")
    )
    to = QueryTimestamp(
        metadata=about(
            "End of the window, exclusive; default: just after the newest update, or now if a live "
            "job is silent."
        )
    )
    disk = WholeNumber(
        validate=validate.Range(0, HIGHEST_DISK_INDEX, error="Must be {min} to {max}."),
        metadata=about("Chart this disk of the job; gaps and phases stay the job's."),
    )
    format = fields.String(
        load_default="json",
        validate=validate.OneOf(FORMATS, error="Must be one of: {choices}."),
        metadata=about(
            "`columns`: `chart_data` is one object of arrays of one length instead of an array of "
            "objects.",
            enum=["json", "columns"],  # not `csv`, which has an address of its own
        ),
    )


_QUERY = HistoryQuery()


def read_query_string(query_string: bytes) -> dict[str, Any] | None:
    """A loaded HistoryQuery; None for a query that is invalid or unusual."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
        query = dict(pairs)
        return _QUERY.load(query) if len(query) == len(pairs) else None
    except (ValueError, ValidationError):
        return None


# Responses. These schemas are documentation; a test compares them with what the API writes.


class ChartPointSchema(AnswerSchema):
    """One update, or all updates of one step. Null: nothing was reported."""

    t = fields.Float(metadata=about("Seconds since `started_at`; of a step: its start."))
    s = fields.Float(allow_none=True, metadata=about("Mean speed, bytes per second."))
    s_min = fields.Integer(
        allow_none=True, metadata=about("Lowest speed, bytes per second; a reported 0 counts.")
    )
    s_max = fields.Integer(allow_none=True, metadata=about("Highest speed, bytes per second."))
    p = fields.Float(
        allow_none=True,
        metadata=about("Last percent reported, else computed from the bytes; 0 to 100."),
    )
    b = fields.Integer(allow_none=True, metadata=about("Last count of bytes reported."))


class ChartColumnsSchema(AnswerSchema):
    """The same as points, as arrays of one length."""

    t = fields.List(fields.Float())
    s = fields.List(fields.Float(allow_none=True))
    s_min = fields.List(fields.Integer(allow_none=True))
    s_max = fields.List(fields.Integer(allow_none=True))
    p = fields.List(fields.Float(allow_none=True))
    b = fields.List(fields.Integer(allow_none=True))


class GapSchema(AnswerSchema):
    """A part of the window without updates."""

    from_ = fields.String(
        data_key="from",
        metadata=about("RFC 3339, UTC. The update before it.", format="date-time"),
    )
    to = instant("The update after it; of a live job that is silent: now.")
    reason = fields.String(
        validate=validate.OneOf(get_args(GapReason)),
        metadata=about(
            "`silence`: the job sent nothing; `hub_away`: the hub took no updates for so long that "
            "it would not be a gap otherwise; "
            "`sender_lost`: the update after it reported others that its sender had to drop."
        ),
    )


class PhaseSchema(AnswerSchema):
    """A run of updates in one phase, up to the start of the next."""

    phase = fields.String()
    from_t = fields.Float(metadata=about("Start, seconds since `started_at`."))
    to_t = fields.Float(
        metadata=about("End: the next phase or the newest update, seconds since `started_at`.")
    )
    seconds = fields.Float(metadata=about("Its length, seconds."))
    bytes = fields.Integer(
        allow_none=True,
        metadata=about(
            "By how much the count of bytes grew in it, 0 where it restarted; "
            "null while no bytes were reported."
        ),
    )


class HistorySchema(AnswerSchema):
    """The chart of a job, or of one of its disks."""

    optional = frozenset({"disk"})

    job_id = fields.String()
    run = fields.Integer(metadata=about("The run of the job, from 1."))
    job_type = fields.String()
    vm_name = fields.String(allow_none=True)
    disk = fields.Integer(metadata=about("The disk; only where one was asked for."))
    status = fields.String()
    started_at = instant("The earliest update.")
    completed_at = instant("The end of the job.", allow_none=True)
    duration_seconds = fields.Float(
        allow_none=True,
        metadata=about("From the start to the end, or to the newest update of a live job."),
    )
    from_ = fields.String(
        data_key="from",
        metadata=about("RFC 3339, UTC. Start of the window, on a whole step.", format="date-time"),
    )
    to = instant("End of the window, exclusive, on a whole step.")
    source = fields.String(
        validate=validate.OneOf(["updates", "1m", "1h", "summary"]),
        metadata=about(
            "The source of the chart: updates, their rollups by the minute or hour, or the summary "
            "of an ended job, which always shows the whole job."
        ),
    )
    resolution_seconds = fields.Integer(
        metadata=about("Length of a step, seconds, counted from 1970 UTC; 0: each update a point.")
    )
    snapshots = fields.Integer(metadata=about("Updates in the window."))
    peak_speed_bps = fields.Integer(
        allow_none=True,
        metadata=about("Highest speed in the window, bytes per second; null: no speed above 0."),
    )
    avg_speed_bps = fields.Float(
        allow_none=True,
        metadata=about("Mean of the speeds above 0 in the window, bytes per second."),
    )
    min_speed_bps = fields.Integer(
        allow_none=True,
        metadata=about("Lowest speed above 0 in the window, bytes per second."),
    )
    speed_source = fields.String(
        allow_none=True,
        validate=validate.OneOf(get_args(SpeedSource)),
        metadata=about(
            "`reported`: speeds are the sender's; `derived`: it reports none, and each is the "
            "bytes moved since the point before by the time between them; null: no speed is known."
        ),
    )
    effective_speed_bps = fields.Float(
        allow_none=True,
        metadata=about("All bytes by the whole duration, in bytes per second; null: unknown."),
    )
    chart_data = fields.List(
        fields.Nested(ChartPointSchema),
        metadata=about("Ascending by time; a step without updates has no point, see `gaps`."),
    )
    last_point_unfinished = fields.Boolean(
        metadata=about(
            "The job is live and the last point's step is not over: updates may still change it."
        )
    )
    gap_seconds = fields.Float(
        metadata=about(
            "What a gap is longer than, seconds: three times the median distance of the run's "
            f"updates, at least {LEAST_GAP_SECONDS}."
        )
    )
    gaps = fields.List(
        fields.Nested(GapSchema),
        metadata=about(
            "More than `gap_seconds` without an update of the job, cut to the window, ascending; "
            f"at most the {MOST_STRETCHES} longest. The last one of a live job that is silent ends "
            "now, on its sender's clock."
        ),
    )
    gaps_omitted = fields.Integer(metadata=about("Shorter gaps that were left out."))
    phases = fields.List(
        fields.Nested(PhaseSchema),
        metadata=about(
            "Phases of the whole run, whatever the window, ascending; "
            f"at most the {MOST_STRETCHES} longest."
        ),
    )
    phases_omitted = fields.Integer(metadata=about("Shorter phases that were left out."))


class HistoryColumnsSchema(HistorySchema):
    """The same with `format=columns`."""

    chart_data = fields.Nested(ChartColumnsSchema)  # type: ignore[assignment]  # another form
