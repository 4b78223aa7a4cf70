"""Reads what reports say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from app.database.pool import Connection
from app.domain.notify.items import Item
from app.domain.notify.report import DiskUse, Moved, NeverGood, Report, RunCounts
from app.store.outbox import ITEM_COLUMNS
from app.store.sql import load_queries

SQL = load_queries("reports", item=ITEM_COLUMNS)

MOST_LISTED = 10  # of each list


def read_report(conn: Connection, from_at: datetime, to_at: datetime) -> Report:
    """What a report of this time says; what is open and how full disks are, as it is now."""
    params = {"from_at": from_at, "to_at": to_at, "limit": MOST_LISTED}

    def read(name: str, kind: type[Any]) -> list[Any]:
        with conn.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(SQL[name], params).fetchall()

    with conn.cursor(row_factory=dict_row) as cursor:
        counts = cursor.execute(SQL["count_items"], params).fetchone()
    assert counts is not None
    return Report(
        from_at,
        to_at,
        runs=read("count_runs", RunCounts),
        never_good=read("read_never_good", NeverGood),
        changes=read("read_changes", Item),
        worst=read("read_worst", Item),
        repositories=read("read_repositories", Moved),
        disks=read("read_disks", DiskUse),
        **counts,
    )
