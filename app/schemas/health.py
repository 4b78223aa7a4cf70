"""The response of GET /health."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.answers import AnswerSchema


class DatabaseCheckSchema(AnswerSchema):
    """Whether the database answers."""

    status = fields.String(metadata={"enum": ["ok", "slow", "down"]})
    seconds = fields.Float(
        allow_none=True, metadata={"description": "How long its last answer took, seconds."}
    )
    detail = fields.String(allow_none=True)


class MigrationsCheckSchema(AnswerSchema):
    """Whether the schema is the one this version of the hub was written for."""

    status = fields.String(metadata={"enum": ["ok", "pending", "unknown"]})
    pending = fields.List(fields.String(), metadata={"description": "Files not yet applied."})


class WriterCheckSchema(AnswerSchema):
    """The queue of updates that wait for their commit, in this worker process."""

    status = fields.String(metadata={"enum": ["ok", "slow", "full", "damaged", "refusing"]})
    queued = fields.Integer(metadata={"description": "Updates that wait."})
    capacity = fields.Integer(
        metadata={
            "description": "Updates of the last ten minutes that may wait, and as many older."
        }
    )
    detail = fields.String(
        allow_none=True,
        metadata={"description": "Why updates are stored late or refused; null if they are not."},
    )
    last_commit_seconds_ago = fields.Float(
        allow_none=True, metadata={"description": "Null before the first commit."}
    )


class TaskSchema(AnswerSchema):
    """The last run of one scheduled task."""

    task_id = fields.String()
    status = fields.String(metadata={"enum": ["ok", "late", "failing"]})
    interval_seconds = fields.Integer(metadata={"description": "How often it is due."})
    age_seconds = fields.Float(metadata={"description": "Since its last run ended."})
    last_started_at = fields.DateTime(allow_none=True)
    last_finished_at = fields.DateTime(allow_none=True)
    last_duration_seconds = fields.Float(allow_none=True)
    error = fields.String(allow_none=True, metadata={"description": "Of the last run."})


class TasksCheckSchema(AnswerSchema):
    """Whether the scheduled tasks run, in whatever process. `late`: not for three intervals."""

    status = fields.String(metadata={"enum": ["ok", "late", "failing", "unknown"]})
    tasks = fields.List(fields.Nested(TaskSchema))


class AnalystsCheckSchema(AnswerSchema):
    """Whether analysts may connect to the embedded database. On a server always `ok`."""

    status = fields.String(metadata={"enum": ["ok", "refused", "unknown"]})
    refused_until = fields.DateTime(
        allow_none=True,
        metadata={"description": "Their statements have ended the database twice in ten minutes."},
    )


class StandbyCheckSchema(AnswerSchema):
    """Whether reads use the standby of HUB_READ_URL. `none`: no such setting."""

    status = fields.String(metadata={"enum": ["none", "ok", "behind", "down"]})
    behind_seconds = fields.Float(
        allow_none=True,
        metadata={"description": "The age of what the standby shows; null if it is not known."},
    )
    detail = fields.String(allow_none=True)


class ChecksSchema(AnswerSchema):
    """The parts of the hub."""

    database = fields.Nested(DatabaseCheckSchema)
    migrations = fields.Nested(MigrationsCheckSchema)
    writer = fields.Nested(WriterCheckSchema)
    tasks = fields.Nested(TasksCheckSchema)
    analysts = fields.Nested(AnalystsCheckSchema)
    standby = fields.Nested(StandbyCheckSchema)


class HealthSchema(AnswerSchema):
    """Whether the hub can do its work."""

    status = fields.String(
        metadata={
            "enum": ["ok", "degraded", "unavailable"],
            "description": "`unavailable` comes with 503: updates cannot be taken.",
        }
    )
    version = fields.String()
    checks = fields.Nested(ChecksSchema)
