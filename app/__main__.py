"""The hub's command line: `python -m app COMMAND`. Each command has a module in app/commands."""

from __future__ import annotations

import argparse
import sys

from app import __version__
from app.config import ROOT, Config, log_unknown_variables, unknown_variables
from app.errors import HubError

_PROGRAM = "telemetry-hub" if ROOT.name == "telemetry_hub" else "python -m app"


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status. An error is one sentence on standard error."""
    args = _parser().parse_args(argv)
    try:
        config = Config.from_env()
        if args.run is not _serve:  # which logs them
            for warning in unknown_variables():
                print(f"hub: {warning}", file=sys.stderr)
        status: int = args.run(config, args)
        return status
    except HubError as exc:
        print(f"hub: {getattr(exc, 'reason', None) or exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from app.commands import (
        backup,
        config,
        demo,
        doctor,
        install,
        maintenance,
        migrate,
        notify,
        repair,
        rules,
        token,
        transfer,
    )

    parser = argparse.ArgumentParser(prog=_PROGRAM, description="Telemetry Hub")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, meaning: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.set_defaults(run=run)
        return command

    add("serve", _serve, "run the hub: database, web server and scheduled tasks")
    add("install", install.run, "fetch the embedded database and the libraries of the pages")
    add("migrate", migrate.run, "bring the database's schema up to date")
    config.add_arguments(add("config", config.run, "show the settings, and where each comes from"))
    add("doctor", doctor.run, "check that the database's schema is what the hub needs")
    backup.add_arguments(
        add("backup", backup.run, "copy the embedded database into a file while the hub runs")
    )
    token.add_arguments(add("token", token.run, "make, list and revoke tokens; make their key"))
    rules.add_arguments(
        add("rules", rules.run, "list, set and delete thresholds of jobs, machines and nodes")
    )
    maintenance.add_arguments(
        add("maintenance", maintenance.run, "begin, list and end planned silence")
    )
    notify.add_arguments(
        add("notify", notify.run, "list, set, test and delete who is told what needs attention")
    )
    repair.add_arguments(
        add("repair", repair.run, "correct the bytes of completed jobs, or rebuild rollups")
    )
    transfer.add_export_arguments(
        add("export", transfer.run_export, "write all that the hub keeps into files of CSV")
    )
    transfer.add_import_arguments(
        add("import", transfer.run_import, "load an export into an empty database")
    )
    demo.add_arguments(add("demo", demo.run, "send simulated jobs and nodes to a hub"))
    return parser


def _serve(config: Config, _: argparse.Namespace) -> int:
    import logging

    from app.commands.serve import serve
    from app.logs import configure_logging

    configure_logging(config.log_level)
    log_unknown_variables(logging.getLogger("hub.serve"))
    serve(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
