"""Reading nodes: their current state, and the chart of their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flask import Response
from flask_smorest import Blueprint

from app.api.bodies import check_identifier
from app.api.context import hub
from app.api.requests import json_response
from app.db import Connection
from app.domain.chart import EPOCH, SECOND, Window, choose_window, window_step
from app.errors import NotFound
from app.schemas import nodes as schemas
from app.schemas.queries import encode_cursor
from app.store import nodes as store

blueprint = Blueprint("nodes", __name__, description="Nodes and their metrics.")

DEFAULT_WINDOW = timedelta(days=1)

Triple = tuple[float | None, float | None, float | None]  # mean, min, max


class Point(NamedTuple):
    """An instant, and the values of each metric there."""

    at: datetime
    values: Sequence[Triple]


@blueprint.route("/nodes")
@blueprint.arguments(schemas.NodeListQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeListSchema)
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def list_nodes(query: dict[str, Any]) -> Response:
    """List nodes by id."""
    limit, after_id = query["limit"], query.get("cursor", [""])[0]
    offline_after = hub().config.node_offline_seconds
    with hub().database.reading() as conn:
        found = store.list_nodes(conn, limit + 1, offline_after, after_id)
    cursor = encode_cursor("nodes", found[limit - 1].node_id) if len(found) > limit else None
    return json_response({"items": [_node(node) for node in found[:limit]], "next_cursor": cursor})


@blueprint.route("/nodes/<identifier:node_id>")
@blueprint.response(200, schemas.NodeSchema)
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def read_node(node_id: str) -> Response:
    """Read the current state of one node."""
    check_identifier("node_id", node_id)
    with hub().database.reading() as conn:
        node = store.read_node(conn, node_id, hub().config.node_offline_seconds)
    if node is None:
        raise _unknown(node_id)
    return json_response(_node(node))


@blueprint.route("/nodes/<identifier:node_id>/history")
@blueprint.arguments(schemas.NodeHistoryQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeHistorySchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def read_history(query: dict[str, Any], node_id: str) -> Response:
    """Chart the metrics of one node: each snapshot, or mean, minimum and maximum of equal steps."""
    check_identifier("node_id", node_id)
    with hub().database.reading() as conn:
        span = store.find_span(conn, node_id)
        if span is None:
            raise _unknown(node_id)
        return json_response(_history(conn, node_id, span, query))


def _unknown(node_id: str) -> NotFound:
    return NotFound(f"There is no node {node_id!r}.")


def _node(node: store.Node) -> dict[str, Any]:
    shown = dict(vars(node))
    shown["state"] = "offline" if shown.pop("is_offline") else "online"
    shown["age_seconds"] = round(node.age_seconds, 3)
    return shown


def _window(span: Window, from_at: datetime | None, before_at: datetime | None) -> Window:
    """What was asked for; by default the last day of the node's data, however long ago it was."""
    end = max(before_at or span.before_at, EPOCH + DEFAULT_WINDOW)
    return choose_window(Window(end - DEFAULT_WINDOW, end), from_at, before_at)


def _history(conn: Connection, node_id: str, span: Window, query: dict[str, Any]) -> dict[str, Any]:
    """The answer of the chart, from as many points as fit: each snapshot if they do."""
    metrics, points = query["metrics"], query["points"]
    window = _window(span, query.get("from_"), query.get("to"))
    # The step follows from the part that has data, so that a long window costs no sharpness.
    shown = window.within(span)
    snapshots = store.list_snapshots(conn, node_id, shown, metrics, points + 1)
    if len(snapshots) <= points:
        step, count = 0, len(snapshots)
        rows = [Point(row[0], [(v, v, v) for v in row[1:]]) for row in snapshots]
    else:
        step = window_step(shown, points)
        window, shown = window.widened(step), shown.widened(step)
        steps = store.summarise_snapshots(conn, node_id, shown, metrics, step)
        count = sum(each.snapshots for each in steps)
        rows = _grid(shown, step, steps, len(metrics))
    return {
        "node_id": node_id,
        "from": window.from_at,
        "to": window.before_at,
        "resolution_seconds": step,
        "source": "snapshots",
        "metrics": metrics,
        "snapshots": count,
        "series": _series(metrics, rows),
    }


def _grid(window: Window, step: int, steps: Iterable[store.Step], metric_count: int) -> list[Point]:
    """A point for every step of the window, so that a gap shows as nulls."""
    known = {each.bucket_at: each.values for each in steps}
    nothing: list[Triple] = [(None, None, None)] * metric_count
    count = -((window.from_at - window.before_at) // timedelta(seconds=step))
    times = (window.from_at + timedelta(seconds=step) * position for position in range(count))
    return [Point(at, known.get(at, nothing)) for at in times]


def _series(metrics: Sequence[str], points: Sequence[Point]) -> dict[str, Any]:
    """The points as columns: `t` in seconds since 1970, and three columns a metric."""
    series: dict[str, Any] = {"t": [(point.at - EPOCH) / SECOND for point in points]}
    for position, metric in enumerate(metrics):
        values = [point.values[position] for point in points]
        series[metric] = {
            "mean": [value[0] for value in values],
            "min": [value[1] for value in values],
            "max": [value[2] for value in values],
        }
    return series
