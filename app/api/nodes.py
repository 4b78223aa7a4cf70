"""Reads nodes: their current state, its changes, and charts of their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, table
from app.api.context import hub
from app.api.csv import also_csv
from app.api.needs import needs
from app.charts.node import NodeHistory, Point, read_node_history
from app.domain.chart import SECOND
from app.domain.window import EPOCH
from app.errors import NotFound
from app.schemas import nodes as schemas
from app.schemas.queries import encode_cursor, page_query, table_query
from app.store import nodes as store
from app.web.paths import read_identifier
from app.web.permissions import READ

blueprint = Blueprint("nodes", __name__, description="Nodes and their metrics.")


_LIST_QUERY = table_query("nodes")


@blueprint.route("/nodes")
@blueprint.arguments(_LIST_QUERY, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/nodes.csv", "export_nodes", _LIST_QUERY)
def list_nodes(query: dict[str, Any]) -> Response:
    """List nodes by id."""
    limit, after_id = query["limit"], query.get("cursor", [""])[0]
    with hub().reads.reading() as conn:
        found = store.list_nodes(conn, limit + 1, after_id)
    cursor = encode_cursor("nodes", found[limit - 1].node_id) if len(found) > limit else None
    page = [_node(node) for node in found[:limit]]
    ageless = [_without_age(node) for node in page]
    return table("nodes", query, schemas.NodeSchema().fields, page, cursor, etag_items=ageless)


@blueprint.route("/nodes/<identifier:node_id>")
@blueprint.response(200, schemas.NodeSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def read_node(node_id: str) -> Response:
    """Return the current state of one node."""
    node_id = read_identifier("node_id", node_id)
    with hub().reads.reading() as conn:
        node = store.read_node(conn, node_id)
    if node is None:
        raise _not_found(node_id)
    body = _node(node)
    return conditional_json(body, etag_body=_without_age(body))


@blueprint.route("/nodes/<identifier:node_id>/events")
@blueprint.arguments(page_query("node_events"), location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeEventListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_node_events(query: dict[str, Any], node_id: str) -> Response:
    """List the changes of a node's state, newest first."""
    node_id = read_identifier("node_id", node_id)
    limit, before_id = query["limit"], query.get("cursor", [None])[0]
    with hub().reads.reading() as conn:
        found = store.list_events(conn, node_id, limit + 1, before_id)
        if not found and not store.node_exists(conn, node_id):
            raise _not_found(node_id)
    cursor = encode_cursor("node_events", found[limit - 1].id) if len(found) > limit else None
    return conditional_json({"items": [vars(e) for e in found[:limit]], "next_cursor": cursor})


@blueprint.route("/nodes/<identifier:node_id>/history")
@blueprint.arguments(schemas.NodeHistoryQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.NodeHistorySchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def chart_node(query: dict[str, Any], node_id: str) -> Response:
    """Chart the metrics of one node: each snapshot, or mean, minimum and maximum of equal steps.

    At most `points` points, and no lost peaks, even where only rollups per minute or hour are kept.
    """
    node_id = read_identifier("node_id", node_id)
    history = read_node_history(
        hub().database,
        node_id,
        query["metrics"],
        points=query["points"],
        from_at=query.get("from_"),
        before_at=query.get("to"),
    )
    return conditional_json(_history(history))


def _not_found(node_id: str) -> NotFound:
    return NotFound(f"There is no node {node_id!r}.")


def _node(node: store.Node) -> dict[str, Any]:
    body = {**vars(node), **node.metrics, "age_seconds": round(node.age_seconds, 3)}
    del body["metrics"]
    return body


def _without_age(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "age_seconds"}


def _history(history: NodeHistory) -> dict[str, Any]:
    return {
        "node_id": history.node_id,
        "from": history.window.from_at,
        "to": history.window.before_at,
        "resolution_seconds": history.resolution_seconds,
        "source": history.source,
        "metrics": history.metrics,
        "snapshots": history.snapshots,
        "last_point_unfinished": history.last_point_unfinished,
        "series": _series(history.metrics, history.points),
    }


def _series(metrics: Sequence[str], points: Sequence[Point]) -> dict[str, Any]:
    """The points as columns: `t` in seconds since 1970, and three columns per metric."""
    series: dict[str, Any] = {"t": [(point.at - EPOCH) / SECOND for point in points]}
    for position, metric in enumerate(metrics):
        values = [point.values[position] for point in points]
        series[metric] = {
            "mean": [value[0] for value in values],
            "min": [value[1] for value in values],
            "max": [value[2] for value in values],
        }
    return series
