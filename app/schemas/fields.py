"""Strict fields: JSON types without conversions. `"12"`, `true` and NaN are not numbers."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import ValidationError, fields

# In the metadata of a field, or of a list about its items: what becomes of a value that is not as
# described, if the rest of the request is stored. With a schema that allows anything, generated
# clients could not tell what to send.
LENIENT = "x-lenient"
LENIENT_ITEMS = "x-lenient-items"

LARGEST_INTEGER = 2**63 - 1  # PostgreSQL's bigint

# RFC 3339, section 5.6: date-time, its offset required.
_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"[Tt](?:[01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(?:\.\d+)?"  # 60: a leap second
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def _described(kwargs: dict[str, Any], **schema: Any) -> dict[str, Any]:
    """A field's arguments with its type for the OpenAPI document."""
    known = {name: value for name, value in schema.items() if value is not None}
    return {**kwargs, "metadata": {**known, **kwargs.get("metadata", {})}}


class StrictInteger(fields.Field[int]):
    """A whole number `low` … `high`. 1.0 counts as 1; booleans and strings do not count."""

    def __init__(self, *, low: int = 0, high: int = LARGEST_INTEGER, **kwargs: Any) -> None:
        super().__init__(**_described(kwargs, type="integer", minimum=low, maximum=high))
        self.low, self.high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a whole number.")
        if isinstance(value, float) and not value.is_integer():  # nor NaN, nor Infinity
            raise ValidationError("Must be a whole number.")
        number = int(value)
        if not self.low <= number <= self.high:
            raise ValidationError(f"Must be between {self.low} and {self.high}.")
        return number


class StrictNumber(fields.Field[float]):
    """A finite number of at least `low` and, where `high` is given, at most `high`."""

    def __init__(self, *, low: float = 0, high: float | None = None, **kwargs: Any) -> None:
        super().__init__(**_described(kwargs, type="number", minimum=low, maximum=high))
        self.low, self.high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number.")
        number = float(value) + 0.0  # -0.0 becomes 0.0
        if not math.isfinite(number):
            raise ValidationError("Must be a finite number.")
        if number < self.low or (self.high is not None and number > self.high):
            bound = f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"
            raise ValidationError(f"Must be {bound}.")
        return number


class StrictBoolean(fields.Field[bool]):
    """A JSON boolean: no text or number counts as one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**_described(kwargs, type="boolean"))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Text(fields.Field[str]):
    """A string of at most `longest` characters without NUL."""

    def __init__(self, *, longest: int | None = None, **kwargs: Any) -> None:
        pattern = None if "validate" in kwargs else r"^[^\u0000]*$"
        super().__init__(**_described(kwargs, type="string", maxLength=longest, pattern=pattern))
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        if "\0" in value:
            raise ValidationError("Must not contain NUL.")
        if self.longest is not None and len(value) > self.longest:
            raise ValidationError(f"Must be at most {self.longest} characters long.")
        return value


class Timestamp(fields.Field[datetime]):
    """An RFC 3339 instant with its offset; the value is in UTC, cut to microseconds."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**_described(kwargs, type="string", format="date-time"))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str):
            raise ValidationError(_TIMESTAMP_HINT)
        try:
            return parse_timestamp(value)
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc


_TIMESTAMP_HINT = (
    "Must be an RFC 3339 timestamp with an offset, such as 2026-01-31T12:00:00Z "
    "or 2026-01-31T13:00:00.5+01:00."
)


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 date-time in UTC; a leap second counts as the next. Raises ValueError."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(_TIMESTAMP_HINT)
    is_leap = match[1] == "60"
    if is_leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        instant = datetime.fromisoformat(text.upper())
        if instant.tzinfo is not UTC:
            instant = instant.astimezone(UTC)
        return instant + timedelta(seconds=1) if is_leap else instant
    except (ValueError, OverflowError):
        # A time that was never set, in another zone: in UTC it is outside the calendar.
        if text.startswith(("0000-12-31", "0001-01-01")):
            return datetime.min.replace(tzinfo=UTC)
        if text.startswith("9999-12-31") and not is_leap:
            return datetime.max.replace(tzinfo=UTC)
        raise ValueError("This date and time does not exist.") from None


# Control, format and separator characters (Cc, Cf, Zl, Zp, Zs without the ordinary space), by
# Unicode 16: two ids that differ in them look alike.
_HIDDEN = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680"
    r"\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb"
)
_HIDDEN_BEYOND = (
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0001\U000e0020-\U000e007f"
)
_SURROGATES = r"\ud800-\udfff"  # no characters
_NOT_IN_IDS = re.compile(f"[{_HIDDEN}{_HIDDEN_BEYOND}{_SURROGATES}]")

# What `identifier_problem` accepts, for the OpenAPI document, whose patterns have no escape for
# characters beyond U+FFFF that Python has as well.
IDENTIFIER = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": rf"^(?!(\.|\.\.|summary)$| |.* $)[^/{_HIDDEN}]+$",
}


def identifier_problem(text: str) -> str | None:
    """Why a text, in NFC, cannot name a job or a node; None when it can."""
    if not 1 <= len(text) <= 255:
        return "Must be 1 to 255 characters long."
    if "/" in text:
        return "Must not contain a slash."
    if text in (".", "..", "summary"):
        return f"{text!r} is reserved."
    if text[0] == " " or text[-1] == " ":
        return "Must not begin or end with a space."
    if not text.isprintable() and _NOT_IN_IDS.search(text):
        return "Must not contain control, format or separator characters."
    return None


def normalise_identifier(text: str) -> str:
    """The id in NFC (Unicode normalisation form C), in which ids are stored and compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class Identifier(Text):
    """The id of a job or a node, in NFC."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {**kwargs.pop("metadata", {}), **IDENTIFIER}
        super().__init__(required=True, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = normalise_identifier(super()._deserialize(value, attr, data, **kwargs))
        if problem := identifier_problem(text):
            raise ValidationError(problem)
        return text
