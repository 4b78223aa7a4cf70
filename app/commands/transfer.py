"""`python -m app export DIR` and `import DIR`: all that a hub keeps, into another database."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.commands.terminal import instant, tell
from app.config import Config
from app.database.attach import attached_database
from app.database.migrate import migrate
from app.errors import ConfigError
from app.transfer.export import Filters, export
from app.transfer.load import import_all
from app.transfer.manifest import Manifest


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.add_argument("dir", metavar="DIR", type=Path, help="a new directory, or one to continue")
    parser.add_argument(
        "--since", metavar="TIME", type=instant, help="only series from then on; not to be imported"
    )
    parser.add_argument(
        "--job", metavar="JOB_ID", help="only this job, with all its runs; not to be imported"
    )


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `import`."""
    parser.add_argument("dir", metavar="DIR", type=Path, help="the directory of a whole export")


def run_export(config: Config, args: argparse.Namespace) -> int:
    """Write the files; the hub may run."""
    filters = Filters(since=args.since, job_id=args.job)
    with (
        attached_database(config, as_owner=True) as database,
        _file_errors(),
        _progress() as progress,
    ):
        manifest = export(database, args.dir, filters, progress)
    tell(f"Exported {_describe(manifest)} to {args.dir}.")
    return 0


def run_import(config: Config, args: argparse.Namespace) -> int:
    """Load the files into an empty database, which is created and migrated if needed."""
    with (
        attached_database(config, as_owner=True, creates=True) as database,
        _file_errors(),
        _progress() as progress,
    ):
        with database.connect(autocommit=True) as conn:
            migrate(conn)
        manifest = import_all(database, config, args.dir, progress)
    tell(f"Imported {_describe(manifest)}. Rollups are complete once the hub has run for a minute.")
    return 0


def _describe(manifest: Manifest) -> str:
    rows = sum(part.rows for part in manifest.parts)
    return f"{rows:,} rows in {len(manifest.parts):,} files"


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        name = exc.filename or "a file"
        raise ConfigError(f"{name} cannot be read or written: {exc.strerror or exc}.") from exc


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """On a terminal, a line that counts the rows."""
    total = 0

    def tell_rows(table: str, rows: int) -> None:
        nonlocal total
        total += rows
        if sys.stderr.isatty():
            print(f"\r\x1b[K{total:,} rows ({table})", end="", file=sys.stderr, flush=True)

    yield tell_rows
    if total and sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
