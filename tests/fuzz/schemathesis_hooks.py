"""What schemathesis has to know that OpenAPI cannot say; loaded by `schemathesis.toml`.

No check is weakened by it. It makes requests that are meant to be good ones good in fact: where one
field of a request depends on another, or a text is of the hub's own making. Requests that are meant
to be bad stay as they are.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from app.clock import isoformat, utc_now
from app.domain.job_lists import SORTS
from app.schemas.fields import parse_timestamp
from app.schemas.queries import decode_cursor, encode_cursor

IDS = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=255)
MICROS = st.integers(0, 4 * 10**15)
CURSORS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "attention": st.tuples(st.integers(0, 1), st.integers(1, 3), MICROS, IDS),
    "runs": st.tuples(MICROS, IDS),
    "series": st.tuples(NAMES, IDS),
    "nights": st.tuples(NAMES, IDS),
    "jobs": st.tuples(st.sampled_from(SORTS), st.sampled_from(["asc", "desc"]), MICROS, IDS),
    "updates": st.tuples(MICROS, IDS),
    "events": st.tuples(IDS),
    "machines": st.tuples(NAMES),
    "nodes": st.tuples(NAMES),
    "node_events": st.tuples(IDS),
    "outbox": st.tuples(IDS),
}
KNOWN = 8  # jobs and nodes that half of the requests are about, so that there is something to find


def _cursors(kind: str, keys: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[str]:
    return keys.map(lambda key: encode_cursor(kind, *key))


for _kind, _keys in CURSORS.items():
    schemathesis.openapi.format(f"{_kind}-cursor", _cursors(_kind, _keys))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.meta is None:
        return
    if case.operation.path.endswith("/snapshot"):
        # A mutation in one branch of an `anyOf` may be good by another: have it judged again.
        case.meta.mark_dirty(ParameterLocation.BODY)
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if case.meta.phase.name.value != "stateful":  # that has ids of earlier answers
        _use_known_id(case)
    if case.query:
        if "zone" in case.query:
            case.query["zone"] = "Europe/Berlin"
        _order_window(case.query, "from", "to")
        _order_window(case.query, "active_from", "active_to")
        _agree_with_cursor(case.query)
    if isinstance(case.body, dict):
        _agree_in_body(case.operation.path, case.body)
        _agree_with_path(case.body, case.path_parameters or {})
        _name_disks_once(case.body)


def _agree_in_body(path: str, body: dict[str, Any]) -> None:
    if path.endswith("/rules"):
        _agree_in_settings(body.get("settings"))
    if path.endswith("/notifications/destinations"):
        body["address"] = "json://127.0.0.1:9/fuzzed"
    if path.endswith("/notifications/routes"):
        _agree_in_route(body)
    if path.endswith("/maintenance"):
        body.pop("from", None)
        body["to"] = isoformat(utc_now() + timedelta(days=1))


def _use_known_id(case: Any) -> None:
    for place in (case.path_parameters, case.body):
        for name in ("job_id", "node_id"):
            text = place.get(name) if isinstance(place, dict) else None
            if isinstance(text, str) and len(text) % 2 == 0:
                place[name] = f"{name}-{sum(text.encode()) % KNOWN}"


def _order_window(query: Any, start: str, end: str) -> None:
    """The end of a range must be later than its start."""
    if not query.get(start) or not query.get(end):
        return
    with suppress(TypeError, ValueError):
        if parse_timestamp(query[end]) <= parse_timestamp(query[start]):
            del query[end]


def _agree_with_cursor(query: Any) -> None:
    """The order must be that of the cursor."""
    with suppress(TypeError, ValueError):
        query["sort"], query["order"] = decode_cursor("jobs", query.get("cursor") or "")[:2]


def _agree_with_path(body: dict[str, Any], path: dict[str, Any]) -> None:
    """The body of a push may repeat the job's id and type, which then are those of the path."""
    for name in ("job_id", "job_type"):
        is_repeated = name in path and body.pop(name, None) is not None
        # Others may be percent-encoded here.
        if is_repeated and re.fullmatch(r"[\w-]+", path[name], re.ASCII):
            body[name] = path[name]


def _agree_in_settings(settings: Any) -> None:
    """A schedule is a cron expression, thresholds are in order, and a rule sets something."""
    if not isinstance(settings, dict):
        return
    named = [settings.pop(name, None) for name in ("schedule", "timezone")]
    if any(named):
        settings |= {"schedule": "0 22 * * 1-5", "timezone": "Europe/Berlin"}
        settings.pop("overdue_after_seconds", None)
    for lower, higher in (
        ("stall_after_seconds", "fail_after_seconds"),
        ("disk_percent_warning", "disk_percent_critical"),
    ):
        low, high = settings.get(lower), settings.get(higher)
        if low is not None and high is not None and high <= low:
            del settings[higher]
    if all(value is None for value in settings.values()):
        settings["memory_percent"] = 90


def _agree_in_route(route: dict[str, Any]) -> None:
    """Quiet hours have two ends, and a zone exists."""
    ends = [route.pop(name, None) for name in ("quiet_from", "quiet_to")]
    if any(ends):
        route |= {"quiet_from": "22:00", "quiet_to": "06:00"}
    if "timezone" in route:
        route["timezone"] = "Europe/Berlin"


def _name_disks_once(body: dict[str, Any]) -> None:
    """No two disks of an update have the same index."""
    disks = body.get("disks")
    if isinstance(disks, list):
        body["disks"] = list({disk["disk_index"]: disk for disk in disks}.values())
