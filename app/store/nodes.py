"""Reads nodes, their events and their charts, in one statement each. Writes nothing.

Call the functions for one chart in one transaction that began with `use_one_snapshot`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Identifier

from app.database.pool import Connection
from app.domain.fields import METRICS, Kind
from app.domain.nodes import ChartedNode, Source
from app.domain.window import Window
from app.store.sql import load_queries

QUERIES = load_queries("nodes")

_HIGHEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Node:
    """One row of `nodes`, with the METRICS of the newest snapshot.

    `age_seconds` is the time since the last snapshot arrived, by the database's clock.
    """

    node_id: str
    state: str
    state_since: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    newest_snapshot_at: datetime
    clock_offset_seconds: float | None
    lost_snapshots: int
    lost_at: datetime | None
    age_seconds: float
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class NodeEvent:
    """One row of `node_events`: a change of a node's state."""

    id: int
    time: datetime
    from_state: str
    to_state: str
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """The snapshots of one step: how many, and (mean, min, max) of each metric, None if none."""

    bucket_at: datetime
    snapshots: int
    values: list[tuple[float | None, float | None, float | None]]


def list_nodes(conn: Connection, limit: int, after_id: str = "") -> list[Node]:
    """At most `limit` nodes ascending by id, above `after_id`."""
    rows = conn.execute(QUERIES["list_nodes"], {"limit": limit, "after_id": after_id})
    return [_node(row) for row in rows]


def read_node(conn: Connection, node_id: str) -> Node | None:
    """Read one node; None if unknown."""
    row = conn.execute(QUERIES["read_node"], {"node_id": node_id}).fetchone()
    return None if row is None else _node(row)


def _node(row: Sequence[Any]) -> Node:
    columns, metrics = row[: -len(METRICS)], row[-len(METRICS) :]
    values = [*columns, dict(zip(METRICS, metrics, strict=True))]
    return Node(*values)


def list_events(
    conn: Connection, node_id: str, limit: int, before_id: int | None = None
) -> list[NodeEvent]:
    """At most `limit` events of a node, descending by id, below `before_id`."""
    cursor = conn.cursor(row_factory=class_row(NodeEvent))
    values = {
        "node_id": node_id,
        "before_id": _HIGHEST_ID if before_id is None else before_id,
        "limit": limit,
    }
    return cursor.execute(QUERIES["list_events"], values).fetchall()


def node_exists(conn: Connection, node_id: str) -> bool:
    """Whether the node exists."""
    row = conn.execute(QUERIES["node_exists"], {"node_id": node_id}).fetchone()
    return row is not None and bool(row[0])


# Charts.


def read_charted_node(conn: Connection, node_id: str) -> ChartedNode | None:
    """Read one node for its chart; None if unknown."""
    cursor = conn.cursor(row_factory=class_row(ChartedNode))
    return cursor.execute(QUERIES["read_charted_node"], {"node_id": node_id}).fetchone()


def count_snapshots(conn: Connection, node_id: str, window: Window, limit: int) -> int:
    """How many snapshots the window holds, counting no further than `limit`."""
    values = {**_bounds(node_id, window), "limit": limit}
    row = conn.execute(QUERIES["count_snapshots"], values).fetchone()
    return 0 if row is None else int(row[0])


def list_snapshots(
    conn: Connection, node_id: str, window: Window, metrics: Sequence[str], limit: int
) -> list[tuple[Any, ...]]:
    """At most `limit` rows (time, value of each metric or None), ascending.

    Raises ValueError for a metric that is not in METRICS.
    """
    query = SQL(QUERIES["list_snapshots"]).format(chosen=_each(_identifier, metrics))
    return conn.execute(query, {**_bounds(node_id, window), "limit": limit}).fetchall()


def read_steps(
    conn: Connection,
    source: Source,
    node_id: str,
    window: Window,
    metrics: Sequence[str],
    step_seconds: int,
) -> list[Step]:
    """The steps that have snapshots, ascending; whole multiples of `step_seconds` since 1970.

    The window must consist of whole steps, and a step of whole buckets of the source. Raises
    ValueError for a metric that is not in METRICS.
    """
    if source is Source.SNAPSHOTS:
        query = SQL(QUERIES["summarise_snapshots"]).format(
            aggregates=_each(_aggregates_of_snapshots, metrics)
        )
    else:
        query = SQL(QUERIES["summarise_rollup"]).format(
            aggregates=_each(_aggregates_of_buckets, metrics),
            rollup=Identifier(f"node_telemetry_{source}"),
        )
    rows = conn.execute(query, {**_bounds(node_id, window), "step_seconds": step_seconds})
    return [
        Step(row[0], row[1], list(zip(row[2::3], row[3::3], row[4::3], strict=True)))
        for row in rows
    ]


def _bounds(node_id: str, window: Window) -> dict[str, Any]:
    return {"node_id": node_id, "from_at": window.from_at, "before_at": window.before_at}


def _identifier(metric: str) -> Composed:
    return Composed([Identifier(metric)])


def _aggregates_of_snapshots(metric: str) -> Composed:
    name = Identifier(metric)
    return _mean_and_range(
        # avg() of a bigint is numeric, which would arrive as a Decimal.
        SQL("avg({})::double precision").format(name),
        SQL("min({})").format(name),
        SQL("max({})").format(name),
    )


def _aggregates_of_buckets(metric: str) -> Composed:
    total, count, lowest, highest = (
        Identifier(f"{metric}_{part}") for part in ("sum", "count", "min", "max")
    )
    # A minute with one value has no stored minimum and maximum: they equal its sum.
    single = SQL("{}::bigint" if METRICS[metric].kind is Kind.INTEGER else "{}").format(total)
    return _mean_and_range(
        SQL("sum({}) / nullif(sum({}::integer), 0)").format(total, count),
        SQL("min(coalesce({}, {}))").format(lowest, single),
        SQL("max(coalesce({}, {}))").format(highest, single),
    )


def _mean_and_range(mean: Composed, lowest: Composed, highest: Composed) -> Composed:
    """The three columns; rounding must not move the mean out of its range."""
    return SQL("least(greatest({0}, {1}), {2}), {1}, {2}").format(mean, lowest, highest)


def _each(expression: Callable[[str], Composed], metrics: Sequence[str]) -> Composed:
    """The expression of each metric. Raises ValueError for unknown names."""
    unknown = set(metrics) - METRICS.keys()
    if unknown or not metrics:
        raise ValueError(f"no such metrics: {sorted(unknown)}")
    return SQL(", ").join(map(expression, metrics))
