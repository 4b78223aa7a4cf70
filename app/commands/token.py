"""`python -m app token`: make, list and revoke tokens, and make the key they are signed with.

Standard output is for scripts: `create` prints the token there and nothing else. Messages for
people go to standard error.
"""

from __future__ import annotations

import argparse
import json
import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from app.auth.keys import create_key_file, read_keys, rotate_key_file
from app.auth.scopes import ENDS_SOON, SNAPSHOTS, Claims, Scope
from app.auth.tokens import mint
from app.clock import isoformat, utc_now
from app.commands.terminal import duration_up_to, print_table, tell, transaction
from app.config import Config
from app.errors import ConfigError
from app.schemas.updates import job_type_problem
from app.store import tokens as store
from app.store.tokens import TokenRow

DEFAULT_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=3650)
LONGEST_NAME = 100
EFFECTIVE_SECONDS = 30

_NO_KEY_FILE = (
    "HUB_TOKEN_KEY_FILE is not set: set it to the file with the token key, for this command and "
    "for the hub (`python -m app token key FILE` makes one)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="token_command")

    create = commands.add_parser("create", help="make a token and print it")
    create.add_argument("--name", required=True, type=_name, help="who or what will use it")
    create.add_argument(
        "--scope",
        required=True,
        choices=[scope.value for scope in Scope],
        help="ingest: push only; read: read only; admin: both",
    )
    create.add_argument(
        "--job-type",
        dest="job_types",
        action="append",
        default=[],
        type=_job_type,
        metavar="TYPE",
        help="with --scope ingest: allow only jobs of this type; may be repeated; "
        f"{SNAPSHOTS!r} allows snapshots of nodes",
    )
    create.add_argument(
        "--expires",
        type=duration_up_to(LONGEST_LIFE),
        default=DEFAULT_LIFE,
        metavar="TIME",
        help="how long it is valid, such as 90d, 12h or 4w (default: 365d)",
    )

    listing = commands.add_parser("list", help="list the valid tokens")
    listing.add_argument(
        "--all", action="store_true", help="list expired and revoked tokens as well"
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")

    revoke = commands.add_parser("revoke", help="revoke tokens")
    revoke.add_argument("ids", nargs="+", metavar="ID", help="the ID that `list` shows")

    key = commands.add_parser("key", help="make the key file, or put a new key into it")
    key.add_argument("file", nargs="?", type=Path, help="default: HUB_TOKEN_KEY_FILE")
    key.add_argument(
        "--rotate",
        action="store_true",
        help="add a new key; tokens of the previous one stay valid until the next rotation",
    )


def run(config: Config, args: argparse.Namespace) -> int:
    """Run a subcommand; return its exit status. Raises ConfigError and DatabaseUnavailable."""
    command = {"create": _create, "list": _list, "revoke": _revoke, "key": _key}
    return command[args.token_command](config, args)


def _create(config: Config, args: argparse.Namespace) -> int:
    if args.job_types and args.scope != Scope.INGEST:
        raise ConfigError("--job-type can be used with --scope ingest only.")
    if config.token_key_file is None:
        raise ConfigError(_NO_KEY_FILE)
    keys = read_keys(config.token_key_file)
    now = utc_now()
    claims = Claims(
        token_id=secrets.token_hex(8),
        name=args.name,
        scope=Scope(args.scope),
        expires_at=now.replace(microsecond=0) + args.expires,  # a token has whole seconds
        job_types=frozenset(args.job_types),
    )
    row = TokenRow(
        claims.token_id, claims.name, args.scope, sorted(claims.job_types), now, claims.expires_at
    )
    with transaction(config) as conn:
        store.insert_token(conn, row)
    print(mint(claims, keys, now))
    tell(
        f"Token {row.id} ({_describe(row)}) is valid until {isoformat(row.expires_at)}. "
        "Save it now: it cannot be shown again."
    )
    return 0


def _list(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        rows = [row for row in store.read_tokens(conn) if args.all or _state(row) in _LIVE]
    if args.json:
        for row in rows:
            print(json.dumps(_as_json(row)))
        return 0
    print_table([("ID", "SCOPE", "EXPIRES", "STATE", "JOB TYPES", "NAME"), *map(_cells, rows)])
    return 0


def _revoke(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        revoked = {token_id: store.revoke_token(conn, token_id) for token_id in args.ids}
    for token_id, row in revoked.items():
        if row is None:
            tell(f"hub: There is no token {token_id!r}: `python -m app token list` lists them.")
        else:
            print(f"revoked {row.id} ({_describe(row)})")
    if any(revoked.values()):
        tell(f"The hub refuses it within {EFFECTIVE_SECONDS} s.")
    return 0 if all(revoked.values()) else 1


def _key(config: Config, args: argparse.Namespace) -> int:
    path: Path | None = args.file or config.token_key_file
    if path is None:
        raise ConfigError(_NO_KEY_FILE)
    if args.rotate:
        rotate_key_file(path)
        tell(
            f"{path} has a new key, which signs from now on. A running hub reads it within "
            f"{EFFECTIVE_SECONDS} s. Tokens signed with the previous key stay valid; rotate again "
            "when all of them have been replaced."
        )
        return 0
    create_key_file(path)
    tell(
        f"{path} has a new key, which only you can read. Start the hub and make tokens with "
        f"HUB_TOKEN_KEY_FILE={path.absolute()}"
    )
    return 0


_LIVE = ("valid", "ends soon")


def _state(row: TokenRow) -> str:
    now = utc_now()
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at <= now:
        return "expired"
    return "ends soon" if row.expires_at - now < ENDS_SOON else "valid"


def _describe(row: TokenRow) -> str:
    limit = f" of {', '.join(row.job_types)}" if row.job_types else ""
    return f"{row.name}, {row.scope}{limit}"


def _cells(row: TokenRow) -> tuple[str, ...]:
    job_types = ",".join(row.job_types) or "-"
    return (row.id, row.scope, isoformat(row.expires_at), _state(row), job_types, row.name)


def _as_json(row: TokenRow) -> dict[str, Any]:
    cells = asdict(row)
    instants = {name: isoformat(at) for name, at in cells.items() if isinstance(at, datetime)}
    return {**cells, **instants, "state": _state(row)}


# The values of options.


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"must be 1 to {LONGEST_NAME} printable characters")
    return text.strip()


def _job_type(text: str) -> str:
    problem = None if text == SNAPSHOTS else job_type_problem(text)
    if problem:
        raise argparse.ArgumentTypeError(f"{text!r} is not a job type: {problem}")
    return text
