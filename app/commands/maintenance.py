"""`python -m app maintenance`: begin, list and end planned silence, as the API does."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from app.clock import isoformat
from app.commands.rules import add_conditions, read_conditions
from app.commands.terminal import duration_up_to, options_named, print_table, tell, transaction
from app.config import Config
from app.domain.rules import MaintenanceWindow
from app.schemas.decode import load
from app.schemas.fields import parse_timestamp
from app.schemas.rules import (
    LONGEST_WINDOW,
    WindowBodySchema,
    check_window,
    describe_match,
    show_window,
    window_state,
)
from app.store import rules as store
from app.store.staleness import read_clock

_BODY = WindowBodySchema(exclude=("from_", "to"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="maintenance_command")

    start = commands.add_parser("start", help="begin or plan a time of planned silence")
    ends = start.add_mutually_exclusive_group(required=True)
    ends.add_argument(
        "--for",
        dest="length",
        metavar="TIME",
        type=duration_up_to(LONGEST_WINDOW),
        help="how long it lasts, such as 30m or 2h; at most 30d",
    )
    ends.add_argument(
        "--to", metavar="TIME", type=_instant, help="when it ends, such as 2026-03-10T12:00:00Z"
    )
    start.add_argument(
        "--from",
        dest="from_at",
        metavar="TIME",
        type=_instant,
        help="when it begins (default: now)",
    )
    start.add_argument("--reason", required=True, help="why, for people")
    add_conditions(start)

    listing = commands.add_parser("list", help="list what is open or planned")
    listing.add_argument("--all", action="store_true", help="list what has ended as well")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")

    end = commands.add_parser("end", help="end it now, or cancel it before it begins")
    end.add_argument("ids", nargs="+", type=int, metavar="ID", help="the ID that `list` shows")


def run(config: Config, args: argparse.Namespace) -> int:
    """Run a subcommand; return its exit status. Raises ConfigError and DatabaseUnavailable."""
    command = {"start": _start, "list": _list, "end": _end}
    return command[args.maintenance_command](config, args)


def _start(config: Config, args: argparse.Namespace) -> int:
    with options_named(), transaction(config) as conn:
        body = load(_BODY, {"match": read_conditions(args), "reason": args.reason})
        now = read_clock(conn)
        to_at = args.to or (args.from_at or now) + args.length
        begins, ends = check_window(args.from_at, to_at, now)
        window = store.insert_window(conn, begins, ends, body["match"], body["reason"])
    print(f"{window_state(window, now)} {_describe(window)}")
    return 0


def _list(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        now = read_clock(conn)
        windows = store.read_maintenance(conn, now).windows
    shown = [each for each in windows if args.all or window_state(each, now) != "ended"]
    if args.json:
        for window in shown:
            print(json.dumps(show_window(window, now), default=_text))
        return 0
    heads = ("ID", "STATE", "FROM", "TO", "MATCH", "REASON")
    print_table([heads, *(_cells(window, now) for window in shown)])
    return 0


def _end(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        ended = {window_id: store.end_window(conn, window_id) for window_id in args.ids}
    for window_id, window in ended.items():
        if window is None:
            tell(
                f"hub: There is no maintenance window {window_id}: "
                "`python -m app maintenance list` lists them."
            )
        else:
            print(f"ended {_describe(window)}")
    return 0 if all(ended.values()) else 1


def _describe(window: MaintenanceWindow) -> str:
    times = f"{isoformat(window.from_at)} to {isoformat(window.to_at)}"
    return f"window {window.id} ({describe_match(window.match)}): {times}, {window.reason}"


def _cells(window: MaintenanceWindow, now: datetime) -> tuple[str, ...]:
    return (
        str(window.id),
        window_state(window, now),
        isoformat(window.from_at),
        isoformat(window.to_at),
        describe_match(window.match),
        window.reason,
    )


def _text(value: Any) -> str:
    return isoformat(value) if isinstance(value, datetime) else str(value)


def _instant(text: str) -> datetime:
    try:
        return parse_timestamp(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
