"""Shared by the queries and responses of lists and charts: query fields, cursors."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from marshmallow import (
    EXCLUDE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validate,
    validates_schema,
)

from app.domain.window import EPOCH
from app.schemas.fields import Timestamp

DEFAULT_LIMIT = 50  # a screenful
MAX_LIMIT = 500
MAX_CSV_LIMIT = 10_000  # lines are small, and a spreadsheet wants them in one file
DEFAULT_POINTS = 300  # about one for every few pixels of a chart
MIN_POINTS = 10
MAX_POINTS = 5000
LAST_RUN = 2**31 - 1
# In the metadata of a field: it is accepted, and not described.
HIDDEN = "x-hidden"


def about(description: str, **more: Any) -> dict[str, Any]:
    """The metadata of a field that is documented in one sentence."""
    return {"description": description, **more}


class WholeNumber(fields.Integer):
    """A whole number written in the ten digits: no sign, no underscores, no other scripts."""

    _DIGITS = re.compile(r"[0-9]{1,18}")

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        if not isinstance(value, str) or not self._DIGITS.fullmatch(value):
            raise ValidationError("Must be a whole number.")
        return int(value)


class CommaSeparated(fields.Field[tuple[str, ...]]):
    """Some of `choices`, separated by commas. Each is kept once, in the order asked for."""

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        one = f" *({'|'.join(choices)}) *"
        pattern = f"^{one}(,{one})*$"
        described = {"type": "string", "pattern": pattern}
        if "load_default" in kwargs:
            described["default"] = ",".join(kwargs["load_default"])
        kwargs["metadata"] = {**described, **kwargs.get("metadata", {})}
        super().__init__(**kwargs)
        self.choices = choices

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> tuple[str, ...]:
        parts = tuple(dict.fromkeys(part.strip(" ") for part in str(value).split(",")))
        unknown = [part for part in parts if part not in self.choices]
        if unknown:
            known = ", ".join(self.choices)
            raise ValidationError(f"{unknown[0][:60]!r} is not known; known are: {known}.")
        return parts


class QueryTimestamp(Timestamp):
    """A timestamp in a query string, where an unescaped `+` of the offset arrives as a space."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        text = re.sub(r" (\d\d:\d\d)$", r"+\1", value) if isinstance(value, str) else value
        return super()._deserialize(text, attr, data, **kwargs)


# The cursor of a list: where the next page starts. It is opaque to clients. Its checksum rejects
# cursors that were cut, edited or made for another list. It is not secret, so what a cursor holds
# is checked like any other input: a forged one only starts a page elsewhere.

_CHECKSUM_BYTES = 6
LARGEST_KEY = 2**63 - 1  # PostgreSQL's bigint
_LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_FIRST_MICROS = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def _is_row_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_KEY


def _is_instant(value: Any) -> bool:
    return type(value) is int and _FIRST_MICROS <= value <= _LAST_MICROS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST_KEY <= value <= LARGEST_KEY


def _is_rank(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 3


def _is_name(value: Any) -> bool:
    return type(value) is str and "\0" not in value


def _is_text(value: Any) -> bool:
    return type(value) is str


# What the keyset of each list is made of, in order.
_KEYS: Mapping[str, Sequence[Callable[[Any], bool]]] = {
    "attention": (_is_rank, _is_rank, _is_instant, _is_row_id),
    "events": (_is_row_id,),
    "jobs": (_is_text, _is_text, _is_number, _is_row_id),
    "machines": (_is_name,),
    "nights": (_is_name, _is_row_id),
    "node_events": (_is_row_id,),
    "nodes": (_is_name,),
    "outbox": (_is_row_id,),
    "runs": (_is_instant, _is_row_id),
    "series": (_is_name, _is_row_id),
    "updates": (_is_instant, _is_row_id),
}


def encode_cursor(kind: str, *key: int | float | str) -> str:
    """The keyset of the last item of a page, of the list named `kind`, as URL-safe text."""
    payload = orjson.dumps(key)
    return base64.urlsafe_b64encode(_checksum(kind, payload) + payload).decode().rstrip("=")


def decode_cursor(kind: str, text: str) -> list[Any]:
    """The inverse of `encode_cursor`. Raises ValueError for a text it did not make."""
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    checksum, payload = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if checksum != _checksum(kind, payload):
        raise ValueError("the checksum is wrong")
    key = orjson.loads(payload)
    parts = _KEYS[kind]
    if not isinstance(key, list) or len(key) != len(parts):
        raise ValueError("the keyset is of another list")
    if not all(is_valid(part) for is_valid, part in zip(parts, key, strict=True)):
        raise ValueError("the keyset has a value that no row has")
    if kind == "jobs" and key[0] == "started_at" and not _is_instant(key[2]):
        raise ValueError("the keyset has a value that no row has")
    if encode_cursor(kind, *key) != text:
        raise ValueError("the padding bits were edited")
    return key


def _checksum(kind: str, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES, key=kind.encode()).digest()


class Cursor(fields.Field[list[Any]]):
    """The `next_cursor` of an earlier answer of the list named `kind`; becomes its keyset."""

    def __init__(self, kind: str) -> None:
        description = "`next_cursor` of the page before; opaque. Leave it out for the first page."
        # A format of its own: no pattern describes which texts are cursors.
        form = f"{kind}-cursor"
        super().__init__(metadata={"type": "string", "format": form, "description": description})
        self.kind = kind

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Any]:
        try:
            return decode_cursor(self.kind, str(value))
        except ValueError:
            raise ValidationError(
                "Not a cursor of this list: pass `next_cursor` of an answer unchanged."
            ) from None


def page_query(kind: str, **more: fields.Field[Any]) -> type[Schema]:
    """The query of a list, paged by cursors of this kind; `more`: its other fields."""
    return PageQuery.from_dict({"cursor": Cursor(kind), **more})


def table_query(kind: str, **more: fields.Field[Any]) -> type[Schema]:
    """The same for a list that is also answered as CSV."""
    return TableQuery.from_dict({"cursor": Cursor(kind), **more})


def run_field() -> WholeNumber:
    """The `run` of a query about one job."""
    return WholeNumber(
        validate=validate.Range(1, LAST_RUN, error="Must be {min} to {max}."),
        metadata=about("The run of the job, from 1; default: the newest."),
    )


def points_field() -> WholeNumber:
    """The `points` of a chart."""
    return WholeNumber(
        load_default=DEFAULT_POINTS,
        validate=validate.Range(MIN_POINTS, MAX_POINTS, error="Must be {min} to {max}."),
        metadata=about("Most points in the answer."),
    )


class QuerySchema(Schema):
    """A query string. Unknown parameters are refused, empty ones are ignored."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _check_names(self, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        known = [field.data_key or name for name, field in self.fields.items()]
        if unknown := {name: [unknown_parameter(known)] for name in data if name not in known}:
            raise ValidationError(unknown)
        return {name: value for name, value in data.items() if value != ""}


class RunQuery(QuerySchema):
    """A query about one run of a job."""

    run = run_field()


def unknown_parameter(known: Sequence[str]) -> str:
    """Why a parameter of a query is refused."""
    if not known:
        return "Is not known; this address takes no query parameters."
    return f"Is not known; known are: {', '.join(sorted(known))}."


class PageQuery(QuerySchema):
    """A query with the `limit` of a list."""

    limit = WholeNumber(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_LIMIT, error="Must be {min} to {max}."),
        metadata=about("Most items in one answer."),
    )


def _format(*choices: str) -> fields.String:
    """The format of an answer, the first one by default. Not described: see `csv_query`."""
    return fields.String(
        load_default=choices[0],
        validate=validate.OneOf(choices, error="Must be one of: {choices}."),
        metadata={HIDDEN: True},
    )


class TableQuery(QuerySchema):
    """The same, for a list that is also answered as CSV."""

    limit = WholeNumber(
        validate=validate.Range(1, MAX_CSV_LIMIT, error="Must be {min} to {max}."),
        metadata=about("Most items in one answer.", default=DEFAULT_LIMIT, maximum=MAX_LIMIT),
    )
    format = _format("json", "csv")

    @validates_schema
    def _check_limit(self, data: dict[str, Any], **kwargs: Any) -> None:
        if data["format"] == "json" and data.get("limit", 0) > MAX_LIMIT:
            raise ValidationError(f"Must be 1 to {MAX_LIMIT}.", "limit")

    @post_load
    def _set_limit(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        is_csv = data["format"] == "csv"
        return {"limit": MAX_CSV_LIMIT if is_csv else DEFAULT_LIMIT, **data}


def csv_query(query: type[Schema]) -> type[Schema]:
    """The query for the same as CSV, at an address of its own."""
    described: dict[str, fields.Field[Any]] = {"format": _format("csv")}
    if issubclass(query, TableQuery):
        described["limit"] = WholeNumber(
            validate=validate.Range(1, MAX_CSV_LIMIT, error="Must be {min} to {max}."),
            metadata=about("Most lines in one answer.", default=MAX_CSV_LIMIT),
        )
    return query.from_dict(described)


class WindowQuery(QuerySchema):
    """A query with fields `from_` and `to`: a window may not end before it begins."""

    @validates_schema
    def _check_order(self, data: dict[str, Any], **kwargs: Any) -> None:
        if "from_" in data and "to" in data and data["to"] <= data["from_"]:
            raise ValidationError("Must be later than `from`.", "to")


def instant(description: str, *, allow_none: bool = False) -> fields.String:
    """An instant of an answer."""
    return fields.String(
        allow_none=allow_none, metadata=about(f"RFC 3339, UTC. {description}", format="date-time")
    )


def next_cursor_field() -> fields.String:
    """The `next_cursor` of a list."""
    return fields.String(allow_none=True, metadata=about("Cursor of the next page; null: none."))
