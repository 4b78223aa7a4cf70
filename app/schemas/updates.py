"""What senders push: an update, a batch, the registration and the end of a job.

Rules, error texts and the OpenAPI document come from these schemas. `bps` are BYTES per second, a
name that senders use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import (
    EXCLUDE,
    Schema,
    ValidationError,
    fields,
    post_load,
    validates,
    validates_schema,
)
from marshmallow.validate import OneOf

from app.domain.fields import DISK_FIELDS, IDENTITY_FIELDS, JOB_FIELDS, Field, Kind
from app.domain.statuses import END_STATUSES, REPORTED_DISK_STATUSES, REPORTED_STATUSES
from app.schemas.answers import AnswerSchema
from app.schemas.fields import (
    LENIENT_ITEMS,
    Identifier,
    StrictBoolean,
    StrictInteger,
    StrictNumber,
    Text,
    Timestamp,
)

HIGHEST_DISK_INDEX = 1023
_MOST = {"maxItems": HIGHEST_DISK_INDEX + 1}
MOST_NAMED = 20  # updates of a batch that changed nothing: of a backlog it may be all
LARGEST_LOSS = 2**31 - 1  # PostgreSQL's integer
LONGEST_INTERVAL = 86_400  # seconds
RESERVED_JOB_TYPES = frozenset({"batch", "history", "snapshot"})
_JOB_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,49}", re.ASCII)


# The rule of `job_type_problem`, for the OpenAPI document.
JOB_TYPE = {
    "type": "string",
    "minLength": 1,
    "maxLength": 50,
    "pattern": f"^(?!({'|'.join(sorted(RESERVED_JOB_TYPES))})$)[a-z][a-z0-9_-]*$",
}


def job_type_problem(text: str) -> str | None:
    """Why a text is not a valid job type; None if it is."""
    if not _JOB_TYPE.fullmatch(text):
        return "Must be 1 to 50 of a-z, 0-9, _ and -, beginning with a letter."
    if text in RESERVED_JOB_TYPES:
        return f"{text!r} is reserved."
    return None


def _optional(meaning: str, **metadata: Any) -> dict[str, Any]:
    """Arguments of a field that may be absent; null means absent."""
    return {"allow_none": True, "metadata": {"description": meaning, **metadata}}


def _status(allowed: tuple[str, ...], meaning: str, **kwargs: Any) -> Text:
    return Text(
        validate=OneOf(allowed, error=f"Must be one of: {', '.join(allowed)}."),
        metadata={"description": meaning},
        **kwargs,
    )


def _interval() -> StrictInteger:
    return StrictInteger(
        low=1,
        high=LONGEST_INTERVAL,
        **_optional(
            "How often the sender reports, in seconds: the job is not silent before three times "
            "that. The longest that is named in a run counts. Not part of the update itself."
        ),
    )


class _Strict(Schema):
    """Unknown fields are ignored; an optional field that is null is absent."""

    class Meta:
        unknown = EXCLUDE

    @post_load
    def _drop_nulls(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None}


def _optional_field(field: Field) -> fields.Field[Any]:
    options = _optional(field.description)
    match field.kind:
        case Kind.INTEGER:
            return StrictInteger(**options)
        case Kind.NUMBER | Kind.PERCENT:
            return StrictNumber(**options)
        case Kind.DISK_STATUS:
            return _status(REPORTED_DISK_STATUSES, field.description, allow_none=True)
        case Kind.TEXT:
            return Text(**options)
        case Kind.LABEL | Kind.IDENTITY:
            return Text(longest=255, **options)


def _optional_fields(described: Mapping[str, Field]) -> dict[str, fields.Field[Any]]:
    """The fields, by their names in a push."""
    return {field.sent_as or name: _optional_field(field) for name, field in described.items()}


class DiskSchema(_Strict):
    """One disk of an update; what it does not name stays as it was."""

    class Meta(_Strict.Meta):
        include: ClassVar = _optional_fields(DISK_FIELDS)

    disk_index = StrictInteger(
        low=0,
        high=HIGHEST_DISK_INDEX,
        required=True,
        metadata={"description": "Position of the disk in its job, unique in an update."},
    )


class IdentitySchema(_Strict):
    """What a job is about. Never part of its progress."""

    class Meta(_Strict.Meta):
        include: ClassVar = _optional_fields(IDENTITY_FIELDS)


def _reject_repeated_disks(data: dict[str, Any]) -> None:
    seen: set[int] = set()
    for position, disk in enumerate(data.get("disks") or []):
        index = disk["disk_index"]
        if index in seen:
            raise ValidationError(
                {position: {"disk_index": [f"Disk {index} is named twice."]}}, "disks"
            )
        seen.add(index)


class UpdateSchema(IdentitySchema):
    """One update of a job. An absent field means "unchanged", never zero."""

    class Meta(_Strict.Meta):
        include: ClassVar = _optional_fields(JOB_FIELDS)

    status = _status(REPORTED_STATUSES, "State of the job; all but running end it.", required=True)
    job_id = Text(**_optional("The path's job id again, or absent."))
    job_type = Text(**_optional("The path's job type again, or absent."))
    disks = fields.List(
        fields.Nested(DiskSchema),
        validate=lambda disks: _limit_disks(disks),
        **_optional("Disks that changed; the others stay as they were.", **_MOST),
    )
    timestamp = Timestamp(
        **_optional(
            "The sender's clock when it measured; without it the hub's clock, and a repeat "
            "cannot be recognised."
        )
    )
    lost_updates = StrictInteger(
        high=LARGEST_LOSS,
        **_optional(
            "How many updates of this job the sender had to drop since the last one it delivered; "
            "absent or 0: none. Not part of the update itself: the same update with another count "
            "is a repeat, and the larger count is kept."
        ),
    )
    interval_seconds = _interval()
    new_run = StrictBoolean(
        **_optional(
            "True in the first update of a run, if the job's id may have been used before. Without "
            "it, a run begins with the first update that is more than 60 s after the end of the "
            "run before."
        )
    )

    dry_run = StrictBoolean(
        **_optional(
            "True if the run copies nothing and only shows what it would do. Its "
            "result is `warning` when it completes."
        )
    )

    @validates_schema
    def _disks_once(self, data: dict[str, Any], **_: Any) -> None:
        _reject_repeated_disks(data)


def _limit_disks(disks: list[Any]) -> None:
    if len(disks) > HIGHEST_DISK_INDEX + 1:
        raise ValidationError(f"Must be at most {HIGHEST_DISK_INDEX + 1} disks.")


class NamedJobSchema(Schema):
    """The job that a body is about, where the path does not name it."""

    job_id: Text = Identifier(metadata={"description": "Id of the job, 1 to 255 characters."})
    job_type = Text(required=True, metadata={"description": "Type of the job, a slug.", **JOB_TYPE})

    @validates("job_type")
    def _check_job_type(self, value: str, data_key: str) -> None:
        if problem := job_type_problem(value):
            raise ValidationError(problem)


class BatchItemSchema(NamedJobSchema, UpdateSchema):
    """One update of a batch: as in a single push, and which job it is of."""


class UpdateBatchSchema(Schema):
    """Updates of one or more jobs."""

    class Meta:
        unknown = EXCLUDE

    updates = fields.List(
        fields.Nested(BatchItemSchema),
        required=True,
        metadata={
            "description": "At most 10,000 updates.",
            LENIENT_ITEMS: "Anything else is rejected alone, with a reason.",
        },
    )


class RegisteredDiskSchema(_Strict):
    """A disk that a job is going to move."""

    disk_index = StrictInteger(low=0, high=HIGHEST_DISK_INDEX, required=True)
    size_bytes = StrictInteger(required=True, metadata={"description": "Size, in bytes."})


class RegistrationSchema(NamedJobSchema, IdentitySchema):
    """A job that is about to start."""

    total_bytes = StrictInteger(**_optional("Bytes to move in all."))
    interval_seconds = _interval()
    new_run = StrictBoolean(
        **_optional(
            "True if this is another run of a job that has ended, even if it ended just now. A run "
            "that has ended is followed by another anyway if it was registered before its end, or "
            "that arrived more than 60 s ago."
        )
    )
    disks = fields.List(
        fields.Nested(RegisteredDiskSchema),
        validate=_limit_disks,
        **_optional("The disks the job is going to move.", **_MOST),
    )

    @validates_schema
    def _disks_once(self, data: dict[str, Any], **_: Any) -> None:
        _reject_repeated_disks(data)


class CompletionSchema(_Strict):
    """The end of a job whose sender pushes no telemetry."""

    status = _status(END_STATUSES, "How the job ended.", required=True)
    error = Text(**_optional("What went wrong; kept as the job's error_message."))
    bytes_transferred = StrictInteger(**_optional("Bytes moved in all."))
    disks = fields.List(
        fields.Nested(DiskSchema),
        validate=_limit_disks,
        **_optional("What each disk came to.", **_MOST),
    )

    @validates_schema
    def _disks_once(self, data: dict[str, Any], **_: Any) -> None:
        _reject_repeated_disks(data)


class ReceiptSchema(AnswerSchema):
    """The result of a stored update."""

    job_id = fields.String()
    run = fields.Integer(metadata={"description": "The run of the job that it belongs to, from 1."})
    status = fields.String(metadata={"description": "The status the update carried."})
    accepted = fields.Boolean(metadata={"description": "Always true: it is stored."})
    duplicate = fields.Boolean(metadata={"description": "It was stored before."})
    applied = fields.Boolean(metadata={"description": "The job's current state changed."})
    reason = fields.String(allow_none=True, metadata={"description": "Why it did not change."})
    time = fields.String(
        metadata={"description": "The time at which it is stored.", "format": "date-time"}
    )
    received_at = fields.String(
        metadata={"description": "The hub's clock when it was stored.", "format": "date-time"}
    )


class RejectedSchema(AnswerSchema):
    index = fields.Integer(metadata={"description": "Position in the batch, from 0."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "Reasons by field path, such as disks.0.disk_index."},
    )


class NotAppliedSchema(AnswerSchema):
    index = fields.Integer(metadata={"description": "Position in the batch, from 0."})
    reason = fields.String(metadata={"description": "Why the job's current state stayed."})


class BatchReceiptSchema(AnswerSchema):
    """The result of a batch. Everything not rejected is stored."""

    accepted = fields.Integer(metadata={"description": "Updates that are new."})
    duplicates = fields.Integer(metadata={"description": "Updates that were stored before."})
    rejected = fields.List(fields.Nested(RejectedSchema))
    not_applied = fields.List(
        fields.Nested(NotAppliedSchema),
        metadata={"description": f"New updates that have changed nothing: the first {MOST_NAMED}."},
    )


class AdjustedSchema(AnswerSchema):
    index = fields.Integer(metadata={"description": "Position in the request, from 0."})
    notes = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "What was changed or not kept, and why, by metric."},
    )


class SnapshotReceiptSchema(BatchReceiptSchema):
    """The result of pushed snapshots."""

    adjusted = fields.List(
        fields.Nested(AdjustedSchema),
        metadata={"description": "Snapshots that are stored without odd values of theirs."},
    )


class ProblemSchema(AnswerSchema):
    """RFC 9457 problem details."""

    optional = frozenset({"errors"})

    type = fields.String(
        metadata={
            "description": "Begins with `urn:telemetry-hub:problem:`: the answer is the hub's, not "
            "that of a proxy.",
            "example": "urn:telemetry-hub:problem:bad-request",
        }
    )
    title = fields.String()
    status = fields.Integer()
    detail = fields.String(metadata={"description": "A sentence for people."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "Reasons by field path, where the body was bad."},
    )
