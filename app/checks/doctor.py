"""The self-check of schema and settings behind `python -m app doctor`. Reads only.

The table of columns holds what others rely on by name (senders' fields, analysts' queries, the
dashboard), not the whole schema: that is in migrations/, and their checksums are checked as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from app.checks.rights import OWNERS_RIGHTS, judge_hubs_rights
from app.checks.rollups import judge_retention, judge_rollups
from app.config import Config
from app.database.migrate import OLDEST_TIMESCALEDB, read_migrations, version_tuple
from app.database.pool import Connection
from app.domain.fields import METRICS, Kind
from app.errors import DatabaseUnavailable
from app.store.tasks import TaskRun, read_tasks, waited_for_tasks_seconds

logger = logging.getLogger("hub.doctor")

ANALYST = "analyst"
_LEDGER = "schema_migrations"  # the hub's own; analysts need not read it


@dataclass(frozen=True)
class Check:
    """One thing looked at: its name, whether it is as it must be, and a sentence for people."""

    name: str
    ok: bool
    detail: str


# `name type [default]`, the type by PostgreSQL's short name, the default as pg_get_expr writes it
# (NULL: must have none). Without a default here, any will do.
_METRIC_COLUMNS = "; ".join(
    f"{m} {'int8' if METRICS[m].kind is Kind.INTEGER else 'float8'}" for m in METRICS
)
_SPEED_COLUMNS = """
    bucket timestamptz; updates int8; speed_sum float8; speed_count int8; speed_min int8;
    speed_max int8; moving_count int8; moving_min int8; bytes_first int8; bytes_last int8;
    progress_last_bp int4
    """
_JOB_ROLLUP_COLUMNS = f"""
    {_SPEED_COLUMNS}; first_ms int4; last_ms int4; phase_first text; phase_last text;
    phase_varies bool
    """
_NODE_ROLLUP_COLUMNS = "node_id text; bucket timestamptz; snapshots int8; " + "; ".join(
    f"{m}_count int8; {m}_sum float8; {m}_min {t}; {m}_max {t}; {m}_last {t}"
    for m, t in ((m, "int8" if METRICS[m].kind is Kind.INTEGER else "float8") for m in METRICS)
)
_COLUMNS = {
    "jobs": """
        id int8; job_id text; job_type text; vm_name text; repository_id text; backup_type text;
        status text 'pending'::text; current_phase text 'pending'::text;
        bytes_transferred int8 0; total_bytes int8 0; transfer_speed_bps int8 0;
        eta_seconds int8 0; progress_percent float8 0; last_telemetry_at timestamptz NULL;
        error_message text NULL; warnings jsonb; performance_metrics jsonb NULL;
        created_at timestamptz now(); started_at timestamptz now(); completed_at timestamptz NULL;
        ended_by text; newest_update_at timestamptz; last_progress_at timestamptz
        """,
    "job_disks": """
        job_id text; disk_index int2; status text 'pending'::text; size_bytes int8;
        bytes_transferred int8 0; total_bytes int8 0; transfer_speed_bps int8 0;
        progress_percent float8 0; error_message text NULL
        """,
    "job_events": """
        id int8; job_id text; time timestamptz; kind text; from_status text; to_status text;
        actor text; reason text; evidence jsonb
        """,
    "job_telemetry": """
        time timestamptz; arrival_lag_ms int8; job_id text; status text; current_phase text;
        bytes_transferred int8 NULL; total_bytes int8 NULL; transfer_speed_bps int8 NULL;
        eta_seconds int8 NULL; progress_percent float8 NULL
        """,
    "disk_telemetry": """
        time timestamptz; job_id text; disk_index int2; status text; bytes_transferred int8 NULL;
        total_bytes int8 NULL; transfer_speed_bps int8 NULL; progress_percent float8 NULL
        """,
    "nodes": f"""
        node_id text; first_seen_at timestamptz; last_seen_at timestamptz;
        newest_snapshot_at timestamptz; state text 'online'::text; state_since timestamptz now();
        oldest_snapshot_at timestamptz; {_METRIC_COLUMNS}
        """,
    "node_events": """
        id int8; node_id text; time timestamptz; from_state text; to_state text; reason text;
        evidence jsonb
        """,
    "sender_losses": """
        job_id text; time timestamptz; lost_updates int4; received_at timestamptz
        """,
    "hub_absences": "from_at timestamptz; to_at timestamptz",
    "rollup_refreshes": "rollup text; refreshed_at timestamptz",
    "node_telemetry": f"time timestamptz; received_at timestamptz; node_id text; {_METRIC_COLUMNS}",
    "series_edges": """
        series text NULL; dropped_before timestamptz '-infinity'::timestamp with time zone
        """,
    "tokens": """
        id text; name text; scope text; job_types _text; created_at timestamptz now();
        expires_at timestamptz; revoked_at timestamptz NULL
        """,
    "job_speed_1m": f"job_id text; {_JOB_ROLLUP_COLUMNS}",
    "job_speed_1h": f"job_id text; {_JOB_ROLLUP_COLUMNS}; minutes int8",
    "disk_speed_1m": f"job_id text; disk_index int2; {_SPEED_COLUMNS}",
    "node_telemetry_1m": _NODE_ROLLUP_COLUMNS,
    "node_telemetry_1h": _NODE_ROLLUP_COLUMNS,
}
_HYPERTABLES = ("job_telemetry", "disk_telemetry", "node_telemetry")
# The columns as pg_get_indexdef writes them; `unique` where invariant 2 rests on it.
_INDEXES = {
    "jobs_job_id_key": "unique (job_id)",
    "jobs_live_idx": "(status, last_telemetry_at)",
    "jobs_newest_idx": "(created_at DESC, id DESC)",
    "jobs_machine_idx": "(vm_name, created_at DESC, id DESC)",
    "jobs_unsummarised_idx": "(id)",
    "job_disks_pkey": "unique (job_id, disk_index)",
    "job_events_job_idx": "(job_id, id)",
    "sender_losses_pkey": 'unique (job_id, "time")',
    "job_telemetry_key": 'unique (job_id, "time", seq)',
    "disk_telemetry_key": 'unique (job_id, "time", seq, disk_index)',
    "nodes_pkey": "unique (node_id)",
    "nodes_online_idx": "(last_seen_at, node_id)",
    "node_events_node_idx": "(node_id, id)",
    "node_telemetry_key": 'unique (node_id, "time", seq)',
    "tokens_pkey": "unique (id)",
}


def run_checks(conn: Connection, config: Config) -> list[Check]:
    """Every check, in the order to read them in. A check that cannot be made has failed.

    `conn` is best in autocommit: inside a transaction one failed statement fails all that follow.
    """
    judges: dict[str, Callable[[], Iterator[str]]] = {
        "timescaledb": lambda: _judge_timescaledb(conn),
        "migrations": lambda: _judge_migrations(conn),
        "columns": lambda: _judge_columns(conn),
        "hypertables": lambda: _judge_hypertables(conn),
        "rollups": lambda: judge_rollups(conn),
        "indexes": lambda: _judge_indexes(conn),
        "analyst": lambda: _judge_analyst(conn),
        "rights": lambda: judge_hubs_rights(conn, config),
        "retention": lambda: judge_retention(conn, config),
    }
    healthy = dict(_HEALTHY)
    if not config.is_embedded and config.owner_url is None:  # a choice, and to be known
        healthy["rights"] = OWNERS_RIGHTS
    checks = (_check(name, judge, healthy[name]) for name, judge in judges.items())
    return [*checks, _check_tasks(conn)]


_HEALTHY = {
    "timescaledb": "TimescaleDB is new enough and has all its features.",
    "migrations": "Every migration is applied, as written.",
    "columns": "Every column others rely on has its type and default.",
    "hypertables": "Every series is a hypertable.",
    "rollups": "Every rollup shows the newest data, and every series can be compressed.",
    "indexes": "Every index is there, on its columns.",
    "analyst": "The role analyst may read everything and write nothing.",
    "rights": "The web workers can change no table, and delete nothing that was pushed.",
    "retention": "No refresh reaches what was dropped, and the rollups have what is dropped next.",
}


def _check(name: str, judge: Callable[[], Iterator[str]], healthy: str) -> Check:
    try:
        faults = list(judge())
    except (psycopg.Error, DatabaseUnavailable) as exc:
        logger.warning("the check %s could not be made", name, exc_info=exc)
        faults = [f"This could not be looked at ({type(exc).__name__}); the log has the reason."]
    return Check(name, not faults, " ".join(faults) or healthy)


# Each judge yields one sentence for each fault.


def _judge_timescaledb(conn: Connection) -> Iterator[str]:
    row = conn.execute(
        "SELECT extversion, current_setting('timescaledb.license', true) "
        "FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchone()
    if row is None:
        yield "The database has no TimescaleDB extension: run `python -m app migrate`."
        return
    version, licence = row
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
        if stored is None or (file.is_repeatable and stored != file.checksum):
            yield f"migrations/{name} is not applied: run `python -m app migrate`."
        elif stored != file.checksum:
            yield f"migrations/{name} was edited after it was applied: restore it."
    for name in sorted(applied.keys() - files.keys()):
        if not name.startswith("repeatable/"):
            yield f"{name} was applied, but this version of the hub does not have it."


def _judge_columns(conn: Connection) -> Iterator[str]:
    rows = conn.execute(
        """
        SELECT c.relname, a.attname, t.typname, coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL')
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s)
        """,
        [list(_COLUMNS)],
    )
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for table, column, type_name, default in rows:
        found.setdefault(table, {})[column] = (type_name, default)
    for table, text in _COLUMNS.items():
        if table not in found:
            yield f"The table {table} is missing."
            continue
        for line in text.split(";"):
            column, type_name, *default = line.split(maxsplit=2)
            yield from _column_faults(
                f"{table}.{column}", found[table].get(column), type_name, *default
            )


def _column_faults(
    name: str, found: tuple[str, str] | None, type_name: str, default: str | None = None
) -> Iterator[str]:
    if found is None:
        yield f"{name} is missing."
        return
    if found[0] != type_name:
        yield f"{name} is of type {found[0]} and must be {type_name}."
    if default is not None and found[1] != default.strip():
        yield f"{name} has the default {found[1]} and must have {default.strip()}."


def _judge_hypertables(conn: Connection) -> Iterator[str]:
    rows = conn.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables "
        "WHERE hypertable_schema = current_schema()"
    )
    found = {row[0] for row in rows}
    for name in _HYPERTABLES:
        if name not in found:
            yield f"{name} is not a hypertable."


def _judge_indexes(conn: Connection) -> Iterator[str]:
    rows = conn.execute(
        """
        SELECT c.relname, i.indisunique, i.indisvalid, pg_get_indexdef(c.oid)
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%s)
        """,
        [list(_INDEXES)],
    )
    found = {name: (unique, valid, text) for name, unique, valid, text in rows}
    for name, expected in _INDEXES.items():
        if name not in found:
            yield f"The index {name} is missing."
            continue
        unique, valid, definition = found[name]
        columns = expected.removeprefix("unique ")
        if columns not in definition or (columns != expected and not unique):
            yield f"The index {name} must be on {expected}; it is: {definition}."
        if not valid:
            yield f"The index {name} is invalid: REINDEX it."


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
          AND pg_has_role(c.relowner, 'USAGE')  -- other people's tables are not the hub's to grant
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
        ORDER BY c.relname
        """,
        {"role": ANALYST},
    ).fetchall()
    unreadable = [name for name, can_read, _ in rows if not can_read and name != _LEDGER]
    writable = [name for name, _, can_write in rows if can_write]
    if unreadable:
        yield f"{ANALYST} cannot read {', '.join(unreadable)}."
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
    """The last run of each scheduled task. Late is a fault only while web processes are there: a
    hub that is stopped runs none.
    """
    try:
        runs = read_tasks(conn)
        is_up = waited_for_tasks_seconds(conn) > 0
    except psycopg.Error as exc:
        logger.warning("the check tasks could not be made", exc_info=exc)
        return Check("tasks", False, "The tasks could not be looked at; the log has the reason.")
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
