"""Migrations: from empty, twice, stopped by an edited file, and clear about what a server lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database.migrate import (
    MIGRATIONS_DIR,
    migrate,
    pending,
    read_migrations,
    require_timescaledb,
    server_complaint,
)
from app.database.pool import Connection, Database
from app.errors import MigrationError

pytestmark = pytest.mark.owner


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection whose search path leads to an empty schema with a ledger of its own."""
    conn = database.connect(autocommit=True)
    conn.execute("CREATE SCHEMA scratch")
    conn.execute("SET search_path = scratch, public")
    conn.execute("CREATE TABLE schema_migrations (LIKE public.schema_migrations INCLUDING ALL)")
    yield conn
    conn.execute("SET search_path = public")
    conn.execute("DROP SCHEMA scratch CASCADE")
    conn.close()


def write(directory: Path, name: str, sql: str) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text(sql)


def tables(conn: Connection) -> set[str]:
    rows = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'scratch'")
    return {row[0] for row in rows} - {"schema_migrations"}


def test_applied_once_in_order(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "0002_b.sql", "CREATE TABLE b AS SELECT * FROM a")
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int); INSERT INTO a VALUES (1)")
    assert pending(conn, tmp_path) == ["0001_a.sql", "0002_b.sql"]
    assert migrate(conn, tmp_path) == ["0001_a.sql", "0002_b.sql"]
    assert tables(conn) == {"a", "b"}
    assert migrate(conn, tmp_path) == [] == pending(conn, tmp_path)


def test_edited_file_stops_it(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    migrate(conn, tmp_path)
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x bigint)")
    write(tmp_path, "0002_b.sql", "CREATE TABLE b (x int)")
    with pytest.raises(MigrationError, match=r"0001_a.sql was edited"):
        migrate(conn, tmp_path)
    assert tables(conn) == {"a"}


def test_a_file_that_replaces_an_applied_text_is_applied_already(
    conn: Connection, tmp_path: Path
) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    migrate(conn, tmp_path)
    (applied,) = read_migrations(tmp_path)
    write(tmp_path, "0001_a.sql", f"-- replaces: {applied.checksum}\nCREATE TABLE a (x integer)")
    assert migrate(conn, tmp_path) == [] == pending(conn, tmp_path)


def test_database_of_a_newer_hub_stops_it(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "SELECT 1")
    write(tmp_path, "0002_b.sql", "SELECT 1")
    migrate(conn, tmp_path)
    (tmp_path / "0002_b.sql").unlink()
    with pytest.raises(MigrationError, match=r"0002_b.sql.*newer"):
        migrate(conn, tmp_path)


def test_failed_file_leaves_nothing_behind(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int); SELECT 1 / 0")
    with pytest.raises(MigrationError, match=r"0001_a.sql failed: division by zero"):
        migrate(conn, tmp_path)
    assert tables(conn) == set()
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    assert migrate(conn, tmp_path) == ["0001_a.sql"]


@pytest.mark.server
def test_open_transaction_of_another_session_is_not_waited_for(
    conn: Connection, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.migrate.LOCK_WAIT_SECONDS", 1)
    monkeypatch.setattr("app.database.migrate.LOCK_REST_SECONDS", 0)
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    migrate(conn, tmp_path)
    write(tmp_path, "0002_b.sql", "ALTER TABLE a ADD y int")
    with database.transaction() as analyst:
        analyst.execute("SELECT * FROM scratch.a")
        with pytest.raises(MigrationError, match=r"0002_b.sql waits for a table .* try again"):
            migrate(conn, tmp_path)
    assert migrate(conn, tmp_path) == ["0002_b.sql"]
    assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_repeatable_is_applied_again_when_it_changes(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT 1 AS x")
    assert migrate(conn, tmp_path) == ["repeatable/v.sql"]
    assert migrate(conn, tmp_path) == []
    write(tmp_path, "repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT 2 AS x")
    assert migrate(conn, tmp_path) == ["repeatable/v.sql"]
    assert conn.execute("SELECT x FROM v").fetchone() == (2,)


def test_statement_that_refuses_a_transaction(conn: Connection, tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "CREATE TABLE a (x int)")
    write(tmp_path, "0002_vacuum.sql", "-- transaction: off\nVACUUM a")
    assert migrate(conn, tmp_path) == ["0001_a.sql", "0002_vacuum.sql"]


@pytest.mark.parametrize("names", [["1_a.sql"], ["0001-a.sql"], ["0001_a.sql", "0001_b.sql"]])
def test_bad_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path, name, "SELECT 1")
    with pytest.raises(MigrationError):
        read_migrations(tmp_path)


def test_our_own_files_are_well_named_and_applied(database: Database) -> None:
    assert [m.name[:4] for m in read_migrations() if not m.is_repeatable] == [
        f"{n + 1:04}" for n in range(len(list(MIGRATIONS_DIR.glob("*.sql"))))
    ]
    with database.reading() as conn:
        assert pending(conn) == []


@pytest.mark.parametrize(
    ("version", "licence", "sentence"),
    [
        (None, "", "has no TimescaleDB extension"),
        ("2.22.1", "timescale", "2.22.1 is too old: the hub needs 2.23 or newer"),
        ("2.23.1", "apache", "timescaledb.license = 'apache'"),
    ],
)
def test_server_that_lacks_something_is_told_so(
    version: str | None, licence: str, sentence: str
) -> None:
    assert sentence in (server_complaint(version, licence) or "")


@pytest.mark.parametrize("version", ["2.23.0", "2.23.0-dev", "3.0.0"])
def test_new_enough_server_is_accepted(version: str) -> None:
    assert server_complaint(version, "timescale") is None


def test_the_server_at_hand_is_accepted(database: Database) -> None:
    with database.reading() as conn:
        require_timescaledb(conn)
