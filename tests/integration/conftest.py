"""Connections as tasks and commands have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database.pool import Connection, Database


@pytest.fixture
def database(request: pytest.FixtureRequest, database: Database, owner: Database) -> Database:
    """With the hub's rights; with the owner's where a module is marked `owner`."""
    return owner if request.node.get_closest_marker("owner") else database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Each statement is a transaction of its own."""
    with database.connect(autocommit=True) as conn:
        yield conn
