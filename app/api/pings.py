"""Flask's routes of pings, for other WSGI servers and the OpenAPI document (`app.web.pings`)."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_smorest import Blueprint

from app.api.context import current_claims, current_request, hub
from app.api.needs import needs
from app.api.telemetry import store
from app.schemas.pings import JOB_TYPE, KEPT_BYTES
from app.web.admission import require_job_type
from app.web.permissions import PING
from app.web.pings import METHODS, find_ping

blueprint = Blueprint(
    "pings",
    __name__,
    description="Pings of programs that know Healthchecks: the start and the end of a job.",
)


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"in": "query", "name": name, "description": description, "schema": schema}


_PARAMETERS = [
    _parameter("rid", "The sender's name for the run.", {"type": "string", "format": "uuid"}),
    _parameter("job_type", "The type of the job; `backup` without it.", {"type": "string"}),
]
_BODY = {
    "description": f"Output of the job, of any type. Its last {KEPT_BYTES:,} bytes are kept.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_ANSWER: dict[str, Any] = {
    "description": "Stored",
    "content": {"text/plain": {"schema": {"type": "string", "enum": ["OK"]}}},
}


@blueprint.route("/ping/<identifier:job_id>", methods=sorted(METHODS))
@blueprint.doc(parameters=_PARAMETERS, responses={200: _ANSWER})
@needs(PING)
def ping(job_id: str) -> Response:
    """A job has completed. `…/start`: it starts, `…/fail`: it has failed, `…/log`: only its output.

    `…/<exit code>`: it has completed if that is 0, else it has failed. The token may precede the
    id: `/ping/<token>/<job_id>`.
    """
    target = find_ping(current_request(), request.query_string)
    assert target is not None  # the route has the same path and methods
    require_job_type(current_claims(), target.job_type or JOB_TYPE)
    return store(target.decode, hub().config.max_batch_bytes)
