"""Compares the database with migrations and settings for `python -m app doctor`. Reads only."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from app.checks.rights import OWNERS_RIGHTS, judge_hubs_rights
from app.checks.rollups import judge_retention, judge_rollups
from app.checks.schema import Column, Schema, read_schema
from app.config import Config
from app.database.migrate import (
    NEWEST_TIMESCALEDB,
    OLDEST_TIMESCALEDB,
    read_migrations,
    version_tuple,
)
from app.database.pool import Connection
from app.store.counts import COUNTING_TRIGGERS, find_differences
from app.store.tasks import TaskRun, read_tasks, waited_for_tasks_seconds

logger = logging.getLogger("hub.doctor")

ANALYST = "analyst"
_LEDGER = "schema_migrations"  # analysts need not read it
_SECRETS = "destination_addresses"  # which no analyst may read


@dataclass(frozen=True)
class Check:
    """The result of one check; `detail` is a message for people."""

    name: str
    ok: bool
    detail: str


def run_checks(conn: Connection, config: Config) -> list[Check]:
    """Run every check. A check that cannot run counts as failed.

    `conn` should be in autocommit: in a transaction all statements after a failed one fail.
    """
    schema = read_schema()
    judges: dict[str, Callable[[], Iterator[str]]] = {
        "migrations": lambda: _judge_migrations(conn),
        "columns": lambda: _judge_columns(conn, schema),
        "hypertables": lambda: _judge_hypertables(conn, schema),
        "rollups": lambda: judge_rollups(conn, schema),
        "indexes": lambda: _judge_indexes(conn, schema),
        "counts": lambda: _judge_counts(conn),
        "analyst": lambda: _judge_analyst(conn),
        "rights": lambda: judge_hubs_rights(conn, config),
        "retention": lambda: judge_retention(conn, config),
    }
    healthy = dict(_HEALTHY)
    if not config.is_embedded and config.owner_url is None:  # allowed, but worth knowing
        healthy["rights"] = OWNERS_RIGHTS
    checks = (_check(name, judge, healthy[name]) for name, judge in judges.items())
    return [_check_timescaledb(conn), *checks, _check_tasks(conn)]


_HEALTHY = {
    "migrations": "Every migration is applied, as written.",
    "columns": "Every table and rollup has its columns, each with its type and default.",
    "hypertables": "Every series is a hypertable.",
    "rollups": "Every rollup shows the newest data, and every series can be compressed.",
    "indexes": "Every index is there, on its columns.",
    "counts": "The kept counts of jobs are those of the table jobs.",
    "analyst": "The role analyst may read everything and write nothing.",
    "rights": "The web workers can change no table, and delete nothing that was pushed.",
    "retention": "No refresh reaches what was dropped, and the rollups have what is dropped next.",
}


def _check(name: str, judge: Callable[[], Iterator[str]], healthy: str) -> Check:
    try:
        faults = list(judge())
    except Exception as exc:  # whatever state the database is in, the others still run
        logger.warning("the check %s failed to run", name, exc_info=exc)
        faults = [f"This check failed to run ({type(exc).__name__}): see the log."]
    return Check(name, not faults, " ".join(faults) or healthy)


def _check_timescaledb(conn: Connection) -> Check:
    """The check of TimescaleDB: without a fault it names a version newer than the tested ones."""
    check = _check("timescaledb", lambda: _judge_timescaledb(conn), "")
    return replace(check, detail=_describe_timescaledb(conn)) if check.ok else check


def _describe_timescaledb(conn: Connection) -> str:
    version = _timescaledb_version(conn)
    if version is None or version_tuple(version)[:2] <= NEWEST_TIMESCALEDB:
        return "TimescaleDB is new enough and has all its features."
    newest = ".".join(map(str, NEWEST_TIMESCALEDB))
    return (
        f"TimescaleDB {version} has all its features, but is newer than {newest}, the newest "
        "version with which this hub was tested."
    )


def _timescaledb_version(conn: Connection) -> str | None:
    row = conn.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchone()
    return None if row is None else str(row[0])


# Each judge yields one sentence for each fault.


def _judge_timescaledb(conn: Connection) -> Iterator[str]:
    version = _timescaledb_version(conn)
    if version is None:
        yield "The database has no TimescaleDB extension: run `python -m app migrate`."
        return
    (licence,) = conn.execute("SELECT current_setting('timescaledb.license', true)").fetchone() or (
        "",
    )
    if version_tuple(version) < OLDEST_TIMESCALEDB:
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        yield f"TimescaleDB is {version}: the hub needs {oldest} or newer."
    if licence != "timescale":
        yield f"timescaledb.license is {licence!r}: rollups and compression need 'timescale'."


def _judge_migrations(conn: Connection) -> Iterator[str]:
    exists = conn.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
    if exists is None or not exists[0]:
        yield "Nothing was ever migrated: run `python -m app migrate`."
        return
    applied: dict[str, str] = dict(
        conn.execute("SELECT name, checksum FROM schema_migrations").fetchall()
    )
    files = {migration.name: migration for migration in read_migrations()}
    for name, file in files.items():
        stored = applied.get(name)
        if file.is_applied_as(stored):
            continue
        if stored is None or file.is_repeatable:
            yield f"migrations/{name} is not applied: run `python -m app migrate`."
        else:
            yield f"migrations/{name} was edited after it was applied: restore it."
    for name in sorted(applied.keys() - files.keys()):
        if not name.startswith("repeatable/"):
            yield f"{name} was applied, but this version of the hub does not have it."


def _judge_columns(conn: Connection, schema: Schema) -> Iterator[str]:
    rows = conn.execute(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, NULL),
               regexp_replace(pg_get_expr(d.adbin, d.adrelid), '::.*', '')
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d
            ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated = ''
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s)
        """,
        [[*schema.tables, *schema.rollups]],
    )
    found: dict[str, dict[str, Column]] = {}
    for table, name, type_name, default in rows:
        found.setdefault(table, {})[name] = Column(type_name, default)
    made = {**_tables_made(conn, schema), **{key: {} for key in schema.rollups}}
    faults = [fault for table in made for fault in _table_faults(table, found, made[table])]
    yield from faults
    if not faults:  # the statements of rollups need these columns
        for rollup, statement in schema.rollups.items():
            yield from _table_faults(rollup, found, _columns_made(conn, statement))


def _tables_made(conn: Connection, schema: Schema) -> dict[str, dict[str, Column]]:
    """The columns of every table, with the type names that PostgreSQL shows."""
    types = sorted({c.type for columns in schema.tables.values() for c in columns.values()})
    rows = conn.execute("SELECT t, to_regtype(t)::text FROM unnest(%s::text[]) AS t", [types])
    shown: dict[str, str] = dict(rows.fetchall())
    return {
        table: {name: Column(shown[c.type], c.default) for name, c in columns.items()}
        for table, columns in schema.tables.items()
    }


def _columns_made(conn: Connection, statement: str) -> dict[str, Column]:
    """The columns of a query's result, without running it."""
    result = conn.execute(f"SELECT * FROM ({statement}) AS made LIMIT 0").description or []
    rows = conn.execute(
        "SELECT format_type(t, NULL) FROM unnest(%s::oid[]) WITH ORDINALITY AS v (t, n) ORDER BY n",
        [[column.type_code for column in result]],
    )
    return {c.name: Column(row[0], None) for c, row in zip(result, rows, strict=True)}


def _table_faults(
    table: str, found: dict[str, dict[str, Column]], made: dict[str, Column]
) -> Iterator[str]:
    if table not in found:
        yield f"The table {table} is missing."
        return
    for name, expected in made.items():
        column = found[table].get(name)
        if column is None:
            yield f"{table}.{name} is missing."
            continue
        if column.type != expected.type:
            yield f"{table}.{name} is of type {column.type} and must be {expected.type}."
        if column.default != expected.default:
            yield (
                f"{table}.{name} has the default {column.default or 'NULL'} and must have "
                f"{expected.default or 'NULL'}."
            )


def _judge_hypertables(conn: Connection, schema: Schema) -> Iterator[str]:
    rows = conn.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables "
        "WHERE hypertable_schema = current_schema()"
    )
    found = {row[0] for row in rows}
    for name in schema.hypertables:
        if name not in found:
            yield f"{name} is not a hypertable."


def _judge_indexes(conn: Connection, schema: Schema) -> Iterator[str]:
    rows = conn.execute(
        """
        SELECT c.relname, i.indisunique, i.indisvalid, pg_get_indexdef(c.oid)
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s)
        """,
        [list(schema.indexes)],
    )
    found = {name: (unique, valid, text) for name, unique, valid, text in rows}
    for name, expected in schema.indexes.items():
        if name not in found:
            yield f"The index {name} is missing."
            continue
        unique, valid, definition = found[name]
        is_on = _bare(expected.columns) in _bare(definition)
        if unique < expected.is_unique or not is_on:
            kind = "unique " if expected.is_unique else ""
            yield f"The index {name} must be {kind}on {expected.columns}; it is: {definition}."
        if not valid:
            yield f"The index {name} is invalid: run REINDEX."


def _bare(definition: str) -> str:
    """Without what PostgreSQL writes otherwise: quotes, parentheses, functions in capitals."""
    return re.sub(r'["()]', "", definition).lower()


def _judge_counts(conn: Connection) -> Iterator[str]:
    """Triggers that are disabled, and counts that differ from the rows. Reads every job."""
    rows = conn.execute(
        """
        SELECT tgname
        FROM pg_trigger
        WHERE tgrelid = to_regclass('jobs') AND tgenabled IN ('O', 'A')
          AND tgname = ANY(%s)
        """,
        [list(COUNTING_TRIGGERS)],
    )
    missing = sorted(set(COUNTING_TRIGGERS) - {name for (name,) in rows})
    if missing:
        yield f"jobs has no enabled trigger {', '.join(missing)}: its jobs are not counted."
    found = find_differences(conn)
    if wrong := max(found.in_all, found.of_machines):
        yield f"The counts of jobs are wrong by {wrong}: run `python -m app repair --counts`."


def _judge_analyst(conn: Connection) -> Iterator[str]:
    exists = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [ANALYST]).fetchone()
    if exists is None:
        yield f"There is no role {ANALYST}: run `python -m app migrate`."
        return
    rows = conn.execute(
        """
        SELECT c.relname,
               has_table_privilege(%(role)s, c.oid, 'SELECT'),
               has_any_column_privilege(%(role)s, c.oid, 'INSERT, UPDATE')
               OR has_table_privilege(%(role)s, c.oid, 'DELETE, TRUNCATE')
        FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v', 'm')
          AND pg_has_role(c.relowner, 'USAGE')  -- tables whose rights the hub can grant
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
        ORDER BY c.relname
        """,
        {"role": ANALYST},
    ).fetchall()
    hidden = {_LEDGER, _SECRETS}
    unreadable = [name for name, can_read, _ in rows if not can_read and name not in hidden]
    writable = [name for name, _, can_write in rows if can_write]
    if unreadable:
        yield f"{ANALYST} cannot read {', '.join(unreadable)}."
    if any(can_read for name, can_read, _ in rows if name == _SECRETS):
        yield f"{ANALYST} can read {_SECRETS}: run REVOKE ALL ON {_SECRETS} FROM {ANALYST}."
    if writable:
        yield f"{ANALYST} can write {', '.join(writable)}."
    schema = conn.execute(
        "SELECT has_schema_privilege(%(role)s, current_schema(), 'USAGE'), "
        "has_schema_privilege(%(role)s, current_schema(), 'CREATE')",
        {"role": ANALYST},
    ).fetchone()
    if schema is not None and not schema[0]:
        yield f"{ANALYST} may not use the schema."
    if schema is not None and schema[1]:
        yield f"{ANALYST} may create tables."


def _check_tasks(conn: Connection) -> Check:
    """The last run of each scheduled task. Late is a fault only while web processes run."""
    try:
        runs = read_tasks(conn)
        is_up = waited_for_tasks_seconds(conn) > 0
    except Exception as exc:  # as in _check
        logger.warning("the check tasks failed to run", exc_info=exc)
        return Check("tasks", False, "This check failed to run: see the log.")
    ok = not any(run.last_error or (is_up and run.is_late) for run in runs)
    sentences = [_describe_run(run) for run in runs]
    return Check("tasks", ok, " ".join(sentences) or "No scheduled task has run yet.")


def _describe_run(run: TaskRun) -> str:
    if run.last_finished_at is None:
        return f"{run.task_id} has never ended a run in {run.age_seconds:.0f} s."
    late = f", late for one due every {run.interval_seconds} s" if run.is_late else ""
    ran = f"{run.task_id} ran {run.age_seconds:.0f} s ago{late}"
    if run.last_error:
        return f"{ran} and failed: {run.last_error}"
    return f"{ran} and took {run.last_duration_seconds or 0:.3f} s."
