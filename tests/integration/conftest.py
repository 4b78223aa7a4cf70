"""Connections as tasks and commands have them, and those of analysts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.numeric import FloatLoader

from app.commands import repair
from app.config import Config
from app.database.addresses import ENGINE_FILE, owner_dsn
from app.database.pool import Connection, Database
from app.store import rollups
from tests.analyst_site import Analyst, empty_site, fill_site, keep_silences
from tests.chunks import DAY


@pytest.fixture(autouse=True)
def _refresh_in_large_steps(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day at once, unless the test is about `steps`: tests store few updates of many days, and
    each step takes the engine 0.1 s.
    """
    if not request.node.get_closest_marker("steps"):
        for module in (rollups, repair):
            monkeypatch.setattr(module, "REFRESH_STEP", DAY)


@pytest.fixture
def database(request: pytest.FixtureRequest, database: Database, owner: Database) -> Database:
    """With the hub's rights; with the owner's where a module is marked `owner`."""
    return owner if request.node.get_closest_marker("owner") else database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Each statement is a transaction of its own."""
    with database.connect(autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="module")
def site(open_owner: Database, config: Config) -> Iterator[Database]:
    """A database with a site's week in it. Tests of a module read it and leave it as it is."""
    empty_site(open_owner)
    fill_site(open_owner, config)
    yield open_owner
    empty_site(open_owner)


@pytest.fixture
def analyst(site: Database, config: Config) -> Iterator[Analyst]:
    """An analyst's own connection, and live jobs as silent as they were at first."""
    keep_silences(site)
    if config.database_url is None:
        dsn = json.loads((config.data_dir / ENGINE_FILE).read_text())["analyst_dsn"]
        options: dict[str, Any] = {"prepare_threshold": None}
    else:
        dsn, options = owner_dsn(config), {"options": "-c timezone=UTC -c role=analyst"}
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row, **options) as conn:
        conn.adapters.register_loader("numeric", FloatLoader)
        assert conn.execute("SELECT current_user AS name").fetchone() == {"name": "analyst"}
        yield conn
