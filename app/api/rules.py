"""Rules and maintenance windows: read by all, changed by administrators."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, json_response
from app.api.bodies import read_json
from app.api.context import hub
from app.api.needs import needs
from app.errors import NotFound
from app.schemas import rules as schemas
from app.schemas.decode import load, parse_object
from app.store import rules as store
from app.store.staleness import read_clock
from app.web.content import JSON
from app.web.permissions import ADMIN, READ

blueprint = Blueprint(
    "rules", __name__, description="Thresholds by job, machine, node, phase and type; maintenance."
)

_RULE = schemas.RuleBodySchema()
_WINDOW = schemas.WindowBodySchema()


def _body(schema: type[Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": schema}}}


@blueprint.route("/rules")
@blueprint.response(200, schemas.RuleListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_rules() -> Response:
    """List every rule, the most specific first.

    For each setting by itself, the first rule applies that sets it and whose conditions all hold.
    """
    with hub().reads.reading() as conn:
        rules = store.read_rules(conn).rules
    return conditional_json({"items": [schemas.show_rule(rule) for rule in rules]})


@blueprint.route("/rules", methods=["PUT"])
@blueprint.doc(requestBody=_body(schemas.RuleBodySchema))
@blueprint.alt_response(200, schema=schemas.RuleSchema, description="Replaced")
@blueprint.alt_response(201, schema=schemas.RuleSchema, description="Created")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def put_rule() -> Response:
    """Create a rule, or replace the one with the same conditions: all of its settings.

    It applies from the next sweep of the detector on.
    """
    body = load(_RULE, parse_object(read_json()))
    with hub().database.transaction() as conn:
        rule, is_new = store.put_rule(conn, body["match"], body["settings"])
    return json_response(schemas.show_rule(rule), 201 if is_new else 200)


@blueprint.route("/rules/<int:rule_id>", methods=["DELETE"])
@blueprint.alt_response(204, success=True, description="Deleted")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def delete_rule(rule_id: int) -> Response:
    """Delete a rule: less specific ones, or the settings of the hub, apply again."""
    with hub().database.transaction() as conn:
        if store.delete_rule(conn, rule_id) is None:
            raise NotFound(f"There is no rule {rule_id}.")
    return Response(status=204)


@blueprint.route("/maintenance")
@blueprint.arguments(schemas.WindowQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.WindowListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_maintenance(query: dict[str, Any]) -> Response:
    """List maintenance windows, the last to end first."""
    with hub().reads.reading() as conn:
        now = read_clock(conn)
        windows = store.read_maintenance(conn, now).windows
    items = [schemas.show_window(window, now) for window in windows]
    return conditional_json({"items": [each for each in items if each["state"] in query["state"]]})


@blueprint.route("/maintenance", methods=["POST"])
@blueprint.doc(requestBody=_body(schemas.WindowBodySchema))
@blueprint.alt_response(201, schema=schemas.WindowSchema, description="Planned")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def plan_maintenance() -> Response:
    """Plan a time in which silence is expected, such as a deploy, or begin one now.

    Matching jobs are neither stalled nor failed meanwhile, and their silence does not count
    afterwards.
    """
    body = load(_WINDOW, parse_object(read_json()))
    with hub().database.transaction() as conn:
        now = read_clock(conn)
        begins, ends = schemas.check_window(body.get("from_"), body["to"], now)
        window = store.insert_window(conn, begins, ends, body["match"], body["reason"])
    return json_response(schemas.show_window(window, now), 201)


@blueprint.route("/maintenance/<int:window_id>", methods=["DELETE"])
@blueprint.alt_response(200, schema=schemas.WindowSchema, description="Ended")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def end_maintenance(window_id: int) -> Response:
    """End a maintenance window now, or cancel one that has not begun. Repeating changes nothing."""
    with hub().database.transaction() as conn:
        window = store.end_window(conn, window_id)
        if window is None:
            raise NotFound(f"There is no maintenance window {window_id}.")
        now = read_clock(conn)
    return json_response(schemas.show_window(window, now))
