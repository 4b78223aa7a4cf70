"""Destinations, routes and the outbox: what may be set, and what the hub answers."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    validates,
    validates_schema,
)
from marshmallow.validate import Length, OneOf, Range

from app.domain.attention.items import KINDS, SEVERITIES
from app.domain.notify.routes import DEFAULT_SEVERITIES, DIGESTS, REPORT_HOUR, Route
from app.errors import Conflict
from app.schemas.answers import AnswerSchema
from app.schemas.attention import LARGEST_ID
from app.schemas.fields import StrictBoolean, StrictInteger, Text
from app.schemas.queries import (
    CommaSeparated,
    Cursor,
    PageQuery,
    WholeNumber,
    about,
    instant,
    next_cursor_field,
)
from app.schemas.rules import is_zone

LONGEST_NAME = 100
LONGEST_ADDRESS = 4_000
MOST_PATTERNS = 100
MESSAGE_STATES = ("waiting", "sent", "dead", "merged")
SOURCES = ("table", "file", "environment")
EVENTS = ("opened", "recovered", "open", "digest", "report", "test")


_NAME = re.compile(r"^(?! )[^\u0000-\u001f\u007f]*[^\u0000-\u0020\u007f]$")


class _Known(Schema):
    """Unknown fields are refused."""

    class Meta:
        unknown = RAISE

    error_messages: dict[str, str] = {  # noqa: RUF012  # as in the base class
        "unknown": "Is not known.",
        "type": "Must be a JSON object.",
    }


class Name(Text):
    """A name that people give: some printable text without spaces around it."""

    def __init__(self, meaning: str) -> None:
        metadata = about(meaning, minLength=1, pattern=_NAME.pattern)
        super().__init__(longest=LONGEST_NAME, required=True, metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not _NAME.fullmatch(text):
            raise ValidationError("Must be text without control characters or spaces around it.")
        return text


class DestinationBodySchema(_Known):
    """A destination that is to be set: it replaces the one with this name."""

    name = Name("Its name.")
    address = Text(
        longest=LONGEST_ADDRESS,
        required=True,
        metadata=about(
            "`webhook+https://…`, `alertmanager+https://…`, an address of Apprise such as "
            "`ntfys://ntfy.sh/topic`, or `file:/path` of a file that holds one. It is kept "
            "encrypted and never shown.",
            writeOnly=True,
        ),
    )


class DestinationSchema(AnswerSchema):
    """A destination, without its address."""

    optional = frozenset({"signing_secret"})

    id = fields.Integer(metadata=about("The number by which it is tested and deleted."))
    name = fields.String()
    service = fields.String(metadata=about("`webhook`, `alertmanager`, `file`, or Apprise's name."))
    source = fields.String(
        metadata=about("Where its address comes from.", enum=list(SOURCES)),
    )
    changed_at = instant("When it was made or last changed.")
    last_sent_at = instant("When a message was last delivered.", allow_none=True)
    last_failed_at = instant("When an attempt last failed.", allow_none=True)
    failing_since = instant(
        "When an attempt first failed since the last delivery; null: none did.", allow_none=True
    )
    last_error = fields.String(
        allow_none=True, metadata=about("Why the last attempt failed; null: it did not.")
    )
    waiting = fields.Integer(metadata=about("Messages that are to be delivered."))
    dead = fields.Integer(metadata=about("Messages that were given up."))
    signing_secret = fields.String(
        metadata=about("In the answer to the request that made a webhook without one; only there.")
    )


class DestinationListSchema(AnswerSchema):
    """Every destination, by name."""

    items = fields.List(fields.Nested(DestinationSchema))


def _some(choices: tuple[str, ...], meaning: str, **more: Any) -> fields.List[str]:
    return fields.List(
        fields.String(validate=OneOf(choices, error="Must be one of: {choices}.")),
        validate=_some_entries(),
        metadata=about(meaning),
        **more,
    )


def _some_entries() -> Length:
    return Length(1, MOST_PATTERNS, error="Must have {min} to {max} entries.")


def _patterns(meaning: str) -> fields.List[str]:
    return fields.List(
        Text(longest=255, metadata={"minLength": 1}),
        load_default=None,
        allow_none=True,
        validate=_some_entries(),
        metadata=about(meaning),
    )


class RouteBodySchema(_Known):
    """A route that is to be set: it replaces the one with this name. What is null is not set."""

    name = Name("Its name.")
    destination = Name("The name of a destination.")
    kinds = _some(KINDS, "Only these kinds; default: all.", load_default=None, allow_none=True)
    severities = _some(
        SEVERITIES,
        f"Only these severities; default: {' and '.join(DEFAULT_SEVERITIES)}.",
        load_default=list(DEFAULT_SEVERITIES),
    )
    job_types = _patterns("Only jobs of these types, or shell patterns; default: all.")
    machines = _patterns("Only these machines and nodes, or shell patterns; default: all.")
    digest = fields.String(
        load_default="at_once",
        validate=OneOf(DIGESTS, error="Must be one of: {choices}."),
        metadata=about(
            "`at_once`: what is noticed together is one message; `five_minutes`: one message at "
            "most in five minutes; `daily`, `weekly`: no items, but a report."
        ),
    )
    minimum_age_seconds = StrictInteger(
        high=604_800,
        load_default=0,
        metadata=about("An item is told once it has been so for this long, seconds."),
    )
    repeat_hours = StrictInteger(
        low=1,
        high=720,
        load_default=None,
        allow_none=True,
        metadata=about("Tell an open item that is not acknowledged again after so many hours."),
    )
    tells_recovery = StrictBoolean(
        load_default=True, metadata=about("Whether the end of what was told is told.")
    )
    quiet_from = Text(
        load_default=None,
        allow_none=True,
        metadata=about(
            "Nothing is told from then on, such as `22:00`; what is still open is told at the end.",
            pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        ),
    )
    quiet_to = Text(
        load_default=None,
        allow_none=True,
        metadata=about(
            "When that ends, such as `06:30`.", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
        ),
    )
    report_hour = StrictInteger(
        high=23,
        load_default=REPORT_HOUR,
        metadata=about("The hour of reports; weekly ones come on Monday."),
    )
    timezone = Text(
        longest=255,
        load_default="UTC",
        metadata=about("IANA time zone of quiet hours and reports, such as `Europe/Berlin`."),
    )

    @validates("job_types", "machines")
    def _check_list(self, value: list[str] | None, data_key: str) -> None:
        if value is not None and "" in value:
            raise ValidationError("Must not have an empty entry.")

    @validates("quiet_from", "quiet_to")
    def _check_time(self, value: str | None, data_key: str) -> None:
        if value is not None and _time(value) is None:
            raise ValidationError("Must be a time such as 22:00.")

    @validates("timezone")
    def _check_zone(self, value: str, data_key: str) -> None:
        if not is_zone(value):
            raise ValidationError("Must be an IANA time zone, such as Europe/Berlin or UTC.")

    @validates_schema(skip_on_field_errors=True)
    def _check_together(self, data: dict[str, Any], **_: Any) -> None:
        if (data["quiet_from"] is None) != (data["quiet_to"] is None):
            raise ValidationError("quiet_from and quiet_to belong together.", "quiet_to")
        if data["quiet_from"] is not None and data["quiet_from"] == data["quiet_to"]:
            raise ValidationError("Must differ from quiet_from.", "quiet_to")

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The name of the destination, and the route without its number."""
        times = {name: data[name] and _time(data[name]) for name in ("quiet_from", "quiet_to")}
        destination = data.pop("destination")
        return {"destination": destination, "route": {**data, **times}}


def make_route(fields: dict[str, Any], destination_id: int, service: str) -> Route:
    """The route to a destination. Raises Conflict for what its service cannot take."""
    route = Route(id=0, destination_id=destination_id, **fields)
    if route.is_report and service == "alertmanager":
        problem = "An Alertmanager takes items, not reports."
        raise Conflict(problem, {"digest": [problem]})
    return route


def _time(text: str) -> time | None:
    try:
        return time.fromisoformat(text) if len(text) == 5 else None
    except ValueError:
        return None


class RouteSchema(AnswerSchema, RouteBodySchema):
    """A route."""

    id = fields.Integer(metadata=about("The number by which it is deleted."))
    changed_at = instant("When it was made or last changed.")
    next_report_at = instant("When its next report is due.", allow_none=True)


class RouteListSchema(AnswerSchema):
    """Every route, by name."""

    items = fields.List(fields.Nested(RouteSchema))


class OutboxQuery(PageQuery):
    """Which messages."""

    cursor = Cursor("outbox")
    state = CommaSeparated(
        MESSAGE_STATES,
        metadata=about(f"One state, or several by comma: {', '.join(MESSAGE_STATES)}."),
    )
    destination_id = WholeNumber(
        validate=Range(0, LARGEST_ID, error="Must be {min} to {max}."),
        metadata=about("The number of a destination."),
    )


class MessageSchema(AnswerSchema):
    """A message to a destination."""

    id = fields.Integer()
    destination = fields.String(metadata=about("Its destination, by name."))
    route = fields.String(allow_none=True, metadata=about("The route that made it, by name."))
    event = fields.String(metadata=about("What it tells.", enum=list(EVENTS)))
    severity = fields.String(metadata=about("Of the worst item.", enum=list(SEVERITIES)))
    subject = fields.String()
    body = fields.String()
    items = fields.Integer(metadata=about("How many items it tells of."))
    state = fields.String(
        metadata=about(
            "`dead`: given up after a day; `merged`: it could not be delivered in time, and is "
            "part of a later one.",
            enum=list(MESSAGE_STATES),
        )
    )
    attempts = fields.Integer(metadata=about("How often it was sent."))
    created_at = instant("When it was written.")
    due_at = instant("When the next attempt is due, if it waits.")
    give_up_at = instant("When it is given up.")
    settled_at = instant("When it was delivered, merged or given up.", allow_none=True)
    error = fields.String(allow_none=True, metadata=about("Why the last attempt failed."))


class OutboxSchema(AnswerSchema):
    """A page of messages, the newest first."""

    items = fields.List(fields.Nested(MessageSchema))
    next_cursor = next_cursor_field()


def show_route(route: Route, destination: str, changed_at: Any) -> dict[str, Any]:
    """A route as the API shows it."""
    shown = {
        name: getattr(route, name) for name in RouteBodySchema().fields if name != "destination"
    }
    times = {
        name: None if shown[name] is None else f"{shown[name]:%H:%M}"
        for name in ("quiet_from", "quiet_to")
    }
    return {
        "id": route.id,
        **shown,
        **times,
        "destination": destination,
        "changed_at": changed_at,
        "next_report_at": route.next_report_at,
    }
