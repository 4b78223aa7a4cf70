"""What became of the last days of each series: a matrix of machines and nights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, table
from app.api.context import hub
from app.api.csv import also_csv
from app.api.needs import needs
from app.clock import isoformat
from app.domain.attention.nights import Days, Expectations, Follow, last_days, missing_days
from app.domain.rules import Subject
from app.domain.runs import split_key
from app.schemas import nights as schemas
from app.schemas.queries import MAX_CSV_LIMIT, encode_cursor
from app.store import nights as store
from app.store.nights import SeriesNights
from app.store.rules import read_maintenance, read_rules
from app.store.series_lists import SeriesFilter
from app.store.staleness import read_clock
from app.web.permissions import READ

blueprint = Blueprint("nights", __name__, description="The last days of each series.")

# What is expected follows from what ran before: so much of it, and so many usual distances.
_LEARNT_FROM = timedelta(days=42)
_LEARNT_DISTANCES = 25


@blueprint.route("/series/nights")
@blueprint.arguments(schemas.NightsQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NightsSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/series/nights.csv", "export_nights", schemas.NightsQuery)
def list_nights(query: dict[str, Any]) -> Response:
    """List what became of the last days of each series: good, failed, missing, …

    A run belongs to the day on which it began. As CSV there is a line for each day of a series on
    which a run began or is missing, and at most 10,000 of them.
    """
    is_csv = query["format"] == "csv"
    limit = min(query["limit"], MAX_CSV_LIMIT // query["days"]) if is_csv else query["limit"]
    after = tuple(query["cursor"]) if "cursor" in query else None
    with hub().reads.reading() as conn:
        now = read_clock(conn)
        days = last_days(query["days"], now, query["zone"], query["begins_hour"])
        found = store.list_nights(conn, _filter(query), days, limit + 1, after)
        shown = found[:limit]
        expectations = Expectations(read_rules(conn), read_maintenance(conn, now))
        followed = _followed(shown, days, expectations, now)
        since = {number: _learnt_since(series, days) for number, (series, _) in followed.items()}
        starts = store.read_starts(conn, since)
    missing = {
        number: missing_days(
            days,
            frozenset(series.days),
            starts[number].good,
            starts[number].all,
            follow,
            now,
            expectations.planned_silence(_subject_of(series)),
        )
        for number, (series, follow) in followed.items()
        if number in starts
    }
    cursor = None
    if len(found) > limit:
        last = shown[-1]
        cursor = encode_cursor("nights", last.vm_name or last.job_id or "", last.id)
    items = [_by_day(each, days, missing.get(each.id, ())) for each in shown]
    if is_csv:
        return table("nights", query, _CSV_COLUMNS, list(_lines(items, days)), cursor)
    body = {
        "zone": query["zone"],
        "begins_hour": query["begins_hour"],
        "days": [day.isoformat() for day in days.dates],
        "bounds": [isoformat(each) for each in days.bounds],
        "items": items,
        "next_cursor": cursor,
    }
    return conditional_json(body)


def _filter(query: dict[str, Any]) -> SeriesFilter:
    names = ("attention", "vm_name", "job_type", "repository_id")
    return SeriesFilter(states=query.get("state"), **{name: query.get(name) for name in names})


def _followed(
    found: Sequence[SeriesNights], days: Days, expectations: Expectations, now: datetime
) -> dict[int, tuple[SeriesNights, Follow]]:
    """The series that expect runs and have a day without one, by number."""
    return {
        series.id: (series, follow)
        for series in found
        if _may_miss(series, days, now)
        and (follow := expectations.follow(_subject_of(series), series.distance_seconds))
    }


def _may_miss(series: SeriesNights, days: Days, now: datetime) -> bool:
    """Whether a run may be missing on a day without one: on the newest only once it is overdue."""
    newest = len(days.dates) - 1
    is_overdue = series.overdue_at is not None and series.overdue_at <= now
    before_newest = [day for day in series.days if day != newest]
    return len(before_newest) < newest or (is_overdue and newest not in series.days)


def _learnt_since(series: SeriesNights, days: Days) -> datetime:
    distances = timedelta(seconds=_LEARNT_DISTANCES * (series.distance_seconds or 0.0))
    try:
        return days.bounds[0] - max(_LEARNT_FROM, distances)
    except OverflowError:  # a rule may say anything
        return datetime.min.replace(tzinfo=UTC)


def _subject_of(series: SeriesNights) -> Subject:
    job_id = series.job_id if series.last_run is None else split_key(series.last_run)[0]
    return Subject(job_type=series.job_type, vm_name=series.vm_name, job_id=job_id)


def _by_day(series: SeriesNights, days: Days, missing: Sequence[int]) -> dict[str, Any]:
    """A series as the API shows it: lists with a value for each day."""
    count = len(days.dates)
    keys = [split_key(key) for key in series.keys or ()]

    def spread(values: Sequence[Any] | None, default: Any = None) -> list[Any]:
        row = [default] * count
        for day, value in zip(series.days, values or (), strict=True):
            row[day] = value
        return row

    states = spread(series.states)
    for day in missing:
        states[day] = "missing"
    return {
        "id": series.id,
        "vm_name": series.vm_name,
        "job_id": series.job_id,
        "job_type": series.job_type,
        "repository_id": series.repository_id,
        "backup_type": series.backup_type,
        "state": states,
        "run_job_id": spread([job_id for job_id, _ in keys]),
        "run": spread([run for _, run in keys]),
        "bytes": spread(series.bytes),
        "seconds": spread(series.seconds),
        "runs": spread(series.runs, 0),
        "failures": spread(series.failures, 0),
    }


_SERIES_COLUMNS = ("id", "vm_name", "job_id", "job_type", "repository_id", "backup_type")
_DAY_COLUMNS = ("state", "run_job_id", "run", "bytes", "seconds", "runs", "failures")
_CSV_COLUMNS = (*_SERIES_COLUMNS, "day", *_DAY_COLUMNS)


def _lines(items: Sequence[dict[str, Any]], days: Days) -> Iterator[dict[str, Any]]:
    for item in items:
        series = {name: item[name] for name in _SERIES_COLUMNS}
        for n, day in enumerate(days.dates):
            if item["state"][n] is not None:
                values = {name: item[name][n] for name in _DAY_COLUMNS}
                yield {**series, "day": day.isoformat(), **values}
