"""The database for commands that run while the hub is running, or while it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import psycopg

from app.config import Config
from app.database.engine import EmbeddedEngine, has_database
from app.database.pool import Database
from app.errors import ConfigError, DatabaseUnavailable, first_line


@contextmanager
def attached_database(
    config: Config, *, as_owner: bool = False, creates: bool = False
) -> Iterator[Database]:
    """The hub's database, not opened: a server, a running engine, or an engine started for this.

    Raises EngineError if the embedded database can neither be reached nor started, ConfigError if
    there is none in the data directory, unless it `creates` one. In the block, a missing table or
    right raises ConfigError.
    """
    find = Database.of_owner if as_owner else Database.from_config
    is_running = not config.is_embedded or _is_reachable(config)
    if not is_running and not creates and not has_database(config.data_dir):
        raise ConfigError(
            f"HUB_DATA_DIR is {config.data_dir}, where there is no database: set it to the hub's "
            "data directory. `python -m app serve` creates a database."
        )
    with nullcontext() if is_running else EmbeddedEngine(config.data_dir), _schema_errors():
        yield find(config)


@contextmanager
def _schema_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UndefinedTable as exc:
        raise ConfigError(
            "The database's schema is not up to date: run `python -m app migrate`."
        ) from exc
    except psycopg.errors.InsufficientPrivilege as exc:
        raise ConfigError(
            f"The database refuses this to DATABASE_URL's user ({first_line(exc)}): "
            "`python -m app doctor` shows the reason. If this version of the hub is new, run "
            "`python -m app migrate` first."
        ) from exc


def _is_reachable(config: Config) -> bool:
    """Whether the embedded database runs; a hub that was killed leaves the address files behind."""
    try:
        Database.from_config(config).connect().close()
    except (ConfigError, DatabaseUnavailable):
        return False
    return True
