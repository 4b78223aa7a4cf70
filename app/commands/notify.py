"""`python -m app notify`: who is told what needs attention.

Addresses hold passwords and tokens, so they are read from standard input, not from the command
line.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from app.clock import isoformat
from app.commands.terminal import option_name, options_named, print_table, tell, transaction
from app.config import Config
from app.database.pool import Connection
from app.domain.notify.messages import make_test
from app.errors import ConfigError, Conflict
from app.notify.addresses import FILE, AddressInvalid, check_address, with_secret
from app.notify.sealing import Sealer
from app.schemas.decode import load
from app.schemas.notifications import (
    DestinationBodySchema,
    RouteBodySchema,
    make_route,
    show_route,
)
from app.store import destinations as store
from app.store.destinations import Destination, NamedRoute, Outgoing
from app.store.staleness import read_clock

_DESTINATION = DestinationBodySchema()
_ROUTE = RouteBodySchema()
_LISTS = ("kinds", "severities", "job_types", "machines")
_METAVARS = {"quiet_from": "HH:MM", "quiet_to": "HH:MM", "timezone": "ZONE", "digest": "WHEN"}
TEST_SECONDS = 60.0
_LOOK_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="notify_command")
    listing = commands.add_parser("list", help="list the destinations and their routes")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")

    add = commands.add_parser(
        "add", help="create or replace a destination, and a route of the same name to it"
    )
    add.add_argument("name", metavar="NAME", help="the name of the destination")
    add.add_argument(
        "--file",
        type=Path,
        metavar="PATH",
        help="read its address from this file at each message (default: from standard input, now)",
    )
    _add_route_options(add)

    route = commands.add_parser("route", help="create or replace a further route")
    route.add_argument("name", metavar="NAME", help="the name of the route")
    route.add_argument("--to", required=True, metavar="NAME", help="the name of a destination")
    _add_route_options(route)

    test = commands.add_parser("test", help="send a test message, by the running hub")
    test.add_argument("name", metavar="NAME", help="the name of the destination")

    remove = commands.add_parser("remove", help="delete a destination with its routes, or a route")
    remove.add_argument("names", nargs="*", metavar="NAME", help="destinations")
    remove.add_argument(
        "--route", dest="routes", action="append", default=[], metavar="NAME", help="a route"
    )


def _add_route_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is told, and when")
    for name, field in _ROUTE.fields.items():
        if name in ("name", "destination"):
            continue
        help_text = str(field.metadata["description"]).replace("`", "").replace("%", "%%")
        if name == "tells_recovery":
            group.add_argument(
                "--no-recovery", dest=name, action="store_false", default=None, help="tell no ends"
            )
            continue
        metavar = "A,B" if name in _LISTS else _METAVARS.get(name, "N")
        group.add_argument(option_name(name), dest=name, metavar=metavar, help=help_text)


def run(config: Config, args: argparse.Namespace) -> int:
    """Run a subcommand; return its exit status. Raises ConfigError and DatabaseUnavailable."""
    command = {"list": _list, "add": _add, "route": _route, "test": _test, "remove": _remove}
    return command[args.notify_command](config, args)


def _list(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        destinations, routes = store.read_destinations(conn), store.read_routes(conn)
    if args.json:
        for each in destinations:
            own = [route for route in routes if route.destination == each.name]
            shown = {**vars(each), "routes": list(map(_show, own))}
            print(json.dumps(shown, default=_text))
        return 0
    heads = ("DESTINATION", "SERVICE", "SOURCE", "WAITING", "DEAD", "LAST SENT", "LAST ERROR")
    print_table([heads, *map(_cells, destinations)])
    print()
    print_table([("ROUTE", "TO", "WHAT"), *map(_route_cells, routes)])
    return 0


def _add(config: Config, args: argparse.Namespace) -> int:
    address = f"{FILE}{args.file.absolute()}" if args.file else _read_address()
    with options_named():
        body = load(_DESTINATION, {"name": args.name, "address": address})
    try:
        service = check_address(address)
        address, secret = with_secret(body["address"])
    except AddressInvalid as exc:
        raise ConfigError(f"The address cannot be used. {exc}") from None
    source = "file" if args.file else "table"
    sealed = Sealer.of(config).seal(address)
    with options_named(), transaction(config) as conn:
        _, is_new = store.put_destination(conn, args.name, service, source, sealed)
        _put_route(conn, args, args.name)
    print(f"{'created' if is_new else 'replaced'} destination {args.name} ({service})")
    if secret is not None:
        tell("Its secret, which the receiver needs and which cannot be shown again:")
        print(secret)
    return 0


def _read_address() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Address: ").strip()
    return sys.stdin.readline().strip()


def _route(config: Config, args: argparse.Namespace) -> int:
    with options_named(), transaction(config) as conn:
        is_new = _put_route(conn, args, args.to)
    print(f"{'created' if is_new else 'replaced'} route {args.name} to {args.to}")
    return 0


def _put_route(conn: Connection, args: argparse.Namespace, destination: str) -> bool:
    body: dict[str, Any] = {"name": args.name, "destination": destination}
    for name in _ROUTE.fields:
        value = getattr(args, name, None)
        if name not in body and value is not None:
            body[name] = _value(name, value)
    loaded = load(_ROUTE, body)
    found = store.find_destination(conn, destination)
    return store.put_route(conn, make_route(loaded["route"], found.id, found.service))[1]


def _value(name: str, value: Any) -> Any:
    if name in _LISTS:
        return [part.strip() for part in value.split(",")]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value


def _test(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        found = _find(conn, args.name)
        outgoing = Outgoing(found.id, None, make_test(found.name), read_clock(conn))
        [message_id] = store.insert_messages(conn, [outgoing])
    until = time.monotonic() + TEST_SECONDS
    while time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        with transaction(config) as conn:
            [message] = store.list_outbox(conn, 1, message_id=message_id)
        if message["state"] == "sent":
            print(f"delivered to {args.name}")
            return 0
        if message["error"]:
            tell(f"hub: It could not be delivered to {args.name}. {message['error']}")
            return 1
    tell("hub: It is still in the outbox. The hub sends it: does `python -m app serve` run?")
    return 1


def _remove(config: Config, args: argparse.Namespace) -> int:
    if not args.names and not args.routes:
        raise ConfigError("Name a destination, or a route with --route.")
    with transaction(config) as conn:
        known = {each.route.name: each.route.id for each in store.read_routes(conn)}
        for name in args.routes:
            if name not in known:
                raise ConfigError(f"There is no route {name!r}: `python -m app notify list`.")
            store.delete_route(conn, known[name])
        for name in args.names:
            if store.delete_destination(conn, _find(conn, name).id) is None:
                raise ConfigError(f"{name} is set by HUB_NOTIFY_URLS: change that.")
    for name in args.routes:
        print(f"deleted route {name}")
    for name in args.names:
        print(f"deleted destination {name}")
    return 0


def _find(conn: Connection, name: str) -> Destination:
    try:
        return store.find_destination(conn, name)
    except Conflict as exc:
        raise ConfigError(f"{exc} `python -m app notify list` lists them.") from None


def _show(named: NamedRoute) -> dict[str, Any]:
    return show_route(named.route, named.destination, named.changed_at)


def _cells(each: Destination) -> tuple[str, ...]:
    last = "-" if each.last_sent_at is None else isoformat(each.last_sent_at)
    counts = str(each.waiting), str(each.dead)
    return (each.name, each.service, each.source, *counts, last, each.last_error or "-")


def _route_cells(named: NamedRoute) -> tuple[str, ...]:
    shown = _show(named)
    hidden = {"id", "name", "destination", "changed_at", "next_report_at"}
    parts = [
        f"{name} = {','.join(value) if isinstance(value, list | tuple) else value}"
        for name, value in shown.items()
        if name not in hidden and value is not None and value != _default(name)
    ]
    return named.route.name, named.destination, ", ".join(parts) or "critical and warning, at once"


def _default(name: str) -> Any:
    return _ROUTE.fields[name].load_default


def _text(value: Any) -> str:
    return isoformat(value) if isinstance(value, datetime) else str(value)
