"""The checks of `python -m app doctor` that no refresh and no drop can erase history. Reads only.

Chunks must exist for late data, refreshes must stay after the edges, and the rollups must have
counted what is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from app.checks.schema import Schema
from app.config import Config
from app.database.pool import Connection
from app.domain.rollups import (
    DROPPED_SERIES,
    RAW_SERIES,
    ROLLUPS,
    late_horizon,
    rollups_of,
)
from app.store import rollups as store
from app.store.rollups import Chunk

# The task that drops a chunk first refreshes its rollups: a fault only if the chunk stays.
OVERDUE_AFTER = timedelta(days=1)

_POLICIES = {
    "policy_retention": ("drops chunks of", "remove_retention_policy"),
    "policy_refresh_continuous_aggregate": ("refreshes", "remove_continuous_aggregate_policy"),
    "policy_compression": ("compresses chunks of", "remove_compression_policy"),
}


# Each judge yields one sentence for each fault.


def judge_rollups(conn: Connection, schema: Schema) -> Iterator[str]:
    """Whether every rollup is there, shows what is not materialised yet, and can be compressed."""
    rows = conn.execute(
        "SELECT view_name, materialized_only, compression_enabled "
        "FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()"
    )
    found = {name: (hides, compresses) for name, hides, compresses in rows}
    for name in schema.rollups:
        if name not in found:
            yield f"The rollup {name} is missing: {schema.made_by[name]} makes it."
            continue
        hides, compresses = found[name]
        if hides:
            yield (
                f"{name} hides what is not materialised yet: run ALTER MATERIALIZED VIEW {name} "
                "SET (timescaledb.materialized_only = false)."
            )
        if not compresses:
            yield _cannot_be_compressed(name, schema)
    rows = conn.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables "
        "WHERE hypertable_schema = current_schema() AND NOT compression_enabled"
    )
    for name in sorted({row[0] for row in rows} & set(schema.hypertables)):
        yield _cannot_be_compressed(name, schema)
    if not all(store.knows_changes(conn, rollup) for rollup in ROLLUPS):
        yield (
            "This version of TimescaleDB does not show what has changed since the last refresh, so "
            "charts and refreshes read every update that is kept: install a newer version of the "
            "hub."
        )


def _cannot_be_compressed(name: str, schema: Schema) -> str:
    return f"{name} cannot be compressed: {schema.compressed[name]} has its settings."


def judge_retention(conn: Connection, config: Config) -> Iterator[str]:
    """Whether settings, edges and rollups keep every refresh and drop from erasing history."""
    yield from _judge_settings(config)
    yield from _judge_other_rollups(conn)
    yield from _judge_policies(conn)
    now = store.read_clock(conn)
    edges = store.read_edges(conn)
    yield from _judge_edges(conn, edges, now, config.late_data_days)
    yield from _judge_unfinished(conn, edges)
    for series in RAW_SERIES:
        yield from _judge_oldest_chunk(conn, series, edges.get(series), now, config)


def _judge_settings(config: Config) -> Iterator[str]:
    """Checked again here, although Config refuses such settings."""
    if config.late_data_days >= config.raw_retention_days:
        yield (
            f"HUB_LATE_DATA_DAYS ({config.late_data_days}) must be smaller than "
            f"HUB_RAW_RETENTION_DAYS ({config.raw_retention_days}): late updates would be "
            "stored into chunks that are about to be dropped."
        )
    if config.raw_retention_days >= config.rollup_1m_retention_days:
        yield (
            f"HUB_RAW_RETENTION_DAYS ({config.raw_retention_days}) must be smaller than "
            f"HUB_ROLLUP_1M_RETENTION_DAYS ({config.rollup_1m_retention_days}): single updates "
            "would outlive the minutes made from them."
        )


def _judge_policies(conn: Connection) -> Iterator[str]:
    """TimescaleDB's own policies do not respect the edges."""
    names = [*RAW_SERIES, *(rollup.name for rollup in ROLLUPS)]
    rows = conn.execute(
        "SELECT job_id, proc_name, hypertable_name FROM timescaledb_information.jobs "
        "WHERE hypertable_name = ANY(%s) ORDER BY job_id",
        [names],
    )
    for job_id, procedure, name in rows:
        does, remove = _POLICIES.get(procedure, (f"runs {procedure} on", "delete_job"))
        argument = str(job_id) if remove == "delete_job" else f"'{name}'"
        yield (
            f"A TimescaleDB policy ({job_id}) {does} {name} without the hub's control and may "
            f"erase history: run SELECT {remove}({argument})."
        )


def _judge_other_rollups(conn: Connection) -> Iterator[str]:
    """Whether only the hub makes continuous aggregates from the sources of its rollups.

    Each refresh of another one empties TimescaleDB's log of changes in them
    (docs/decisions/0019-backlogs.md).
    """
    sources = sorted({rollup.source for rollup in ROLLUPS})
    rows = conn.execute(
        """SELECT other.view_schema || '.' || other.view_name, coalesce(ours.view_name, made_from)
           FROM (SELECT view_schema, view_name, hypertable_name AS made_from
                 FROM timescaledb_information.continuous_aggregates) AS other
           LEFT JOIN timescaledb_information.continuous_aggregates AS ours
               ON ours.materialization_hypertable_name = made_from
           WHERE coalesce(ours.view_name, made_from) = ANY(%s)
             AND NOT (other.view_schema = current_schema() AND other.view_name = ANY(%s))
           ORDER BY 1""",
        [sources, [rollup.name for rollup in ROLLUPS]],
    )
    for name, source in rows:
        yield (
            f"The continuous aggregate {name} is made from {source}: its refreshes hide late "
            "updates from the hub's rollups. Drop it, or make it from job_speed_1h, disk_speed_1h "
            "or node_telemetry_1h."
        )


def _judge_edges(
    conn: Connection, edges: dict[str, datetime], now: datetime, late_days: int
) -> Iterator[str]:
    """Late updates must lie after each edge, and nothing may lie before it."""
    for series in sorted(set(DROPPED_SERIES) - store.read_edged_series(conn)):
        yield (
            f"series_edges has no row for {series}, so its rollups are not refreshed: insert it "
            "with the start of its oldest chunk."
        )
    for series, edge in edges.items():
        if edge >= late_horizon(now, late_days):
            yield (
                f"HUB_LATE_DATA_DAYS ({late_days}) reaches back behind {_show(edge)}, before which "
                f"{series} was dropped: late updates from there would be in no chart. Set it to "
                f"{(now - edge).days} at most."
            )
        if store.has_rows_before(conn, series, edge):
            yield (
                f"{series} has rows from before {_show(edge)}, where it was dropped: no rollup "
                "will have them, and they are never dropped. Delete them."
            )


def _judge_unfinished(conn: Connection, edges: dict[str, datetime]) -> Iterator[str]:
    for rollup in ROLLUPS:
        edge = edges.get(rollup.source)
        if edge is not None and store.has_unfinished_refresh(conn, rollup, edge):
            yield (
                f"A refresh of {rollup.name} that reaches behind {_show(edge)}, where "
                f"{rollup.source} was dropped, was left unfinished: finished, it would erase "
                "history. Delete its row in "
                "_timescaledb_catalog.continuous_aggs_materialization_ranges."
            )


def _judge_oldest_chunk(
    conn: Connection, series: str, edge: datetime | None, now: datetime, config: Config
) -> Iterator[str]:
    """Whether the rollups have counted every row of the chunk that is dropped next."""
    chunk = next(iter(store.read_chunks(conn, series)), None)
    if chunk is None or (edge is not None and chunk.start < edge):
        return  # rows behind the edge are another fault
    is_overdue = chunk.end <= now - timedelta(days=config.raw_retention_days) - OVERDUE_AFTER
    for rollup in rollups_of(series):
        if not is_overdue and store.read_stale_windows(conn, rollup, chunk.window):
            return  # the next refresh, or the drop, updates it and the rollups made from it
        if gap := store.read_gap(conn, rollup, series, chunk.window):
            yield f"{_describe(chunk, series, is_overdue=is_overdue)}: {gap}. {_advice(chunk)}"


def _describe(chunk: Chunk, series: str, *, is_overdue: bool) -> str:
    fate = "should have been dropped" if is_overdue else "could not be dropped"
    return f"The oldest chunk of {series}, from {_show(chunk.start)} to {_show(chunk.end)}, {fate}"


def _advice(chunk: Chunk) -> str:
    window = f"--from {chunk.start.isoformat()} --to {chunk.end.isoformat()}"
    return f"Run `python -m app repair --rollups {window}`."


def _show(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
