"""`python -m app token`: make, list and revoke tokens, and make the key they are signed with.

Standard output is for scripts: `create` prints the token there and nothing else, once and never
again. What is meant for people only is on standard error.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from app.auth.keys import create_key_file, read_keys, rotate_key_file
from app.auth.scopes import ENDS_SOON, SNAPSHOTS, Claims, Scope
from app.auth.tokens import mint
from app.clock import isoformat, utc_now
from app.config import Config
from app.database.attach import attached_database
from app.database.pool import Connection
from app.errors import ConfigError
from app.schemas.updates import job_type_problem
from app.store import tokens as store
from app.store.tokens import TokenRow

DEFAULT_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=3650)
LONGEST_NAME = 100
EFFECTIVE_SECONDS = 30

_LIFE = re.compile(r"([1-9][0-9]{0,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NO_KEY_FILE = (
    "HUB_TOKEN_KEY_FILE is not set: it names the file of the key that tokens are signed with, for "
    "this command and for the hub (`python -m app token key FILE` makes one)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own commands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="token_command")

    create = commands.add_parser("create", help="make a token and print it, once")
    create.add_argument("--name", required=True, type=_name, help="who or what will hold it")
    create.add_argument(
        "--scope",
        required=True,
        choices=[scope.value for scope in Scope],
        help="ingest: may push, and nothing else; read: may look; admin: both",
    )
    create.add_argument(
        "--job-type",
        dest="job_types",
        action="append",
        default=[],
        type=_job_type,
        metavar="TYPE",
        help="with --scope ingest: only jobs of this type; more than once for more types; "
        f"{SNAPSHOTS!r} stands for the snapshots of nodes",
    )
    create.add_argument(
        "--expires",
        type=_life,
        default=DEFAULT_LIFE,
        metavar="TIME",
        help="how long it is valid, like 90d, 12h or 4w (default: 365d)",
    )

    listing = commands.add_parser("list", help="list the tokens that are valid")
    listing.add_argument("--all", action="store_true", help="expired and revoked ones as well")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")

    revoke = commands.add_parser("revoke", help="refuse tokens from now on")
    revoke.add_argument("ids", nargs="+", metavar="ID", help="as `list` shows it")

    key = commands.add_parser("key", help="make the file of the key, or a new key in it")
    key.add_argument("file", nargs="?", type=Path, help="default: what HUB_TOKEN_KEY_FILE names")
    key.add_argument(
        "--rotate",
        action="store_true",
        help="put a new key first; tokens of the one before stay valid until the next rotation",
    )


def run(config: Config, args: argparse.Namespace) -> int:
    """Run one of them; its exit status. Raises ConfigError and DatabaseUnavailable."""
    command = {"create": _create, "list": _list, "revoke": _revoke, "key": _key}
    return command[args.token_command](config, args)


def _create(config: Config, args: argparse.Namespace) -> int:
    if args.job_types and args.scope != Scope.INGEST:
        raise ConfigError("--job-type is said of --scope ingest only.")
    if config.token_key_file is None:
        raise ConfigError(_NO_KEY_FILE)
    keys = read_keys(config.token_key_file)
    now = utc_now()
    claims = Claims(
        token_id=secrets.token_hex(8),
        name=args.name,
        scope=Scope(args.scope),
        expires_at=now.replace(microsecond=0) + args.expires,  # a token tells whole seconds
        job_types=frozenset(args.job_types),
    )
    row = TokenRow(
        claims.token_id, claims.name, args.scope, sorted(claims.job_types), now, claims.expires_at
    )
    with _database(config) as conn:
        store.insert_token(conn, row)
    print(mint(claims, keys, now))
    _tell(
        f"Token {row.id} ({_describe(row)}) is valid until {isoformat(row.expires_at)}. "
        "It is shown only now: nobody can show it again."
    )
    return 0


def _list(config: Config, args: argparse.Namespace) -> int:
    with _database(config) as conn:
        rows = [row for row in store.read_tokens(conn) if args.all or _state(row) in _LIVE]
    if args.json:
        for row in rows:
            print(json.dumps(_as_json(row)))
        return 0
    cells = [("ID", "SCOPE", "EXPIRES", "STATE", "JOB TYPES", "NAME"), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(text.rstrip())
    return 0


def _revoke(config: Config, args: argparse.Namespace) -> int:
    with _database(config) as conn:
        revoked = {token_id: store.revoke_token(conn, token_id) for token_id in args.ids}
    for token_id, row in revoked.items():
        if row is None:
            _tell(f"hub: There is no token {token_id!r}: `python -m app token list` shows them.")
        else:
            print(f"revoked {row.id} ({_describe(row)})")
    if any(revoked.values()):
        _tell(f"Every process of the hub refuses it within {EFFECTIVE_SECONDS} s.")
    return 0 if all(revoked.values()) else 1


def _key(config: Config, args: argparse.Namespace) -> int:
    path: Path | None = args.file or config.token_key_file
    if path is None:
        raise ConfigError(_NO_KEY_FILE)
    if args.rotate:
        rotate_key_file(path)
        _tell(
            f"{path} has a new key, which signs from now on. A running hub learns it within "
            f"{EFFECTIVE_SECONDS} s. Tokens of the key before it stay valid; rotate again when "
            "each of them has been replaced."
        )
        return 0
    create_key_file(path)
    _tell(
        f"{path} holds a new key, for you alone to read. Start the hub, and make tokens, with "
        f"HUB_TOKEN_KEY_FILE={path.absolute()}"
    )
    return 0


@contextmanager
def _database(config: Config) -> Iterator[Connection]:
    """A connection in a transaction to a database that has the table."""
    try:
        with attached_database(config) as database, database.connect() as conn:
            yield conn
    except psycopg.errors.UndefinedTable as exc:
        raise ConfigError("The database knows no tokens yet: run `python -m app migrate`.") from exc
    except psycopg.errors.InsufficientPrivilege as exc:
        raise ConfigError(
            "DATABASE_URL's user may not read or make tokens: `python -m app doctor` says why "
            "(run `python -m app migrate` first if this version of the hub is new)."
        ) from exc


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
    return {
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "job_types": row.job_types,
        "created_at": isoformat(row.created_at),
        "expires_at": isoformat(row.expires_at),
        "revoked_at": isoformat(row.revoked_at) if row.revoked_at else None,
        "state": _state(row),
    }


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


# What an option may be.


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"must be 1 to {LONGEST_NAME} printable characters")
    return text.strip()


def _job_type(text: str) -> str:
    problem = None if text == SNAPSHOTS else job_type_problem(text)
    if problem:
        raise argparse.ArgumentTypeError(f"{text!r} is no job's type: {problem}")
    return text


def _life(text: str) -> timedelta:
    found = _LIFE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} must be a time like 90d, 12h or 4w")
    life = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if life > LONGEST_LIFE:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {LONGEST_LIFE.days}d")
    return life
