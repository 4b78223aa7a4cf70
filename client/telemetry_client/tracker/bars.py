"""Progress bars of tqdm and rich as the source of a tracker: read when an update is due.

Neither package is imported: what is read of a bar is in every version of them.
"""

from __future__ import annotations

from typing import Any

from telemetry_client.progress import Progress, percent_of
from telemetry_client.tracker.feed import Source

_BYTE_UNITS = frozenset({"B", "iB", "byte", "bytes"})


def tqdm_source(bar: Any, *, is_bytes: bool | None = None) -> Source:
    """The progress of a `tqdm` bar. `is_bytes`: what it counts; by default its unit tells."""
    counts_bytes = bar.unit in _BYTE_UNITS if is_bytes is None else is_bytes
    scale = 1 if isinstance(bar.unit_scale, bool) else bar.unit_scale

    def read() -> Progress:
        return _progress(bar.n * scale, bar.total and bar.total * scale, counts_bytes)

    return read


def rich_source(progress: Any, task_id: int | None = None, *, is_bytes: bool = True) -> Source:
    """The progress of a task of a `rich.progress.Progress`; without an id, of all tasks together.

    `is_bytes`: whether they count bytes.
    """

    def read() -> Progress:
        tasks = [task for task in progress.tasks if task_id is None or task.id == task_id]
        totals = [task.total for task in tasks]
        total = None if None in totals or not totals else sum(totals)
        return _progress(sum(task.completed for task in tasks), total, is_bytes)

    return read


def _progress(done: float, total: float | None, counts_bytes: bool) -> Progress:
    whole = int(total) if total else None
    if counts_bytes:
        return Progress(int(done), whole)
    return Progress(percent=percent_of(int(done), whole))
