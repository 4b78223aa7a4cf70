"""The chart of a node's metrics: each snapshot, or mean, minimum and maximum of equal steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from app.database.pool import Connection, Database
from app.domain.chart import choose_window
from app.domain.nodes import MOST_SNAPSHOTS, ChartedNode, Source, choose_source
from app.domain.window import EPOCH, Window
from app.errors import NotFound
from app.store import nodes as store
from app.store.history import use_one_snapshot

DEFAULT_WINDOW = timedelta(days=1)

MeanMinMax = tuple[float | None, float | None, float | None]


class Point(NamedTuple):
    """An instant, and the mean, minimum and maximum of each metric there."""

    at: datetime
    values: Sequence[MeanMinMax]


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """A chart. `resolution_seconds` 0: each point is one snapshot; `snapshots`: their number.

    `last_point_unfinished`: later snapshots may still change the last point.
    """

    node_id: str
    metrics: Sequence[str]
    window: Window
    source: Source
    resolution_seconds: int
    snapshots: int
    last_point_unfinished: bool
    points: list[Point]


def read_node_history(
    database: Database,
    node_id: str,
    metrics: Sequence[str],
    *,
    points: int,
    from_at: datetime | None = None,
    before_at: datetime | None = None,
) -> NodeHistory:
    """The chart of a node in at most `points` points, by default of the last day of its data.

    Raises NotFound and DatabaseUnavailable.
    """
    # All statements must see the same commits.
    with database.transaction() as conn:
        use_one_snapshot(conn)
        node = store.read_charted_node(conn, node_id)
        if node is None:
            raise NotFound(f"There is no node {node_id!r}.")
        window = _choose_window(node.span, from_at, before_at)
        return _read_chart(conn, node, metrics, window, points)


def _choose_window(span: Window, from_at: datetime | None, before_at: datetime | None) -> Window:
    end = max(before_at or span.before_at, EPOCH + DEFAULT_WINDOW)
    return choose_window(Window(end - DEFAULT_WINDOW, end), from_at, before_at)


def _read_chart(
    conn: Connection, node: ChartedNode, metrics: Sequence[str], window: Window, points: int
) -> NodeHistory:
    # The step depends on the part that has data, so that a long window is not less sharp.
    shown = window.within(node.span)
    count = store.count_snapshots(conn, node.node_id, shown, MOST_SNAPSHOTS + 1)
    source, step = choose_source(node, shown, count, points)
    if step == 0:
        snapshots = store.list_snapshots(conn, node.node_id, shown, metrics, points)
        drawn = [Point(row[0], [(v, v, v) for v in row[1:]]) for row in snapshots]
    else:
        window, shown = window.widened(step), shown.widened(step)
        steps = store.read_steps(conn, source, node.node_id, shown, metrics, step)
        count = sum(each.snapshots for each in steps)
        drawn = _fill_gaps(shown, step, steps, len(metrics))
    is_unfinished = step > 0 and node.is_unfinished(drawn[-1].at, step)
    return NodeHistory(node.node_id, metrics, window, source, step, count, is_unfinished, drawn)


def _fill_gaps(
    window: Window, step_seconds: int, steps: Iterable[store.Step], metric_count: int
) -> list[Point]:
    """A point for every step of the window; values are None without snapshots."""
    known = {each.bucket_at: each.values for each in steps}
    nothing: list[MeanMinMax] = [(None, None, None)] * metric_count
    step = timedelta(seconds=step_seconds)
    count = -((window.from_at - window.before_at) // step)
    times = (window.from_at + step * position for position in range(count))
    return [Point(at, known.get(at, nothing)) for at in times]
