"""The pool and its connections: what a server may do to them."""

from __future__ import annotations

import socket

import pytest

from app.database.pool import Database
from app.errors import DatabaseUnavailable


def test_database_that_may_only_be_read_counts_as_away(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable), database.transaction() as conn:
        conn.execute("SET TRANSACTION READ ONLY")
        conn.execute("DELETE FROM ingest_beats")
    assert conn.closed, "it may have been opened so, and would stay so in the pool"
    with database.transaction() as conn:
        conn.execute("DELETE FROM ingest_beats")


@pytest.mark.server
def test_server_that_vanishes_is_noticed(database: Database) -> None:
    with database.connect() as conn, socket.socket(fileno=conn.pgconn.socket) as peer:
        idle = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        interval = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        count = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        unanswered = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        peer.detach()
    assert idle + interval * count <= 15
    assert unanswered <= 15_000


@pytest.mark.server
def test_statements_are_not_compiled(database: Database) -> None:
    """For the gaps of a live job of 24 h that took three times as long as the statement."""
    with database.reading() as pooled, database.connect() as own:
        for conn in (pooled, own):
            assert conn.execute("SHOW jit").fetchone() == ("off",)
            assert conn.execute("SHOW timezone").fetchone() == ("UTC",)


def test_an_address_has_its_own_way(database: Database) -> None:
    own = Database("postgresql://x@192.0.2.1/x?keepalives_idle=60", is_embedded=False)
    assert own._options["keepalives_idle"] == "60"
    assert own._options["keepalives_count"] == 3
