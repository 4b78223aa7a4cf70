"""Registers jobs before they start, and ends jobs without telemetry."""

from __future__ import annotations

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import json_response
from app.api.bodies import read_json
from app.api.context import current_claims, hub, to_response
from app.api.jobs import job_body
from app.api.needs import needs
from app.api.telemetry import submit
from app.auth.scopes import Scope
from app.ingest.registration import register
from app.schemas.decode import decode_completion, load, parse_object
from app.schemas.jobs import JobSchema
from app.schemas.updates import CompletionSchema, ReceiptSchema, RegistrationSchema
from app.web.admission import require_job_type
from app.web.content import JSON
from app.web.paths import read_identifier
from app.web.permissions import PUSH
from app.web.push import answer_update

blueprint = Blueprint(
    "registration", __name__, description="Registering jobs, and ending them without telemetry."
)

_REGISTRATION = RegistrationSchema()
_ANSWER = {"anyOf": [JobSchema, RegistrationSchema]}


@blueprint.route("/jobs", methods=["POST"])
@blueprint.doc(requestBody={"required": True, "content": {JSON: {"schema": RegistrationSchema}}})
@blueprint.alt_response(201, schema=_ANSWER, description="Registered")
@blueprint.alt_response(200, schema=_ANSWER, description="Already registered")
@needs(PUSH)
def register_job() -> Response:
    """Register a job before it starts. If it is known, missing fields are filled in.

    If it has ended, this begins another run of it: see `new_run`.

    The answer is the job, or the registration itself if the token may not read. 409 if the job
    exists with another type, machine, repository or kind of backup, or ended so long ago that its
    updates are no longer kept.
    """
    registration = load(_REGISTRATION, parse_object(read_json()))
    claims = current_claims()
    require_job_type(claims, registration["job_type"])
    with hub().database.transaction() as conn:
        is_new = register(conn, registration)
    may_read = claims is None or claims.may(Scope.READ)
    body = job_body(registration["job_id"]) if may_read else registration
    return json_response(body, 201 if is_new else 200)


@blueprint.route("/jobs/<identifier:job_id>/complete", methods=["POST"])
@blueprint.doc(requestBody={"required": True, "content": {JSON: {"schema": CompletionSchema}}})
@blueprint.alt_response(200, schema=ReceiptSchema, description="The job has ended")
@needs(PUSH)
def complete_job(job_id: str) -> Response:
    """End a job whose sender pushes no telemetry, with the same rules as an update that ends it.

    `last_telemetry_at` is unchanged. 409 if the job has already ended with another status.
    """
    job_id = read_identifier("job_id", job_id)
    claims = current_claims()
    if claims is not None and claims.job_types:
        require_job_type(claims, job_body(job_id)["job_type"])
    completion = decode_completion(read_json(), job_id)
    return to_response(answer_update(job_id, submit([completion])))
