"""Reads items of attention, and notes that someone has seen one; the caller commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg.rows import class_row

from app.database.pool import Connection
from app.store.sql import load_queries

_COLUMNS = """id, kind, severity, rank, subject, series_id, job_of(job_id) AS job_id,
CASE WHEN job_id IS NOT NULL THEN run_of(job_id) END AS run, node_id, vm_name, job_type,
repository_id, since, noticed_at, until, summary, advice, evidence, acknowledged_at,
acknowledged_by, note"""

SQL = load_queries("attention", columns=_COLUMNS)


@dataclass(frozen=True)
class Item:
    """A stored item. `until` is None while it is open."""

    id: int
    kind: str
    severity: str
    rank: int  # of the severity, 1: the worst
    subject: str
    series_id: int | None
    job_id: str | None
    run: int | None
    node_id: str | None
    vm_name: str | None
    job_type: str | None
    repository_id: str | None
    since: datetime
    noticed_at: datetime
    until: datetime | None
    summary: str
    advice: str
    evidence: dict[str, Any]
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Filters for items; None does not restrict. `state`: open, ended or all."""

    state: str = "open"
    kinds: Sequence[str] | None = None
    severities: Sequence[str] | None = None
    is_acknowledged: bool | None = None
    vm_name: str | None = None
    job_type: str | None = None
    repository_id: str | None = None
    node_id: str | None = None
    job_id: str | None = None
    series_id: int | None = None


Key = tuple[bool, int, datetime, int]  # whether it has ended, rank, since, id

_STATES: dict[str, LiteralString] = {
    "open": "NOT is_ended",
    "ended": "is_ended",
    "all": "true",
}
_CONDITIONS: dict[str, LiteralString] = {
    "kinds": "kind = ANY(%(kinds)s::text[])",
    "severities": "severity = ANY(%(severities)s::text[])",
    "is_acknowledged": "(acknowledged_at IS NOT NULL) = %(is_acknowledged)s",
    "vm_name": "vm_name = %(vm_name)s",
    "job_type": "job_type = %(job_type)s",
    "repository_id": "repository_id = %(repository_id)s",
    "node_id": "node_id = %(node_id)s",
    "job_id": "job_of(job_id) = %(job_id)s",
    "series_id": "series_id = %(series_id)s",
}
_AFTER: LiteralString = (
    "(is_ended, rank, since, id)"
    " > (%(ended)s, %(rank)s::smallint, %(since)s::timestamptz, %(id)s::bigint)"
)


def list_items(
    conn: Connection, wanted: ItemFilter, limit: int, after: Key | None = None
) -> list[Item]:
    """At most `limit` items: open ones first, by severity, then the oldest first."""
    chosen: list[LiteralString] = [_STATES[wanted.state]]
    values: dict[str, Any] = {"limit": limit}
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            chosen.append(condition)
            values[name] = list(value) if isinstance(value, tuple) else value
    if after is not None:
        chosen.append(_AFTER)
        values |= dict(zip(("ended", "rank", "since", "id"), after, strict=True))
    query = SQL["list_items"].replace("{conditions}", " AND ".join(chosen))
    with conn.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query, values).fetchall()


def read_item(conn: Connection, item_id: int) -> Item | None:
    """One item; None if unknown."""
    with conn.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(SQL["read_item"], {"id": item_id}).fetchone()


def acknowledge(conn: Connection, item_id: int, by: str, note: str | None) -> bool:
    """Note who has seen an item; the first stays. False if it is unknown."""
    params = {"id": item_id, "by": by, "note": note}
    return conn.execute(SQL["acknowledge"], params).rowcount == 1
