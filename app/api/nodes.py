"""Reading nodes: their current state, its changes, and the chart of their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flask import Response
from flask_smorest import Blueprint

from app.api.bodies import check_identifier
from app.api.context import hub
from app.api.requests import conditional_json
from app.database.pool import Connection
from app.domain.chart import EPOCH, SECOND, Window, choose_window
from app.domain.nodes import MOST_SNAPSHOTS, ChartedNode, choose_source
from app.errors import NotFound
from app.schemas import nodes as schemas
from app.schemas.queries import encode_cursor
from app.store import nodes as store
from app.store.history import use_one_snapshot

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
@blueprint.alt_response(304, success=True, description="Nothing changed since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def list_nodes(query: dict[str, Any]) -> Response:
    """List nodes by id."""
    limit, after_id = query["limit"], query.get("cursor", [""])[0]
    with hub().database.reading() as conn:
        found = store.list_nodes(conn, limit + 1, after_id)
    cursor = encode_cursor("nodes", found[limit - 1].node_id) if len(found) > limit else None
    page = [_node(node) for node in found[:limit]]
    return conditional_json(
        {"items": page, "next_cursor": cursor},
        same_but_for=[[_without_age(node) for node in page], cursor],
    )


@blueprint.route("/nodes/<identifier:node_id>")
@blueprint.response(200, schemas.NodeSchema)
@blueprint.alt_response(304, success=True, description="Nothing changed since the given ETag")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def read_node(node_id: str) -> Response:
    """Read the current state of one node."""
    check_identifier("node_id", node_id)
    with hub().database.reading() as conn:
        node = store.read_node(conn, node_id)
    if node is None:
        raise _unknown(node_id)
    body = _node(node)
    return conditional_json(body, same_but_for=_without_age(body))


@blueprint.route("/nodes/<identifier:node_id>/events")
@blueprint.arguments(schemas.NodeEventListQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeEventListSchema)
@blueprint.alt_response(304, success=True, description="Nothing changed since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def list_events(query: dict[str, Any], node_id: str) -> Response:
    """List the changes of a node's state, newest first."""
    check_identifier("node_id", node_id)
    limit, before_id = query["limit"], query.get("cursor", [None])[0]
    with hub().database.reading() as conn:
        found = store.list_events(conn, node_id, limit + 1, before_id)
        if not found and not store.node_exists(conn, node_id):
            raise _unknown(node_id)
    cursor = encode_cursor("node_events", found[limit - 1].id) if len(found) > limit else None
    return conditional_json({"items": [vars(e) for e in found[:limit]], "next_cursor": cursor})


@blueprint.route("/nodes/<identifier:node_id>/history")
@blueprint.arguments(schemas.NodeHistoryQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeHistorySchema)
@blueprint.alt_response(304, success=True, description="Nothing changed since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def read_history(query: dict[str, Any], node_id: str) -> Response:
    """Chart the metrics of one node: each snapshot, or mean, minimum and maximum of equal steps.

    Never more than `points` points, and never a lost peak, however much of the window is left only
    as what is kept of each minute or hour.
    """
    check_identifier("node_id", node_id)
    # A commit between the statements would give a chart of two states: see the chart of a job.
    with hub().database.transaction() as conn:
        use_one_snapshot(conn)
        node = store.read_charted_node(conn, node_id)
        if node is None:
            raise _unknown(node_id)
        history = _history(conn, node, query)
    return conditional_json(history)


def _unknown(node_id: str) -> NotFound:
    return NotFound(f"There is no node {node_id!r}.")


def _node(node: store.Node) -> dict[str, Any]:
    return {**vars(node), "age_seconds": round(node.age_seconds, 3)}


def _without_age(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "age_seconds"}


def _window(span: Window, from_at: datetime | None, before_at: datetime | None) -> Window:
    """What was asked for; by default the last day of the node's data, however long ago it was."""
    end = max(before_at or span.before_at, EPOCH + DEFAULT_WINDOW)
    return choose_window(Window(end - DEFAULT_WINDOW, end), from_at, before_at)


def _history(conn: Connection, node: ChartedNode, query: dict[str, Any]) -> dict[str, Any]:
    """The answer of the chart, from as many points as fit: each snapshot if they do."""
    metrics, points = query["metrics"], query["points"]
    window = _window(node.span, query.get("from_"), query.get("to"))
    # The step follows from the part that has data, so that a long window costs no sharpness.
    shown = window.within(node.span)
    count = store.count_snapshots(conn, node.node_id, shown, MOST_SNAPSHOTS + 1)
    source, step = choose_source(node, shown, count, points)
    if step == 0:
        snapshots = store.list_snapshots(conn, node.node_id, shown, metrics, points)
        rows = [Point(row[0], [(v, v, v) for v in row[1:]]) for row in snapshots]
    else:
        window, shown = window.widened(step), shown.widened(step)
        steps = store.read_steps(conn, source, node.node_id, shown, metrics, step)
        count = sum(each.snapshots for each in steps)
        rows = _grid(shown, step, steps, len(metrics))
    return {
        "node_id": node.node_id,
        "from": window.from_at,
        "to": window.before_at,
        "resolution_seconds": step,
        "source": source,
        "metrics": metrics,
        "snapshots": count,
        "last_point_unfinished": step > 0 and node.is_unfinished(rows[-1].at, step),
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
