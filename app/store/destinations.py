"""Destinations, routes and the outbox, for the API and the commands; the caller commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import orjson
from psycopg.rows import class_row, dict_row

from app.database.pool import Connection, ForeignKeyViolation
from app.domain.notify.messages import Message
from app.domain.notify.retries import GIVE_UP
from app.domain.notify.routes import Route
from app.errors import Conflict
from app.store.sql import load_queries

SQL = load_queries("destinations")

MOST_DESTINATIONS = 100
MOST_ROUTES = 500

_ROUTE_FIELDS = tuple(field.name for field in fields(Route))


@dataclass(frozen=True)
class Destination:
    """A row of `destinations`, without its address. `waiting`, `dead`: messages."""

    id: int
    name: str
    service: str
    source: str  # table, file or environment
    changed_at: datetime
    last_sent_at: datetime | None
    last_failed_at: datetime | None
    failing_since: datetime | None
    last_error: str | None  # None: the last message was delivered
    waiting: int
    dead: int


@dataclass(frozen=True)
class NamedRoute:
    """A route with the name of its destination."""

    route: Route
    destination: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for a destination. `attempts`, `due_at`: of what is merged in it."""

    destination_id: int
    route_id: int | None
    message: Message
    created_at: datetime
    attempts: int = 0
    due_at: datetime | None = None


def read_destinations(conn: Connection) -> list[Destination]:
    """Every destination by name."""
    with conn.cursor(row_factory=class_row(Destination)) as cursor:
        return cursor.execute(SQL["list_destinations"]).fetchall()


def find_destination(conn: Connection, name: str) -> Destination:
    """The destination with this name. Raises Conflict naming the field of a route."""
    found = next((each for each in read_destinations(conn) if each.name == name), None)
    if found is None:
        problem = f"There is no destination {name!r}."
        raise Conflict(problem, {"destination": [problem]})
    return found


def put_destination(
    conn: Connection, name: str, service: str, source: str, sealed: str
) -> tuple[int, bool]:
    """Create a destination, or replace the address of the one with this name.

    Returns its id, and whether it is new. Raises Conflict if there are MOST_DESTINATIONS, or if it
    is one of the environment.
    """
    params = {"name": name, "service": service, "source": source}
    row = conn.execute(SQL["put_destination"], params).fetchone()
    if row is None:
        raise Conflict(f"The destination {name!r} is set by HUB_NOTIFY_URLS: use another name.")
    destination_id, is_new, count = row
    if is_new and count >= MOST_DESTINATIONS:
        raise Conflict(f"There are {MOST_DESTINATIONS} destinations already: delete some.")
    conn.execute(SQL["put_address"], {"id": destination_id, "sealed": sealed})
    return destination_id, is_new


def delete_destination(conn: Connection, destination_id: int) -> str | None:
    """Delete a destination with its routes and messages; return its name.

    None: there is none with this id that may be deleted.
    """
    row = conn.execute(SQL["delete_destination"], {"id": destination_id}).fetchone()
    return None if row is None else row[0]


def read_routes(conn: Connection) -> list[NamedRoute]:
    """Every route by name."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["list_routes"]).fetchall()
    return [NamedRoute(_route(row), row["destination"], row["changed_at"]) for row in rows]


def put_route(conn: Connection, route: Route) -> tuple[Route, bool]:
    """Create a route, or replace the one with this name, which keeps its id.

    Returns the route, and whether it is new. Raises Conflict if there are MOST_ROUTES, or if its
    destination has gone.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        try:
            row = cursor.execute(SQL["put_route"], _as_row(route)).fetchone()
        except ForeignKeyViolation:
            raise Conflict("The destination has been deleted meanwhile.") from None
    assert row is not None
    if row["is_new"] and row["routes"] >= MOST_ROUTES:
        raise Conflict(f"There are {MOST_ROUTES} routes already: delete some.")
    return _route(row), row["is_new"]


def delete_route(conn: Connection, route_id: int) -> str | None:
    """Delete a route and return its name; None: there is none with this id."""
    row = conn.execute(SQL["delete_route"], {"id": route_id}).fetchone()
    return None if row is None else row[0]


def list_outbox(
    conn: Connection,
    limit: int,
    *,
    states: Sequence[str] | None = None,
    destination_id: int | None = None,
    before: int | None = None,
    message_id: int | None = None,
) -> list[dict[str, Any]]:
    """Messages, the newest first; those with a smaller id than `before`."""
    params = {
        "states": None if states is None else list(states),
        "destination_id": destination_id,
        "before": before,
        "id": message_id,
        "limit": limit,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["list_outbox"], params).fetchall()


def insert_messages(conn: Connection, outgoing: Iterable[Outgoing]) -> list[int]:
    """Put messages into the outbox; return their ids in this order."""
    rows = [
        {
            **asdict(each.message),
            "destination_id": each.destination_id,
            "route_id": each.route_id,
            "created_at": each.created_at,
            "due_at": each.due_at or each.created_at,
            "give_up_at": each.created_at + GIVE_UP,
            "attempts": each.attempts,
        }
        for each in outgoing
    ]
    if not rows:
        return []
    params = {"messages": orjson.dumps(rows, option=orjson.OPT_UTC_Z).decode()}
    return [row[0] for row in conn.execute(SQL["insert_notifications"], params)]


def retry(conn: Connection, message_id: int) -> bool:
    """Send a dead letter again; False: it is not one."""
    return conn.execute(SQL["retry"], {"id": message_id, "give_up": GIVE_UP}).rowcount == 1


def _route(row: dict[str, Any]) -> Route:
    return Route(**{name: row[name] for name in _ROUTE_FIELDS})


def _as_row(route: Route) -> dict[str, Any]:
    row = {name: getattr(route, name) for name in _ROUTE_FIELDS}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in row.items()}
