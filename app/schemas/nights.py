"""The query and the response about the days of series."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validates
from marshmallow.validate import Range

from app.domain.attention.nights import STATES
from app.schemas.answers import AnswerSchema
from app.schemas.attention import LONGEST_FILTER, SeriesQuery
from app.schemas.fields import Text
from app.schemas.queries import Cursor, WholeNumber, about, instant, next_cursor_field
from app.schemas.rules import is_zone

DEFAULT_DAYS = 30
MOST_DAYS = 90


class NightsQuery(SeriesQuery):
    """Which days of which series: all filters given must hold."""

    cursor = Cursor("nights")
    days = WholeNumber(
        load_default=DEFAULT_DAYS,
        validate=Range(1, MOST_DAYS, error="Must be {min} to {max}."),
        metadata=about("How many days, today the last."),
    )
    zone = Text(
        load_default="UTC",
        longest=LONGEST_FILTER,
        metadata=about("IANA time zone of the days, such as `Europe/Berlin`; default: `UTC`."),
    )
    begins_hour = WholeNumber(
        load_default=0,
        validate=Range(0, 23, error="Must be {min} to {max}."),
        metadata=about(
            "The hour of the zone's clock at which a day begins; default: 0. With 12 a day is a "
            "night, from noon to noon, with the date of its evening."
        ),
    )

    @validates("zone")
    def _check_zone(self, value: str, data_key: str) -> None:
        if not is_zone(value):
            raise ValidationError("Is not the name of a time zone of the IANA database.")


def _by_day(each: fields.Field[Any], description: str) -> fields.List[Any]:
    return fields.List(each, metadata=about(f"By day, in the order of `days`. {description}"))


class SeriesNightsSchema(AnswerSchema):
    """A series, and what became of each day.

    A day tells of the run that counts: of those that began on it a live one, else the newest that
    ended, else one that was cancelled.
    """

    id = fields.Integer(metadata=about("The number of the series."))
    vm_name = fields.String(allow_none=True, metadata=about("The machine."))
    job_id = fields.String(allow_none=True, metadata=about("The job, if it names no machine."))
    job_type = fields.String()
    repository_id = fields.String(allow_none=True)
    backup_type = fields.String(allow_none=True)
    state = _by_day(
        fields.String(allow_none=True, metadata=about("The state.", enum=[*STATES, None])),
        "`missing`: by the rhythm of the series one was expected, it is overdue, and none began; "
        "null: none began, and none was expected or it is not overdue.",
    )
    run_job_id = _by_day(fields.String(allow_none=True), "The job of the run.")
    run = _by_day(fields.Integer(allow_none=True), "The run of that job, from 1.")
    bytes = _by_day(fields.Integer(allow_none=True), "Bytes moved; null: not known.")
    seconds = _by_day(fields.Float(allow_none=True), "Duration; null: it has not ended.")
    runs = _by_day(fields.Integer(), "How many runs began.")
    failures = _by_day(fields.Integer(), "How many of them failed.")


class NightsSchema(AnswerSchema):
    """A page of series, by machine (or job) and number, with the same days."""

    zone = fields.String(metadata=about("The time zone of the days."))
    begins_hour = fields.Integer(metadata=about("The hour of its clock at which a day begins."))
    days = fields.List(fields.Date(), metadata=about("The dates, ascending."))
    bounds = fields.List(
        instant("When a day begins."),
        metadata=about("When each of the days begins, and the last one ends."),
    )
    items = fields.List(fields.Nested(SeriesNightsSchema))
    next_cursor = next_cursor_field()
