"""SQLite's errors, by result code and, as before Python 3.11, by text."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry_client.queue.sqlite_errors import code_of_text, is_busy, is_corrupt, result_code


def locked(path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        sqlite3.connect(path, timeout=0).execute("CREATE TABLE t (a)")
    finally:
        holder.close()


def table_locked(path: Path) -> None:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("CREATE TABLE t (a)")
    conn.execute("INSERT INTO t VALUES (1)")
    conn.execute("INSERT INTO t VALUES (2)")
    reading = conn.execute("SELECT * FROM t")
    reading.fetchone()
    conn.execute("DROP TABLE t")


def full(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE t (a)")
    conn.execute("PRAGMA max_page_count=3")
    conn.execute("INSERT INTO t VALUES (zeroblob(1000000))")


def read_only(path: Path) -> None:
    sqlite3.connect(path).execute("CREATE TABLE t (a)")
    conn = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    conn.execute("INSERT INTO t VALUES (1)")


def not_there(path: Path) -> None:
    sqlite3.connect(path / "below").execute("SELECT 1")


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 100)
    sqlite3.connect(path).execute("SELECT * FROM sqlite_master")


def malformed(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE t (a)")
    conn.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
    conn.commit()
    conn.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    sqlite3.connect(path).execute("SELECT * FROM t").fetchall()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (locked, sqlite3.SQLITE_BUSY),
        (table_locked, sqlite3.SQLITE_LOCKED),
        (full, sqlite3.SQLITE_FULL),
        (read_only, sqlite3.SQLITE_READONLY),
        (not_there, sqlite3.SQLITE_CANTOPEN),
        (not_a_database, sqlite3.SQLITE_NOTADB),
        (malformed, sqlite3.SQLITE_CORRUPT),
    ],
)
def test_text_and_code_say_the_same(
    tmp_path: Path, cause: Callable[[Path], None], code: int
) -> None:
    with pytest.raises(sqlite3.Error) as caught:
        cause(tmp_path / "file.db")
    assert result_code(caught.value) == code_of_text(str(caught.value)) == code
    assert is_busy(caught.value) == (code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
    assert is_corrupt(caught.value) == (code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def test_an_unknown_error_has_no_code() -> None:
    assert result_code(sqlite3.OperationalError("near SELCT: syntax error")) == 0
