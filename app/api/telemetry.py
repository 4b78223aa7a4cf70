"""Pushes as Flask answers them: one update, a batch of updates, snapshots of nodes.

The web server answers them before Flask (`app.server.push`). These routes are the same functions
for any other WSGI server, and describe them for OpenAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flask import Response, request
from flask_smorest import Blueprint

from app.api.bodies import read_whole
from app.api.context import current_claims, hub, to_response
from app.api.permissions import needs
from app.ingest.transaction import Outcome
from app.ingest.writer import Item
from app.schemas.nodes import SnapshotSchema
from app.schemas.updates import BatchItemSchema, BatchReceiptSchema, ReceiptSchema, UpdateSchema
from app.web.admission import PUSH, PUSH_SNAPSHOT
from app.web.content import JSON, NDJSON
from app.web.push import Decoded, Push, Pushes

blueprint = Blueprint(
    "telemetry", __name__, description="What senders push. Acknowledged means stored."
)
snapshots = Blueprint("snapshots", __name__, description="What nodes push.")


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
@needs(PUSH)
def push_update(job_type: str, job_id: str) -> Response:
    """Store one update of a job; an unknown job is created.

    Answered after commit. The same update sent again is answered 200 with `duplicate: true`.
    """
    decode = partial(Pushes.decode_update, job_type=job_type, job_id=job_id)
    return _store(decode, hub().config.max_body_bytes)


@blueprint.route("/telemetry/batch", methods=["POST"])
@blueprint.doc(**_documented(_BATCH, also_ndjson=True))
@blueprint.alt_response(200, schema=BatchReceiptSchema, description="What became of each update")
@needs(PUSH)
def push_batch() -> Response:
    """Store up to 10,000 updates, as JSON or NDJSON, gzip accepted; each is judged by itself."""
    return _store(Pushes.decode_batch, hub().config.max_batch_bytes)


@snapshots.route("/telemetry/snapshot", methods=["POST"])
@snapshots.doc(**_documented(_SNAPSHOTS))
@snapshots.alt_response(200, schema=BatchReceiptSchema, description="What became of each snapshot")
@needs(PUSH_SNAPSHOT)
def push_snapshots() -> Response:
    """Store one snapshot of a node's health, or several as `{"snapshots": […]}`.

    `network_*_rate_mbps` are MEGABYTES per second under the senders' name.
    """
    return _store(Pushes.decode_snapshots, hub().config.max_batch_bytes)


def submit(items: Sequence[Item]) -> list[Outcome]:
    """Hand items to the writer and wait for their commit, in this thread."""
    return hub().writer.submit(items)


def _store(decode: Callable[[Pushes, Push], Decoded], limit: int) -> Response:
    pushes = hub().pushes
    pushes.refuse_if_full()
    push = Push(read_whole(limit), request.headers, current_claims())
    decoded = decode(pushes, push)
    return to_response(decoded.answer(submit(decoded.items)))
