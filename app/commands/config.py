"""`python -m app config`: shows the settings, those that operators need first."""

from __future__ import annotations

import argparse
import sys
from dataclasses import Field, fields
from typing import Any

from app.config import Config, is_set
from app.database.addresses import without_password

ADDRESSES = ("DATABASE_URL", "HUB_OWNER_URL", "HUB_READ_URL")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--all", action="store_true", help="show the settings for tuning as well")


def run(config: Config, args: argparse.Namespace) -> int:
    """Print a line for each setting: variable, value, source and meaning.

    A setting for tuning is shown with `--all`, or if it is set.
    """
    rows = []
    for setting in fields(config):
        variable = setting.metadata["variable"]
        if args.all or is_set(variable) or not setting.metadata["is_tuning"]:
            value = _shown(setting, getattr(config, setting.name))
            source = "environment" if is_set(variable) else "default"
            rows.append((variable, value, source, setting.metadata["meaning"]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        print(f"{cells}  {row[3]}")
    if hidden := len(fields(config)) - len(rows):
        print(f"{hidden} more are for tuning: `python -m app config --all`.", file=sys.stderr)
    return 0


def _shown(setting: Field[Any], value: object) -> str:
    if value is None:
        return "-"
    if setting.metadata["is_secret"]:
        return "***"
    is_address = setting.metadata["variable"] in ADDRESSES
    return without_password(str(value)) if is_address else str(value)
