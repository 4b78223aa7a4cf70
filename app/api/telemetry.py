"""Pushes: one update, a batch of updates, snapshots of nodes. The hot path; it stays lean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from flask import Response, request
from flask_smorest import Blueprint

from app import metrics
from app.api.auth import refuse_other_types
from app.api.bodies import JSON, NDJSON, check_identifier, check_job_type, read_body
from app.api.context import hub
from app.api.limits import charge_batch
from app.clock import from_micros, isoformat
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.errors import RequestError, Unavailable
from app.ingest.transaction import Outcome, Receipt
from app.ingest.writer import Item
from app.schemas.decode import Rejected, decode_batch, decode_snapshots, decode_update
from app.schemas.nodes import SnapshotSchema
from app.schemas.updates import BatchItemSchema, BatchReceiptSchema, ReceiptSchema, UpdateSchema

blueprint = Blueprint(
    "telemetry", __name__, description="What senders push. Acknowledged means stored."
)
snapshots = Blueprint("snapshots", __name__, description="What nodes push.")

T = TypeVar("T")

_SNAPSHOT = SnapshotSchema()


def _list_of(name: str, schema: type, description: str) -> dict[str, Any]:
    """As OpenAPI: an object with a list in which each item is judged by itself."""
    bad = {"description": "Anything else is rejected by itself; the answer says why."}
    items = {"type": "array", "items": {"anyOf": [schema, bad]}, "description": description}
    return {"type": "object", "required": [name], "properties": {name: items}}


_BATCH = _list_of("updates", BatchItemSchema, "At most 10,000 updates.")
_SNAPSHOTS = {
    "anyOf": [
        {"allOf": [SnapshotSchema, {"not": {"required": ["snapshots"]}}]},
        _list_of("snapshots", SnapshotSchema, "Snapshots, also of different nodes."),
    ]
}


def _documented(schema: Any, *, also_ndjson: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if also_ndjson:
        content[NDJSON] = {"schema": {"type": "string", "description": "One update per line."}}
    return {"requestBody": {"required": True, "content": content}}


@blueprint.route("/telemetry/<job_type:job_type>/<identifier:job_id>", methods=["POST"])
@blueprint.doc(**_documented(UpdateSchema))
@blueprint.alt_response(200, schema=ReceiptSchema, description="Telemetry received and processed")
def push_update(job_type: str, job_id: str) -> Response:
    """Store one update of a job; an unknown job is created.

    Answered after commit. The same update sent again is answered 200 with `duplicate: true`.
    """
    check_job_type(job_type)
    check_identifier("job_id", job_id)
    body = read_body(request, hub().config.max_body_bytes)
    outcome = submit([decode_update(body, job_type, job_id)])[0]
    return _json(receipt_body(job_id, require_stored(outcome)))


@blueprint.route("/telemetry/batch", methods=["POST"])
@blueprint.doc(**_documented(_BATCH, also_ndjson=True))
@blueprint.alt_response(200, schema=BatchReceiptSchema, description="What became of each update")
def push_batch() -> Response:
    """Store up to 10,000 updates, as JSON or NDJSON, gzip accepted; each is judged by itself."""
    body = read_body(request, hub().config.max_batch_bytes, (JSON, NDJSON))
    items = decode_batch(body, is_ndjson=request.mimetype == NDJSON)
    return _json(_store_each(refuse_other_types(items)))


@snapshots.route("/telemetry/snapshot", methods=["POST"])
@snapshots.doc(**_documented(_SNAPSHOTS))
@snapshots.alt_response(200, schema=BatchReceiptSchema, description="What became of each snapshot")
def push_snapshots() -> Response:
    """Store one snapshot of a node's health, or several as `{"snapshots": […]}`.

    `network_*_rate_mbps` are MEGABYTES per second under the senders' name.
    """
    body = read_body(request, hub().config.max_batch_bytes)
    items = decode_snapshots(body, _SNAPSHOT)
    return _json(_store_each(items))


def submit(items: Sequence[Item]) -> list[Outcome]:
    """Hand items to the writer and wait for their commit."""
    return counting_refusals(lambda: hub().writer.submit(items))


def counting_refusals(ask_writer: Callable[[], T]) -> T:
    """What the writer says; what it refuses is counted."""
    try:
        return ask_writer()
    except Unavailable as exc:
        metrics.REFUSED.labels(type(exc).__name__).inc()
        raise


def require_stored(outcome: Outcome) -> Receipt:
    """The receipt; raises what the item was refused with."""
    if isinstance(outcome, RequestError):
        raise outcome
    return outcome


def receipt_body(job_id: str, receipt: Receipt) -> dict[str, Any]:
    """The answer to one stored update."""
    return {
        "job_id": job_id,
        "status": receipt.status,
        "accepted": True,
        "duplicate": receipt.is_duplicate,
        "applied": receipt.is_applied,
        "reason": receipt.reason,
        "time": isoformat(from_micros(receipt.time)),
        "received_at": isoformat(from_micros(receipt.received_at)),
    }


def _store_each(items: Sequence[Update | Snapshot | Rejected]) -> dict[str, Any]:
    """Store what could be read; counts, and what was rejected by its position."""
    charge_batch(len(items))
    rejected: dict[int, dict[str, list[str]]] = {}
    readable: dict[int, Item] = {}
    for index, item in enumerate(items):
        if isinstance(item, dict):
            rejected[index] = item
        else:
            readable[index] = item
    metrics.count_rejected(len(rejected))
    accepted = duplicates = 0
    for index, outcome in zip(readable, submit(list(readable.values())), strict=True):
        if isinstance(outcome, Receipt):
            duplicates += outcome.is_duplicate
            accepted += not outcome.is_duplicate
        else:
            rejected[index] = getattr(outcome, "errors", None) or {"body": [str(outcome)]}
    return {
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": [{"index": index, "errors": rejected[index]} for index in sorted(rejected)],
    }


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), mimetype=JSON)
