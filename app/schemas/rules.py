"""Rules and maintenance windows: what may be set, and what the hub answers.

What is unknown is refused: a threshold whose name is misspelt would not apply.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validates,
    validates_schema,
)

from app.domain.rules import (
    CONDITIONS,
    SETTINGS,
    MaintenanceWindow,
    Match,
    Rule,
    Schedule,
    is_pattern,
)
from app.errors import InvalidInput
from app.schemas.answers import AnswerSchema
from app.schemas.fields import StrictInteger, StrictNumber, Text, Timestamp, normalise_identifier
from app.schemas.queries import CommaSeparated, QuerySchema, about, instant
from app.schemas.updates import JOB_TYPE, job_type_problem

LONGEST_CONDITION = 255
MOST_MATCH_BYTES = 2_000  # they are the key of an index, which holds 2,704 bytes at most
LONGEST_REASON = 500
LONGEST_WINDOW = timedelta(days=30)
WINDOW_STATES = ("open", "planned", "ended")

_MINUTE, _DAY = 60, 86_400


class _Known(Schema):
    """Unknown fields are refused; an optional one that is null is absent."""

    class Meta:
        unknown = RAISE

    error_messages: dict[str, str] = {  # noqa: RUF012  # as in the base class
        "unknown": "Is not known.",
        "type": "Must be a JSON object.",
    }


def _condition(meaning: str, **schema: Any) -> Text:
    metadata = {**about(meaning, minLength=1), **schema}
    return Text(longest=LONGEST_CONDITION, allow_none=True, metadata=metadata)


_NO_SLASH = r"^[^/\u0000]*$"


class MatchSchema(_Known):
    """Conditions, which must all hold. Without any, it matches everything."""

    job_id = _condition(
        "The job, without the number of a run; or a shell pattern such as `pg-*`.",
        pattern=_NO_SLASH,
    )
    vm_name = _condition("The machine; or a shell pattern.")
    node_id = _condition("The node; or a shell pattern.", pattern=_NO_SLASH)
    phase = _condition("The current phase of the job.")
    job_type = _condition("The type of the job.", **JOB_TYPE)

    @validates("job_id", "vm_name", "node_id", "phase", "job_type")
    def _check(self, value: str | None, data_key: str) -> None:
        if value == "":
            raise ValidationError("Must not be empty.")
        if value is not None and data_key == "job_type" and (problem := job_type_problem(value)):
            raise ValidationError(problem)
        if value is not None and data_key in ("job_id", "node_id") and "/" in value:
            raise ValidationError("Must not contain a slash: a rule is about all runs of a job.")

    @validates_schema(skip_on_field_errors=True)
    def _check_together(self, data: dict[str, Any], **_: Any) -> None:
        if sum(len(value.encode()) for value in data.values() if value) > MOST_MATCH_BYTES:
            raise ValidationError(f"Must be at most {MOST_MATCH_BYTES} bytes in all, in UTF-8.")

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Match:
        named = {name: value for name, value in data.items() if value is not None}
        for name in ("job_id", "node_id"):
            if name in named:
                named[name] = normalise_identifier(named[name])
        return Match(**named)


def _seconds(high: int, meaning: str) -> StrictInteger:
    return StrictInteger(low=1, high=high, allow_none=True, metadata=about(f"Seconds. {meaning}"))


def _percent(meaning: str) -> StrictNumber:
    return StrictNumber(low=1, high=100, allow_none=True, metadata=about(meaning))


class SettingsSchema(_Known):
    """What a rule sets: at least one. What is not set comes from less specific rules."""

    stall_after_seconds = _seconds(_DAY, "Silence after which a job is stalled.")
    fail_after_seconds = _seconds(7 * _DAY, "Silence after which a stalled job is failed.")
    hung_after_seconds = _seconds(7 * _DAY, "Without progress for so long, a job is hung.")
    overdue_after_seconds = _seconds(
        366 * _DAY, "A series is overdue so long after its last good run. Excludes `schedule`."
    )
    schedule = Text(
        longest=LONGEST_CONDITION,
        allow_none=True,
        metadata=about(
            "When runs are due: a cron expression of five fields, such as `0 22 * * 1-5`. Needs "
            "`timezone`."
        ),
    )
    timezone = Text(
        longest=LONGEST_CONDITION,
        allow_none=True,
        metadata=about("IANA time zone of `schedule`, such as `Europe/Berlin` or `UTC`."),
    )
    unusual_factor = StrictNumber(
        low=1.1,
        high=1000,
        allow_none=True,
        metadata=about("How many times larger or smaller than usual is unusual."),
    )
    disk_percent_warning = _percent("Percent of a node's disk in use that is a warning.")
    disk_percent_critical = _percent("Percent of a node's disk in use that is critical.")
    memory_percent = _percent("Percent of a node's memory in use that is too much.")
    mute_until = Timestamp(
        allow_none=True,
        metadata=about("Until then nothing that the rule matches needs attention."),
    )

    @validates("schedule")
    def _check_schedule(self, value: str | None, data_key: str) -> None:
        if value is not None and (problem := schedule_problem(value)):
            raise ValidationError(problem)

    @validates("timezone")
    def _check_zone(self, value: str | None, data_key: str) -> None:
        if value is not None and not is_zone(value):
            raise ValidationError("Must be an IANA time zone, such as Europe/Berlin or UTC.")

    @validates_schema(skip_on_field_errors=True)
    def _check_together(self, data: dict[str, Any], **_: Any) -> None:
        given = {name for name, value in data.items() if value is not None}
        if not given:
            raise ValidationError(f"Must have one of: {', '.join(SETTINGS)}.")
        for lower, higher in (
            ("stall_after_seconds", "fail_after_seconds"),
            ("disk_percent_warning", "disk_percent_critical"),
        ):
            if {lower, higher} <= given and data[higher] <= data[lower]:
                raise ValidationError(f"Must be more than {lower}.", higher)
        if {"schedule", "overdue_after_seconds"} <= given:
            raise ValidationError("Excludes overdue_after_seconds: set one of them.", "schedule")
        if ("schedule" in given) != ("timezone" in given):
            raise ValidationError("schedule and timezone belong together.", "timezone")

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        settings = {name: value for name, value in data.items() if value is not None}
        if "schedule" in settings:
            settings["schedule"] = Schedule(settings["schedule"], settings.pop("timezone"))
        return settings


class RuleBodySchema(_Known):
    """A rule that is to be set: it replaces the one with the same conditions."""

    match = fields.Nested(MatchSchema, required=True)
    settings = fields.Nested(SettingsSchema, required=True)


class RuleSchema(AnswerSchema):
    """A rule."""

    id = fields.Integer(metadata=about("The number by which it is deleted."))
    match = fields.Nested(MatchSchema, metadata=about("Only the conditions that it has."))
    settings = fields.Nested(SettingsSchema, metadata=about("Only what it sets."))
    changed_at = instant("When it was made or last changed; hub's clock.")


class RuleListSchema(AnswerSchema):
    """Every rule, the most specific first."""

    items = fields.List(fields.Nested(RuleSchema))


_SOME_TEXT = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"


class WindowBodySchema(_Known):
    """A maintenance window that is to be planned."""

    from_ = Timestamp(
        data_key="from", allow_none=True, metadata=about("When it begins; default: now.")
    )
    to = Timestamp(
        required=True,
        metadata=about(
            f"When it ends: in the future, and at most {LONGEST_WINDOW.days} days later."
        ),
    )
    match = fields.Nested(
        MatchSchema, load_default=Match, metadata=about("What is silent; default: everything.")
    )
    reason = Text(
        longest=LONGEST_REASON,
        required=True,
        metadata=about("Why, for people.", pattern=_SOME_TEXT),
    )

    @validates("reason")
    def _check_reason(self, value: str, data_key: str) -> None:
        if not value.strip():
            raise ValidationError("Must not be empty.")

    @pre_load
    def _null_match(self, data: Any, **_: Any) -> Any:
        if isinstance(data, dict) and data.get("match", 0) is None:
            return {name: value for name, value in data.items() if name != "match"}
        return data


class WindowSchema(AnswerSchema):
    """A maintenance window."""

    id = fields.Integer(metadata=about("The number by which it is ended."))
    from_ = instant("When it begins; hub's clock.")
    from_.data_key = "from"
    to = instant("When it ends or was ended; hub's clock.")
    match = fields.Nested(MatchSchema, metadata=about("Only the conditions that it has."))
    reason = fields.String()
    state = fields.String(metadata=about("At the time of the answer.", enum=list(WINDOW_STATES)))
    created_at = instant("When it was planned; hub's clock.")


class WindowListSchema(AnswerSchema):
    """Maintenance windows, the last to end first."""

    items = fields.List(fields.Nested(WindowSchema))


class WindowQuery(QuerySchema):
    """Which maintenance windows."""

    state = CommaSeparated(
        WINDOW_STATES,
        load_default=WINDOW_STATES[:2],
        metadata=about(
            f"One state, or several by comma: {', '.join(WINDOW_STATES)}. Default: those that have "
            "not ended. Ended ones are listed for 400 days."
        ),
    )


def schedule_problem(expression: str) -> str | None:
    """Why a text is not a schedule; None if it is."""
    hint = "Must be a cron expression of five fields, such as 0 22 * * 1-5"
    if len(expression.split()) != 5:
        return f"{hint}."
    try:
        next(CronSim(expression, datetime(2026, 1, 1)))  # noqa: DTZ001  # any time will do
    except CronSimError as exc:
        return f"{hint}: {exc}."
    except StopIteration:
        return f"{hint}: this one is never due."
    return None


def is_zone(name: str) -> bool:
    """Whether it names a time zone that this machine knows."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # also for names of other files
        return False
    return True


def check_window(
    from_at: datetime | None, to_at: datetime, now: datetime
) -> tuple[datetime, datetime]:
    """The bounds of a window that is planned now. Raises InvalidInput naming the field."""
    begins = now if from_at is None else from_at
    problem = None
    if to_at <= begins:
        problem = "Must be later than from."
    elif to_at <= now:
        problem = "Must be in the future."
    elif to_at - begins > LONGEST_WINDOW:
        problem = f"Must be at most {LONGEST_WINDOW.days} days after from."
    if problem:
        raise InvalidInput(f"to: {problem}", {"to": [problem]})
    return begins, to_at


def show_match(match: Match) -> dict[str, str]:
    """The conditions that it has."""
    conditions = {name: getattr(match, name) for name in CONDITIONS}
    return {name: value for name, value in conditions.items() if value is not None}


def show_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What a rule sets, as it is sent. Instants stay datetimes."""
    shown = {name: settings[name] for name in SETTINGS if name in settings}
    schedule = shown.get("schedule")
    if isinstance(schedule, Schedule):
        shown |= {"schedule": schedule.expression, "timezone": schedule.timezone}
    return shown


def show_rule(rule: Rule) -> dict[str, Any]:
    """A rule as the API shows it."""
    return {
        "id": rule.id,
        "match": show_match(rule.match),
        "settings": show_settings(rule.settings),
        "changed_at": rule.changed_at,
    }


def show_window(window: MaintenanceWindow, now: datetime) -> dict[str, Any]:
    """A maintenance window as the API shows it."""
    return {
        "id": window.id,
        "from": window.from_at,
        "to": window.to_at,
        "match": show_match(window.match),
        "reason": window.reason,
        "state": window_state(window, now),
        "created_at": window.created_at,
    }


def window_state(window: MaintenanceWindow, now: datetime) -> str:
    """One of WINDOW_STATES."""
    if window.to_at <= now or window.to_at <= window.from_at:
        return "ended"
    return "open" if window.from_at <= now else "planned"


def describe_match(match: Match) -> str:
    """The conditions in one line, for people."""
    shown = show_match(match)
    parts = [f"{name} {'~' if is_pattern(name, v) else '='} {v}" for name, v in shown.items()]
    return ", ".join(parts) or "everything"
