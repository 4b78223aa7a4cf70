"""Rows of a table as CSV, out of the database and into it; the caller commits."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from app.config import Config
from app.database.lock import DATABASE_FOLDER
from app.database.pool import Connection

GZIP_LEVEL = 1
_CSV = sql.SQL("(FORMAT csv, HEADER)")
# Where the embedded engine reads from: a file in its own directory, as it has no COPY FROM STDIN.
_HANDED_OVER = "import.csv"

# In the order of the table, without what the database computes itself.
_COLUMNS = """
SELECT attname
FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
# The same rows have the same sum, in whatever order they are stored.
_CHECKSUM = "count(*), coalesce(sum(hashtextextended(part::text, 0)::numeric), 0)::text"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table; `where` with its parameters limits them. `table` may have a schema."""

    table: sql.Identifier
    columns: list[str]
    where: sql.Composable

    @property
    def _select(self) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns)), self.table, self.where
        )

    def count(self, conn: Connection) -> tuple[int, str]:
        """How many, and the sum of their checksums."""
        query = sql.SQL("SELECT {} FROM ({}) AS part").format(sql.SQL(_CHECKSUM), self._select)
        row = conn.execute(query).fetchone()
        assert row is not None
        return row[0], row[1]

    def write(self, conn: Connection, path: Path) -> None:
        """Write them to a file that is there once it is complete. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".new")
        statement = sql.SQL("COPY ({}) TO STDOUT {}").format(self._select, _CSV)
        with (
            gzip.open(unfinished, "wb", compresslevel=GZIP_LEVEL) as out,
            conn.cursor().copy(statement) as copy,
        ):
            for piece in copy:
                out.write(piece)
        unfinished.replace(path)


def newest_migration(conn: Connection) -> str:
    """The name of the last migration that was applied: what the columns are like."""
    row = conn.execute(
        "SELECT coalesce(max(name), '') FROM schema_migrations WHERE name NOT LIKE 'repeatable/%'"
    ).fetchone()
    assert row is not None
    return str(row[0])


def columns_of(conn: Connection, table: str) -> list[str]:
    """The columns of a table or view that can be written."""
    return [name for (name,) in conn.execute(_COLUMNS, [table])]


def load(conn: Connection, config: Config, rows: Rows, path: Path) -> None:
    """Add the rows of a file to a table. Raises OSError, also for a damaged file."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    into = sql.SQL("COPY {} ({}) FROM").format(rows.table, names)
    with gzip.open(path, "rb") as file:
        if config.is_embedded:
            with _handed_over(conn, config, file) as place:
                conn.execute(into + sql.SQL(" {} {}").format(place, _CSV))
            return
        with conn.cursor().copy(into + sql.SQL(" STDIN {}").format(_CSV)) as copy:
            while piece := file.read(1 << 18):
                copy.write(piece)


@contextmanager
def _handed_over(conn: Connection, config: Config, file: Any) -> Iterator[sql.Literal]:
    path = config.data_dir / DATABASE_FOLDER / _HANDED_OVER
    try:
        with path.open("wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
        row = conn.execute("SELECT current_setting('data_directory')").fetchone()
        assert row is not None
        yield sql.Literal(f"{row[0]}/{_HANDED_OVER}")
    finally:
        path.unlink(missing_ok=True)
