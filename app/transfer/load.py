"""Puts an export into an empty database of the same schema; what was begun is continued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from psycopg import sql

from app.config import Config
from app.database.pool import Connection, Database, translated_errors
from app.domain.rollups import RAW_SERIES
from app.errors import ConfigError
from app.store.rollups import SQL as ROLLUP_SQL
from app.transfer.manifest import Manifest, Part, read_manifest
from app.transfer.rows import Rows, load, newest_migration
from app.transfer.tables import TABLES

Progress = Callable[[str, int], None]

_LEDGER = """
CREATE TABLE IF NOT EXISTS imported_parts (export_id text NOT NULL, file text PRIMARY KEY)
"""
# Identity columns go on after the highest number.
_ADVANCE = """
SELECT setval(pg_get_serial_sequence({name}, {column}), greatest(max({identifier}), 1))
FROM {table} HAVING max({identifier}) IS NOT NULL
"""
_IDENTITIES = """
SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attidentity <> ''
"""


def import_all(database: Database, config: Config, folder: Path, progress: Progress) -> Manifest:
    """Load every part of a complete export, each in a transaction, and check it.

    Rollups are refreshed by the next run of their task. Raises ConfigError if the export and the
    database do not fit, DatabaseUnavailable and OSError.
    """
    manifest = read_manifest(folder)
    with database.connect(autocommit=True) as conn, translated_errors():
        done = _begin(conn, manifest)
        for part in manifest.parts:
            if part.file not in done:
                with conn.transaction():
                    _load(conn, config, manifest, folder, part)
                progress(part.table, part.rows)
        with conn.transaction():
            _finish(conn)
    return manifest


def _begin(conn: Connection, manifest: Manifest) -> set[str]:
    """The files that an earlier run has loaded. Raises ConfigError."""
    if manifest.filters:
        raise ConfigError(
            "This export was limited by --since or --job: only a whole one can be imported."
        )
    here = newest_migration(conn)
    if here != manifest.schema:
        raise ConfigError(
            f"The export was made at {manifest.schema}, and this database is at {here}: bring both "
            "hubs to the same version."
        )
    with conn.transaction():
        conn.execute(_LEDGER)
        known = conn.execute("SELECT export_id, file FROM imported_parts").fetchall()
        if not known and _is_used(conn):
            raise ConfigError(
                "This database has jobs or nodes already: import into a new, empty one."
            )
        if any(export_id != manifest.export_id for export_id, _ in known):
            raise ConfigError("Another import was not completed here: complete that one first.")
        for series, edge in manifest.edges.items():
            conn.execute(ROLLUP_SQL["advance_edge"], {"series": series, "edge": edge})
    return {file for _, file in known}


def _is_used(conn: Connection) -> bool:
    row = conn.execute("SELECT EXISTS (SELECT FROM jobs) OR EXISTS (SELECT FROM nodes)").fetchone()
    return row is not None and bool(row[0])


def _load(conn: Connection, config: Config, manifest: Manifest, folder: Path, part: Part) -> None:
    table = _table_of(conn, part.table)
    rows = Rows(table, manifest.columns[part.table], _loaded(part))
    load(conn, config, rows, folder / part.file)
    found = rows.count(conn)
    if found != (part.rows, part.checksum):
        raise ConfigError(
            f"{folder / part.file} has {part.rows} rows with the checksum {part.checksum}, and "
            f"{found[0]} rows with {found[1]} are in the database: the file was changed. "
            "Nothing of it was kept."
        )
    conn.execute(
        "INSERT INTO imported_parts (export_id, file) VALUES (%s, %s)",
        [manifest.export_id, part.file],
    )


def _loaded(part: Part) -> sql.Composable:
    """The rows of a part, once they are loaded: of its time, or of this transaction."""
    if part.start is None:
        return sql.SQL("xmin = pg_current_xact_id()::xid")
    column = sql.Identifier("time" if part.table in RAW_SERIES else "bucket")
    return sql.SQL("{column} >= {start} AND {column} < {end}").format(
        column=column, start=sql.Literal(part.start), end=sql.Literal(part.end)
    )


def _table_of(conn: Connection, name: str) -> sql.Identifier:
    """The table of that name, or the one in which a rollup of that name keeps its buckets."""
    row = conn.execute(ROLLUP_SQL["read_materialization"], {"rollup": name}).fetchone()
    return sql.Identifier(name) if row is None else sql.Identifier(*row)


def _finish(conn: Connection) -> None:
    """Let new rows have new numbers, and forget what the triggers noted of the loaded rows."""
    for table in TABLES:
        for (column,) in conn.execute(_IDENTITIES, [table]).fetchall():
            conn.execute(
                sql.SQL(_ADVANCE).format(
                    name=sql.Literal(table),
                    column=sql.Literal(column),
                    identifier=sql.Identifier(column),
                    table=sql.Identifier(table),
                )
            )
    conn.execute("DELETE FROM changed_runs")
    conn.execute("DELETE FROM attention_changes")
    conn.execute("DROP TABLE imported_parts")
