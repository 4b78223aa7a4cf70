"""Options, tables and transactions that several commands share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from app.config import Config
from app.database.attach import attached_database
from app.database.pool import Connection
from app.errors import ConfigError, InvalidInput

_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@contextmanager
def transaction(config: Config) -> Iterator[Connection]:
    """A transaction in the hub's database, whether the hub is running or not."""
    with attached_database(config) as database, database.connect() as conn:
        yield conn


def option_name(field: str) -> str:
    """The option for a field of a body."""
    return f"--{field.replace('_', '-')}"


@contextmanager
def options_named() -> Iterator[None]:
    """In the block, InvalidInput becomes a ConfigError that names the option."""
    try:
        yield
    except InvalidInput as exc:
        field, reasons = next(iter(exc.errors.items()), ("", [str(exc)]))
        name = field.rpartition(".")[2]
        raise ConfigError(f"{option_name(name)}: {reasons[0]}" if name else reasons[0]) from exc


def print_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Print lines in columns, the first as their heads."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(text.rstrip())


def tell(sentence: str) -> None:
    """Say something to the user, on standard error: standard output is for scripts."""
    print(sentence, file=sys.stderr)


def duration_up_to(longest: timedelta) -> Callable[[str], timedelta]:
    """The type of an option with a time such as 90d or 12h."""

    def duration(text: str) -> timedelta:
        found = _DURATION.fullmatch(text)
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r} must be a time such as 90d, 12h or 4w")
        length = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if length > longest:
            raise argparse.ArgumentTypeError(f"{text!r} is longer than {longest.days}d")
        return length

    return duration


def instant(text: str) -> datetime:
    """The type of an option with a time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2026-03-10T12:00:00Z"
        ) from exc
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset from UTC: write {text}Z for UTC")
    return found
