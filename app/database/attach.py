"""The database for commands that run while the hub is running, or while it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.pool import Database
from app.errors import ConfigError, DatabaseUnavailable


@contextmanager
def attached_database(config: Config, *, as_owner: bool = False) -> Iterator[Database]:
    """The hub's database, not opened: a server, a running engine, or an engine started for this.

    Raises EngineError if the embedded database can neither be reached nor started.
    """
    find = Database.of_owner if as_owner else Database.from_config
    if not config.is_embedded or _is_reachable(config):
        yield find(config)
        return
    with EmbeddedEngine(config.data_dir):
        yield find(config)


def _is_reachable(config: Config) -> bool:
    """Whether the embedded database runs; a hub that was killed leaves the address files behind."""
    try:
        Database.from_config(config).connect().close()
    except (ConfigError, DatabaseUnavailable):
        return False
    return True
