"""`python -m app backup FILE`: copies the embedded database while the hub runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.commands.terminal import tell
from app.config import Config
from app.database.addresses import new_file
from app.database.attach import attached_database
from app.database.backup import write_backup
from app.errors import ConfigError

MIB = 1 << 20
REPORT_BYTES = 256 * MIB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("file", metavar="FILE", help="a new .tar.gz; - for standard output")


def run(config: Config, args: argparse.Namespace) -> int:
    """Write the backup. The file is there under its name only if it is complete."""
    if not config.is_embedded:
        raise ConfigError(
            "DATABASE_URL is set: back the server up with its own tools, such as pg_basebackup or "
            "pgBackRest. This command copies the embedded database."
        )
    target = None if args.file == "-" else Path(args.file)
    if target is not None and target.exists():
        raise ConfigError(f"{target} exists: choose another name, or move it away.")
    with (
        attached_database(config, as_owner=True) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            if target is None:
                copied = write_backup(conn, config.data_dir, sys.stdout.buffer, _Reporter())
                sys.stdout.buffer.flush()
            else:
                with new_file(target) as file:
                    copied = write_backup(conn, config.data_dir, file, _Reporter())
        except OSError as exc:
            raise ConfigError(f"{args.file} cannot be written: {exc.strerror or exc}.") from exc
    size = "" if target is None else f", {target.stat().st_size // MIB} MiB compressed"
    tell(f"Copied {copied.files} files, {copied.bytes // MIB} MiB{size}.")
    return 0


class _Reporter:
    """Tells on a terminal how much has been copied, now and then."""

    def __init__(self) -> None:
        self._copied = self._told = 0

    def __call__(self, size: int) -> None:
        self._copied += size
        if self._copied - self._told >= REPORT_BYTES and sys.stderr.isatty():
            self._told = self._copied
            tell(f"{self._copied // MIB} MiB copied")
