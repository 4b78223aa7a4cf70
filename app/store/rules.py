"""The rules and the maintenance windows; the caller commits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from app.database.pool import Connection
from app.domain.rules import (
    CONDITIONS,
    SETTINGS,
    Maintenance,
    MaintenanceWindow,
    Match,
    Rule,
    RuleSet,
    Schedule,
)
from app.errors import Conflict
from app.store.sql import load_queries

SQL = load_queries("rules")

MOST_RULES = 1_000  # which every sweep reads
MOST_WINDOWS = 1_000  # open or planned


def read_rules(conn: Connection) -> RuleSet:
    """Every rule."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return RuleSet([_rule(row) for row in cursor.execute(SQL["read_rules"])])


def put_rule(conn: Connection, match: Match, settings: dict[str, Any]) -> tuple[Rule, bool]:
    """Create the rule with these conditions, or replace its settings; it keeps its id.

    Returns the rule, and whether it is new. Raises Conflict if there are MOST_RULES.
    """
    schedule: Schedule | None = settings.get("schedule")
    params = {
        **{name: getattr(match, name) for name in CONDITIONS},
        **{name: settings.get(name) for name in SETTINGS},
        "schedule": schedule.expression if schedule else None,
        "timezone": schedule.timezone if schedule else None,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["put_rule"], params).fetchone()
    assert row is not None
    if row["is_new"] and row["rules"] >= MOST_RULES:
        raise Conflict(f"There are {MOST_RULES} rules already: delete some, or use patterns.")
    return _rule(row), row["is_new"]


def delete_rule(conn: Connection, rule_id: int) -> Rule | None:
    """Delete a rule and return it; None: there is none with this id."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["delete_rule"], {"id": rule_id}).fetchone()
    return None if row is None else _rule(row)


def read_maintenance(conn: Connection, now: datetime, *, grace_seconds: float = 60) -> Maintenance:
    """The maintenance windows of the last 400 days, and those to come."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["read_maintenance"], {"now": now}).fetchall()
    return Maintenance(now, tuple(map(_window, rows)), grace_seconds)


def insert_window(
    conn: Connection, from_at: datetime, to_at: datetime, match: Match, reason: str
) -> MaintenanceWindow:
    """Plan a maintenance window. Raises Conflict if there are MOST_WINDOWS."""
    params = {
        **{name: getattr(match, name) for name in CONDITIONS},
        "from_at": from_at,
        "to_at": to_at,
        "reason": reason,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["insert_window"], params).fetchone()
    assert row is not None
    if row["windows"] >= MOST_WINDOWS:
        raise Conflict(f"There are {MOST_WINDOWS} maintenance windows already: end some.")
    return _window(row)


def end_window(conn: Connection, window_id: int) -> MaintenanceWindow | None:
    """End a window now, or cancel it if it has not begun; None: there is none with this id.

    Idempotent: one that has ended stays as it is.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["end_window"], {"id": window_id}).fetchone()
    return None if row is None else _window(row)


def _match(row: dict[str, Any]) -> Match:
    return Match(**{name: row[name] for name in CONDITIONS})


def _rule(row: dict[str, Any]) -> Rule:
    settings = {name: row[name] for name in SETTINGS if row[name] is not None}
    if row["schedule"] is not None:
        settings["schedule"] = Schedule(row["schedule"], row["timezone"])
    return Rule(row["id"], _match(row), settings, row["changed_at"])


def _window(row: dict[str, Any]) -> MaintenanceWindow:
    return MaintenanceWindow(
        row["id"], row["from_at"], row["to_at"], _match(row), row["reason"], row["created_at"]
    )
