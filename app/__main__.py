"""The hub's command line: `python -m app COMMAND`. Each command is a function of another module."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields

from app import __version__
from app.config import Config
from app.errors import HubError


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status. A failure is one sentence on standard error."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        return status
    except HubError as exc:
        print(f"hub: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from app.commands import demo, repair, token

    parser = argparse.ArgumentParser(prog="python -m app", description="Telemetry Hub")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, meaning: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.set_defaults(run=run)
        return command

    add("serve", _serve, "run the hub: database, web server, scheduled tasks")
    add("migrate", _migrate, "bring the database's schema up to date")
    add("config", _config, "print every setting with its source and meaning")
    add("doctor", _doctor, "check the database's schema against what the hub needs")
    token.add_arguments(add("token", _token, "make, list and revoke tokens, and their key"))
    repair.add_arguments(
        add("repair", _repair, "recompute bytes of completed jobs from disks, or rollups")
    )
    demo.add_arguments(add("demo", demo.run, "simulate senders, so that there is something to see"))
    return parser


def _serve(_: argparse.Namespace) -> int:
    from app.commands.serve import serve
    from app.logs import configure_logging

    config = Config.from_env()
    configure_logging(config.log_level)
    serve(config)
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from app.database.attach import attached_database
    from app.database.migrate import migrate

    with (
        attached_database(Config.from_env(), as_owner=True) as database,
        database.connect(autocommit=True) as conn,
    ):
        applied = migrate(conn)
    for name in applied:
        print(f"applied migrations/{name}")
    print("The schema is up to date.")
    return 0


def _config(_: argparse.Namespace) -> int:
    import os

    config = Config.from_env()
    rows = []
    for setting in fields(config):
        variable = setting.metadata["variable"]
        is_set = bool(os.environ.get(variable, "").strip())
        value = getattr(config, setting.name)
        rows.append((variable, _shown(variable, value), "environment" if is_set else "default"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, setting in zip(rows, fields(config), strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{cells}  {setting.metadata['meaning']}")
    return 0


def _shown(variable: str, value: object) -> str:
    """A value as it may be printed: a database's address without its password."""
    if value is None:
        return "-"
    if variable in ("DATABASE_URL", "HUB_OWNER_URL"):
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        parts = conninfo_to_dict(str(value))
        return make_conninfo(
            "", **{**parts, **({"password": "***"} if "password" in parts else {})}
        )
    return str(value)


def _token(args: argparse.Namespace) -> int:
    from app.commands import token

    return token.run(Config.from_env(), args)


def _repair(args: argparse.Namespace) -> int:
    from app.commands import repair
    from app.database.attach import attached_database

    config = Config.from_env()
    with attached_database(config, as_owner=True):
        return repair.run(config, args)


def _doctor(_: argparse.Namespace) -> int:
    from app.checks.doctor import run_checks
    from app.database.attach import attached_database

    config = Config.from_env()
    with (
        attached_database(config, as_owner=True) as database,
        database.connect(autocommit=True) as conn,
    ):
        checks = run_checks(conn, config)
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    failed = sum(not check.ok for check in checks)
    print(f"{len(checks) - failed} checks passed, {failed} failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
