"""What needs attention, and the series of runs."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, json_response, table
from app.api.bodies import read_json
from app.api.context import current_claims, hub
from app.api.csv import also_csv
from app.api.needs import needs
from app.clock import from_micros, to_micros
from app.errors import NotFound
from app.schemas import attention as schemas
from app.schemas.decode import load, parse_object
from app.schemas.fields import normalise_identifier
from app.schemas.queries import encode_cursor
from app.store import attention as store
from app.store import series_lists as series_store
from app.web.content import JSON
from app.web.permissions import ADMIN, READ

blueprint = Blueprint("attention", __name__, description="What needs attention, and series.")

_ACKNOWLEDGEMENT = schemas.AcknowledgementSchema()


@blueprint.route("/attention")
@blueprint.arguments(schemas.AttentionQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.AttentionListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/attention.csv", "export_attention", schemas.AttentionQuery)
def list_attention(query: dict[str, Any]) -> Response:
    """List what needs attention: open items first, the worst and oldest first."""
    limit = query["limit"]
    after = None
    if "cursor" in query:
        ended, rank, micros, item_id = query["cursor"]
        after = bool(ended), rank, from_micros(micros), item_id
    with hub().reads.reading() as conn:
        found = store.list_items(conn, _filter(query), limit + 1, after)
    items = [vars(item) for item in found[:limit]]
    cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        key = (int(last.until is not None), last.rank, to_micros(last.since), last.id)
        cursor = encode_cursor("attention", *key)
    for item in items:
        del item["rank"]
    return table("attention", query, schemas.AttentionItemSchema().fields, items, cursor)


def _filter(query: dict[str, Any]) -> store.ItemFilter:
    job_id = query.get("job_id")
    acknowledged = query.get("is_acknowledged")
    return store.ItemFilter(
        state=query["state"],
        kinds=query.get("kind"),
        severities=query.get("severity"),
        is_acknowledged=None if acknowledged is None else acknowledged == "true",
        vm_name=query.get("vm_name"),
        job_type=query.get("job_type"),
        repository_id=query.get("repository_id"),
        node_id=query.get("node_id"),
        job_id=None if job_id is None else normalise_identifier(job_id),
        series_id=query.get("series_id"),
    )


@blueprint.route("/attention/<int(max=9223372036854775807):item_id>")
@blueprint.response(200, schemas.AttentionItemSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def read_attention(item_id: int) -> Response:
    """Return one item, open or ended."""
    return conditional_json(_item_body(item_id))


@blueprint.route("/attention/<int(max=9223372036854775807):item_id>/acknowledge", methods=["POST"])
@blueprint.doc(
    requestBody={"required": True, "content": {JSON: {"schema": schemas.AcknowledgementSchema}}}
)
@blueprint.response(200, schemas.AttentionItemSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def acknowledge_attention(item_id: int) -> Response:
    """Note that someone has seen an item. It stays open until what it says is over.

    Idempotent: the first acknowledgement stays, and a later note replaces the one before. An item
    that gets worse is no longer acknowledged.
    """
    given = load(_ACKNOWLEDGEMENT, parse_object(read_json()))
    claims = current_claims()
    by = given.get("by") or (claims.name if claims is not None else "operator")
    with hub().database.transaction() as conn:
        is_known = store.acknowledge(conn, item_id, by, given.get("note"))
    if not is_known:
        raise _no_such_item(item_id)
    return json_response(_item_body(item_id))


def _item_body(item_id: int) -> dict[str, Any]:
    with hub().reads.reading() as conn:
        item = store.read_item(conn, item_id)
    if item is None:
        raise _no_such_item(item_id)
    body = vars(item)
    del body["rank"]
    return body


def _no_such_item(item_id: int) -> NotFound:
    return NotFound(f"There is no item {item_id}.")


@blueprint.route("/series")
@blueprint.arguments(schemas.SeriesQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.SeriesListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/series.csv", "export_series", schemas.SeriesQuery)
def list_series(query: dict[str, Any]) -> Response:
    """List the series of runs: last run, last good run, what is usual, when the next is due."""
    limit = query["limit"]
    after = tuple(query["cursor"]) if "cursor" in query else None
    wanted = series_store.SeriesFilter(
        states=query.get("state"),
        attention=query.get("attention"),
        vm_name=query.get("vm_name"),
        job_type=query.get("job_type"),
        repository_id=query.get("repository_id"),
    )
    with hub().reads.reading() as conn:
        found = series_store.list_series(conn, wanted, limit + 1, after)
    cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        cursor = encode_cursor("series", last["vm_name"] or last["job_id"], last["id"])
    if query["format"] == "csv":
        items = [_flat(each) for each in found[:limit]]
        return table("series", query, _CSV_COLUMNS, items, cursor)
    return table("series", query, schemas.SeriesSchema().fields, found[:limit], cursor)


@blueprint.route("/series/<int(max=9223372036854775807):series_id>")
@blueprint.response(200, schemas.SeriesSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def read_series(series_id: int) -> Response:
    """Return one series."""
    with hub().reads.reading() as conn:
        found = series_store.read_one(conn, series_id)
    if found is None:
        raise NotFound(f"There is no series {series_id}.")
    return conditional_json(found)


_CSV_COLUMNS = (
    *("id", "vm_name", "job_id", "job_type", "repository_id", "backup_type", "state", "attention"),
    *("runs", "failures", "last_run_at", "last_good_at", "usual_bytes", "usual_seconds"),
    *("distance_seconds", "next_expected_at", "overdue_at"),
)


def _flat(series: dict[str, Any]) -> dict[str, Any]:
    """A series as a line: of what is nested, the most asked for."""
    usual = series["usual"]
    return {
        **series,
        "last_run_at": (series["last_run"] or {}).get("started_at"),
        "last_good_at": (series["last_good_run"] or {}).get("completed_at"),
        "usual_bytes": (usual["bytes"] or {}).get("median"),
        "usual_seconds": (usual["seconds"] or {}).get("median"),
    }
