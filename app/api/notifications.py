"""Destinations, routes and the outbox: read by all, changed by administrators."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, json_response
from app.api.bodies import read_json
from app.api.context import hub
from app.api.needs import needs
from app.database.pool import Connection
from app.domain.notify.messages import make_test
from app.errors import InvalidInput, NotFound
from app.notify.addresses import FILE, AddressInvalid, check_address, with_secret
from app.notify.sealing import Sealer
from app.schemas import notifications as schemas
from app.schemas.decode import load, parse_object
from app.schemas.queries import LARGEST_KEY, encode_cursor
from app.store import destinations as store
from app.store.destinations import Destination, Outgoing
from app.store.staleness import read_clock
from app.web.content import JSON
from app.web.permissions import ADMIN, READ

blueprint = Blueprint(
    "notifications", __name__, description="Who is told what: destinations, routes, messages."
)

_ID, _ROUTE_ID, _MESSAGE_ID = (
    f"<int(max={LARGEST_KEY}):{name}>" for name in ("destination_id", "route_id", "message_id")
)
_DESTINATION = schemas.DestinationBodySchema()
_ROUTE = schemas.RouteBodySchema()


def _body(schema: type[Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": schema}}}


@blueprint.route("/notifications/destinations")
@blueprint.response(200, schemas.DestinationListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_destinations() -> Response:
    """List every destination. Addresses are never shown."""
    with hub().database.reading() as conn:
        found = store.read_destinations(conn)
    return conditional_json({"items": [vars(each) for each in found]})


@blueprint.route("/notifications/destinations", methods=["PUT"])
@blueprint.doc(requestBody=_body(schemas.DestinationBodySchema))
@blueprint.alt_response(200, schema=schemas.DestinationSchema, description="Replaced")
@blueprint.alt_response(201, schema=schemas.DestinationSchema, description="Created")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def put_destination() -> Response:
    """Create a destination, or replace the address of the one with this name.

    It is told nothing before a route leads to it. A webhook without a secret gets one, which only
    this answer shows.
    """
    body = load(_DESTINATION, parse_object(read_json()))
    name = body["name"]
    try:
        service = check_address(body["address"])
        address, secret = with_secret(body["address"])
    except AddressInvalid as exc:
        raise InvalidInput(f"address: {exc}", {"address": [str(exc)]}) from None
    source = "file" if address.startswith(FILE) else "table"
    sealed = Sealer.of(hub().config).seal(address)
    with hub().database.transaction() as conn:
        destination_id, is_new = store.put_destination(conn, name, service, source, sealed)
        found = vars(_destination(conn, destination_id))
    answer = found if secret is None else {**found, "signing_secret": secret}
    return json_response(answer, 201 if is_new else 200)


@blueprint.route(f"/notifications/destinations/{_ID}", methods=["DELETE"])
@blueprint.alt_response(204, success=True, description="Deleted")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def delete_destination(destination_id: int) -> Response:
    """Delete a destination, with the routes that lead to it and its messages."""
    with hub().database.transaction() as conn:
        if store.delete_destination(conn, destination_id) is None:
            raise NotFound(f"There is no destination {destination_id} that may be deleted.")
    return Response(status=204)


@blueprint.route(f"/notifications/destinations/{_ID}/test", methods=["POST"])
@blueprint.alt_response(202, schema=schemas.MessageSchema, description="On its way")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def test_destination(destination_id: int) -> Response:
    """Send a test message. The answer is the message, whose state the outbox shows afterwards."""
    with hub().database.transaction() as conn:
        message = make_test(_destination(conn, destination_id).name)
        now = read_clock(conn)
        [message_id] = store.insert_messages(conn, [Outgoing(destination_id, None, message, now)])
        [found] = store.list_outbox(conn, 1, message_id=message_id)
    return json_response(found, 202)


def _destination(conn: Connection, destination_id: int) -> Destination:
    for each in store.read_destinations(conn):
        if each.id == destination_id:
            return each
    raise NotFound(f"There is no destination {destination_id}.")


@blueprint.route("/notifications/routes")
@blueprint.response(200, schemas.RouteListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_routes() -> Response:
    """List every route."""
    with hub().database.reading() as conn:
        found = store.read_routes(conn)
    items = [schemas.show_route(each.route, each.destination, each.changed_at) for each in found]
    return conditional_json({"items": items})


@blueprint.route("/notifications/routes", methods=["PUT"])
@blueprint.doc(requestBody=_body(schemas.RouteBodySchema))
@blueprint.alt_response(200, schema=schemas.RouteSchema, description="Replaced")
@blueprint.alt_response(201, schema=schemas.RouteSchema, description="Created")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def put_route() -> Response:
    """Create a route, or replace everything of the one with this name.

    What is open already and matches is told in one message.
    """
    body = load(_ROUTE, parse_object(read_json()))
    with hub().database.transaction() as conn:
        destination = store.find_destination(conn, body["destination"])
        route = schemas.make_route(body["route"], destination.id, destination.service)
        stored, is_new = store.put_route(conn, route)
        [found] = [each for each in store.read_routes(conn) if each.route.id == stored.id]
    answer = schemas.show_route(found.route, found.destination, found.changed_at)
    return json_response(answer, 201 if is_new else 200)


@blueprint.route(f"/notifications/routes/{_ROUTE_ID}", methods=["DELETE"])
@blueprint.alt_response(204, success=True, description="Deleted")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def delete_route(route_id: int) -> Response:
    """Delete a route. Its messages in the outbox are still sent."""
    with hub().database.transaction() as conn:
        if store.delete_route(conn, route_id) is None:
            raise NotFound(f"There is no route {route_id}.")
    return Response(status=204)


@blueprint.route("/notifications/outbox")
@blueprint.arguments(schemas.OutboxQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.OutboxSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_outbox(query: dict[str, Any]) -> Response:
    """List messages, the newest first. They are kept for 30 days."""
    limit = query["limit"]
    with hub().database.reading() as conn:
        found = store.list_outbox(
            conn,
            limit + 1,
            states=query.get("state"),
            destination_id=query.get("destination_id"),
            before=query["cursor"][0] if "cursor" in query else None,
        )
    items = found[:limit]
    cursor = encode_cursor("outbox", items[-1]["id"]) if len(found) > limit else None
    return conditional_json({"items": items, "next_cursor": cursor})


@blueprint.route(f"/notifications/outbox/{_MESSAGE_ID}")
@blueprint.response(200, schemas.MessageSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def read_message(message_id: int) -> Response:
    """Return one message, such as a test, with its state."""
    with hub().database.reading() as conn:
        found = store.list_outbox(conn, 1, message_id=message_id)
    if not found:
        raise NotFound(f"There is no message {message_id}.")
    return conditional_json(found[0])


@blueprint.route(f"/notifications/outbox/{_MESSAGE_ID}/retry", methods=["POST"])
@blueprint.alt_response(202, schema=schemas.MessageSchema, description="On its way again")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(ADMIN)
def retry_message(message_id: int) -> Response:
    """Send a message again that was given up."""
    with hub().database.transaction() as conn:
        if not store.retry(conn, message_id):
            raise NotFound(f"There is no message {message_id} that was given up.")
        [found] = store.list_outbox(conn, 1, message_id=message_id)
    return json_response(found, 202)
