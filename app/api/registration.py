"""Jobs that announce themselves before they start, and jobs that end without telemetry."""

from __future__ import annotations

import orjson
from flask import Response, request
from flask_smorest import Blueprint

from app.api.auth import is_limited, require_job_type
from app.api.bodies import JSON, check_identifier, read_body
from app.api.context import hub
from app.api.telemetry import receipt_body, require_stored, submit
from app.ingest.registration import register
from app.schemas.decode import decode_completion, load, parse_object
from app.schemas.jobs import JobSchema
from app.schemas.updates import CompletionSchema, ReceiptSchema, RegistrationSchema

blueprint = Blueprint(
    "registration", __name__, description="Jobs announced before they start, or without telemetry."
)

_REGISTRATION = RegistrationSchema()


@blueprint.route("/jobs", methods=["POST"])
@blueprint.doc(requestBody={"required": True, "content": {JSON: {"schema": RegistrationSchema}}})
@blueprint.alt_response(201, schema=JobSchema, description="Registered")
@blueprint.alt_response(200, schema=JobSchema, description="Was there already, alike")
def register_job() -> Response:
    """Register a job before it starts. What is not known of it yet is filled in.

    409 when the job is there with another type, machine, repository or kind of backup, or ended so
    long ago that its updates are no longer kept.
    """
    from app.api.jobs import job_body

    body = read_body(request, hub().config.max_body_bytes)
    registration = load(_REGISTRATION, parse_object(body))
    require_job_type(registration["job_type"])
    with hub().database.transaction() as conn:
        is_new = register(conn, registration)
    answer = job_body(registration["job_id"])
    return Response(orjson.dumps(answer), 201 if is_new else 200, mimetype=JSON)


@blueprint.route("/jobs/<identifier:job_id>/complete", methods=["POST"])
@blueprint.doc(requestBody={"required": True, "content": {JSON: {"schema": CompletionSchema}}})
@blueprint.alt_response(200, schema=ReceiptSchema, description="The job has ended")
def complete_job(job_id: str) -> Response:
    """End a job whose sender pushes no telemetry, with the same rules as an update that ends it.

    `last_telemetry_at` stays as it was. 409 when the job has ended otherwise.
    """
    from app.api.jobs import job_body

    check_identifier("job_id", job_id)
    if is_limited():
        require_job_type(job_body(job_id)["job_type"])
    body = read_body(request, hub().config.max_body_bytes)
    outcome = submit([decode_completion(body, job_id)])[0]
    return Response(orjson.dumps(receipt_body(job_id, require_stored(outcome))), mimetype=JSON)
