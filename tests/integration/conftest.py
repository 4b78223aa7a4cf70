"""Connections as tasks and commands have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database.pool import Connection, Database
from app.store import rollups
from tests.chunks import DAY


@pytest.fixture(autouse=True)
def _refresh_in_large_steps(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day at once, unless the test is about `steps`: tests store few updates of many days, and
    each step takes the engine 0.1 s.
    """
    if not request.node.get_closest_marker("steps"):
        monkeypatch.setattr(rollups, "REFRESH_STEP", DAY)


@pytest.fixture
def database(request: pytest.FixtureRequest, database: Database, owner: Database) -> Database:
    """With the hub's rights; with the owner's where a module is marked `owner`."""
    return owner if request.node.get_closest_marker("owner") else database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Each statement is a transaction of its own."""
    with database.connect(autocommit=True) as conn:
        yield conn
