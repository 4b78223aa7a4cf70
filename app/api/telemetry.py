"""Flask routes for pushes: one update, a batch of updates, node snapshots.

The web server answers pushes without Flask (`app.server.push`). These routes call the same
functions under other WSGI servers, and document them for OpenAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.bodies import read_whole
from app.api.context import current_claims, current_request, hub, to_response
from app.api.needs import needs
from app.ingest.queue import Item
from app.ingest.transaction import Outcome
from app.schemas.fields import LENIENT_ITEMS
from app.schemas.nodes import SnapshotBatchSchema, SnapshotSchema
from app.schemas.updates import (
    BatchItemSchema,
    BatchReceiptSchema,
    ReceiptSchema,
    SnapshotReceiptSchema,
    UpdateBatchSchema,
    UpdateSchema,
)
from app.web.content import JSON, NDJSON
from app.web.permissions import PUSH, PUSH_SNAPSHOT
from app.web.push import Decoded, Push, Pushes

blueprint = Blueprint(
    "telemetry", __name__, description="Pushing updates. Acknowledged means stored."
)
snapshots = Blueprint("snapshots", __name__, description="Pushing node snapshots.")


def _bare_list(schema: type[Any]) -> dict[str, Any]:
    """The list of a batch by itself."""
    return {
        "type": "array",
        "items": schema,
        LENIENT_ITEMS: "Anything else is rejected alone, with a reason.",
    }


_BATCH = {"anyOf": [UpdateBatchSchema, _bare_list(BatchItemSchema)]}
_SNAPSHOTS = {
    "anyOf": [
        SnapshotBatchSchema,
        _bare_list(SnapshotSchema),
        {"allOf": [SnapshotSchema, {"not": {"required": ["snapshots"]}}]},
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

    The answer follows the commit. Sending the same update again gives 200 with `duplicate: true`.
    """
    decode = partial(Pushes.decode_update, job_type=job_type, job_id=job_id)
    return store(decode, hub().config.max_body_bytes)


@blueprint.route("/telemetry/batch", methods=["POST"])
@blueprint.doc(**_documented(_BATCH, also_ndjson=True))
@blueprint.alt_response(200, schema=BatchReceiptSchema, description="The result for each update")
@needs(PUSH)
def push_batch() -> Response:
    """Store up to 10,000 updates: JSON or NDJSON, may be gzipped. Bad ones are rejected alone.

    JSON is an object with a list `updates`, or the list itself.
    """
    return store(Pushes.decode_batch, hub().config.max_batch_bytes)


@snapshots.route("/telemetry/snapshot", methods=["POST"])
@snapshots.doc(**_documented(_SNAPSHOTS))
@snapshots.alt_response(
    200, schema=SnapshotReceiptSchema, description="The result for each snapshot"
)
@needs(PUSH_SNAPSHOT)
def push_snapshots() -> Response:
    """Store one node snapshot, or several: `{"snapshots": […]}`, or the list itself.

    Odd values cost only themselves.

    `network_*_rate_mbps` are in MEGABYTES per second, despite their name.
    """
    return store(Pushes.decode_snapshots, hub().config.max_batch_bytes)


def submit(items: Sequence[Item]) -> list[Outcome]:
    """Hand items to the writer and wait for their commit, in this thread."""
    return hub().writer.submit(items)


def store(decode: Callable[[Pushes, Push], Decoded], limit: int) -> Response:
    """Store what is pushed in the body of the current request, of at most `limit` bytes."""
    hub().writer.refuse_if_full()
    push = Push(read_whole(limit), current_request().headers, current_claims())
    decoded = decode(hub().pushes, push)
    return to_response(decoded.answer(submit(decoded.items)))
