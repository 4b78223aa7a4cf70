"""Vacuums tables of the embedded engine, in autocommit."""

from __future__ import annotations

from app.database.pool import Connection
from app.store.sql import load_queries

SQL = load_queries("vacuum")


def read_refresh_logs(conn: Connection) -> list[str]:
    """The qualified names of TimescaleDB's tables that every refresh rewrites."""
    return [name for (name,) in conn.execute(SQL["read_refresh_logs"], {})]


def should_analyse(conn: Connection, table: str, every_seconds: int) -> bool:
    """Whether the table was never analysed, or longer than `every_seconds` ago."""
    params = {"every_seconds": every_seconds, "table": table}
    row = conn.execute(SQL["should_analyse"], params).fetchone()
    return row is not None and bool(row[0])


def vacuum(conn: Connection, table: str) -> None:
    """Vacuum one table."""
    conn.execute(f"VACUUM {table}".encode())


def analyse(conn: Connection, table: str) -> None:
    """Analyse one table, from a sample of at most 3,000 rows."""
    with conn.transaction():
        conn.execute(SQL["use_small_samples"])
        conn.execute(f"ANALYZE {table}".encode())
