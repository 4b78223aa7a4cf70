"""Flask's routes of pings, for other WSGI servers and the OpenAPI document (`app.web.pings`)."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_smorest import Blueprint

from app.api.context import current_claims, current_request, hub
from app.api.needs import needs
from app.api.telemetry import store
from app.schemas.pings import JOB_TYPE, SIGNALS
from app.web.admission import require_job_type
from app.web.permissions import PING
from app.web.pings import find_ping

blueprint = Blueprint(
    "pings",
    __name__,
    description="Pings of programs that know Healthchecks: the start and the end of a job.",
)


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "in": "query",
        "name": name,
        "description": description,
        "schema": schema,
        "allowEmptyValue": True,
    }


_PARAMETERS = [
    _parameter("rid", "The sender's name for the run.", {"type": "string", "format": "uuid"}),
    _parameter("job_type", "The type of the job; `backup` without it.", {"type": "string"}),
]
_SIGNAL = {
    "in": "path",
    "name": "signal",
    "required": True,
    "schema": {"type": "string", "pattern": f"^({'|'.join(SIGNALS)}|-?[0-9]{{1,10}})$"},
}
_ANSWER: dict[str, Any] = {
    "description": "Stored",
    "content": {"text/plain": {"schema": {"type": "string", "enum": ["OK"]}}},
}


@blueprint.route("/ping/<identifier:job_id>", methods=["GET", "POST"])
@blueprint.doc(parameters=_PARAMETERS, responses={200: _ANSWER})
@needs(PING)
def ping(job_id: str) -> Response:
    """A job has completed. The token may precede its id: `/ping/<token>/<job_id>`.

    A body is what the job has said last, of any type; 10,000 bytes of it are kept.
    """
    return _store()


@blueprint.route(
    "/ping/<identifier:job_id>/<signal>", parameters=[_SIGNAL], methods=["GET", "POST"]
)
@blueprint.doc(parameters=_PARAMETERS, responses={200: _ANSWER})
@needs(PING)
def ping_signal(job_id: str, signal: str) -> Response:
    """`start`: a job starts. `fail`: it has failed. `log`: it has logged the body, and goes on.

    An exit code: it has completed if that is 0, else it has failed.
    """
    return _store()


def _store() -> Response:
    """Answer the ping that the path asks for; its views only document the two forms."""
    target = find_ping(current_request(), request.query_string)
    assert target is not None  # the routes have the same paths and methods
    require_job_type(current_claims(), target.job_type or JOB_TYPE)
    return store(target.decode, hub().config.max_batch_bytes)
