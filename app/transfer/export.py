"""Writes all that a hub keeps into files, while the hub runs.

The parts of the past are written one after the other, each in a short transaction. The last
transaction counts the rows of all parts, writes again those to which late updates have come, and
writes the tables. So everything is as it was in that transaction, which on the embedded engine
keeps others out for as long as it lasts.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg import sql

from app.clock import isoformat
from app.database.pool import Connection, Database, translated_errors
from app.domain.rollups import RAW_SERIES, ROLLUPS
from app.errors import ConfigError
from app.store.history import use_one_snapshot
from app.store.rollups import read_edges
from app.transfer.manifest import MANIFEST, Ledger, Manifest, Part
from app.transfer.rows import Rows, columns_of, newest_migration
from app.transfer.tables import PRIVATE, TABLES

HOUR = timedelta(hours=1)
# The embedded engine holds a part in memory until it is read.
PART_ROWS = 500_000
PAGE_BLOCKS = 5_000  # of 8 KiB

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Filters:
    """What an export is limited to; then it is for analysts and archives, and is not imported."""

    since: datetime | None = None
    job_id: str | None = None

    @property
    def tables(self) -> Sequence[str]:
        """The tables of the export."""
        return [table for table in TABLES if not self.describe() or table not in PRIVATE]

    def describe(self) -> dict[str, str]:
        """For the manifest."""
        return {
            **({} if self.since is None else {"since": self.since.isoformat()}),
            **({} if self.job_id is None else {"job_id": self.job_id}),
        }


@dataclass(frozen=True, slots=True)
class Slice:
    """A part that is still to be written: rows of a series from an instant until another."""

    table: str
    rows: Rows
    count: int
    start: datetime
    end: datetime

    @property
    def file(self) -> str:
        """The file's name, relative to the folder of the export."""
        return f"{self.table}/{self.start.astimezone(UTC):%Y-%m-%dT%H-%M-%S}.csv.gz"


def export(database: Database, folder: Path, filters: Filters, progress: Progress) -> Manifest:
    """Write an export into a folder, or continue one that was not completed.

    `progress` is called with each table and the rows of a part. Raises ConfigError,
    DatabaseUnavailable and OSError.
    """
    if (folder / MANIFEST).exists():
        raise ConfigError(f"{folder} has a complete export already: choose another directory.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = Ledger(folder)
    with database.connect(autocommit=True) as conn, translated_errors():
        for each in _slices(conn, filters):
            known = ledger.find(each.file)
            if known is None or known.rows != each.count:
                with conn.transaction():
                    use_one_snapshot(conn)
                    part = _write(conn, folder, each)
                ledger.add(part)
                progress(part.table, part.rows)
        with conn.transaction():
            use_one_snapshot(conn)
            manifest = _describe(conn, filters)
            for each in _slices(conn, filters):
                known = ledger.find(each.file)
                if known is None or known.rows != each.count:
                    known = _write(conn, folder, each)
                    ledger.add(known)
                    progress(known.table, known.rows)
                manifest.parts.append(known)
            for table in filters.tables:
                for part in _write_table(conn, folder, table, filters):
                    manifest.parts.append(part)
                    progress(part.table, part.rows)
    # Tables before series: their rows are there when the first chart is asked for.
    manifest.parts.sort(key=lambda part: part.table not in TABLES)
    manifest.write(folder)
    return manifest


def _describe(conn: Connection, filters: Filters) -> Manifest:
    names = (*TABLES, *RAW_SERIES, *(rollup.name for rollup in ROLLUPS))
    return Manifest(
        export_id=secrets.token_hex(16),
        schema=newest_migration(conn),
        exported_at=isoformat(datetime.now(UTC)),
        columns={name: columns_of(conn, name) for name in names},
        edges={series: edge.isoformat() for series, edge in read_edges(conn).items()},
        filters=filters.describe(),
    )


def _slices(conn: Connection, filters: Filters) -> Iterator[Slice]:
    """The parts of every series, and of the rollups where their sources have been dropped."""
    for series in RAW_SERIES:
        yield from _slices_of(conn, series, "time", filters, before=None)
    edges = read_edges(conn)
    for rollup in ROLLUPS:
        if (edge := edges.get(rollup.source)) is not None:
            yield from _slices_of(conn, rollup.name, "bucket", filters, before=edge)


def _slices_of(
    conn: Connection, table: str, column: str, filters: Filters, before: datetime | None
) -> Iterator[Slice]:
    step = HOUR if before is None else timedelta(days=30)
    limits: list[sql.Composable] = [sql.SQL("true")]
    if before is not None:
        limits.append(sql.SQL("{} < {}").format(sql.Identifier(column), sql.Literal(before)))
    if filters.since is not None:
        since = sql.Literal(filters.since)
        limits.append(sql.SQL("{} >= {}").format(sql.Identifier(column), since))
    columns = columns_of(conn, table)
    if filters.job_id is not None:
        if "job_id" not in columns:
            return
        job = sql.Literal(filters.job_id)
        limits.append(sql.SQL("job_of(job_id) = {}").format(job))
    limited = sql.SQL(" AND ").join(limits)
    counts = conn.execute(
        sql.SQL(
            "SELECT time_bucket({}, {}) AS start, count(*) FROM {} WHERE {} GROUP BY 1 ORDER BY 1"
        ).format(sql.Literal(step), sql.Identifier(column), sql.Identifier(table), limited)
    ).fetchall()
    for start, count in counts:
        pieces = math.ceil(count / PART_ROWS)
        for piece in range(pieces):
            first, last = (start + (piece + n) * step / pieces for n in (0, 1))
            where = sql.SQL("{} AND {} >= {} AND {} < {}").format(
                limited,
                sql.Identifier(column),
                sql.Literal(first),
                sql.Identifier(column),
                sql.Literal(last),
            )
            rows = Rows(sql.Identifier(table), columns, where)
            if pieces > 1:
                count, _ = rows.count(conn)
            yield Slice(table, rows, count, first, last)


def _write(conn: Connection, folder: Path, each: Slice) -> Part:
    rows, checksum = each.rows.count(conn)
    each.rows.write(conn, folder / each.file)
    times = each.start.isoformat(), each.end.isoformat()
    return Part(each.table, each.file, rows, checksum, *times)


def _write_table(conn: Connection, folder: Path, table: str, filters: Filters) -> Iterator[Part]:
    columns = columns_of(conn, table)
    limited: sql.Composable = sql.SQL("true")
    if filters.job_id is not None:
        if "job_id" not in columns:
            return
        limited = sql.SQL("job_of(job_id) = {}").format(sql.Literal(filters.job_id))
    row = conn.execute("SELECT pg_relation_size(%s::regclass) / 8192", [table]).fetchone()
    assert row is not None
    for first in range(0, max(1, row[0]), PAGE_BLOCKS):
        pages = sql.SQL("ctid >= {} AND ctid < {}").format(
            sql.Literal(f"({first},0)"), sql.Literal(f"({first + PAGE_BLOCKS},0)")
        )
        where = sql.SQL("{} AND {}").format(limited, pages)
        rows = Rows(sql.Identifier(table), columns, where)
        count, checksum = rows.count(conn)
        file = f"{table}/{first // PAGE_BLOCKS:08}.csv.gz"
        rows.write(conn, folder / file)
        yield Part(table, file, count, checksum)
