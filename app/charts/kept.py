"""Keeps charts of settled jobs ready, each with the version that it was drawn from.

Every answer is current: the version is read for each request, before the chart is taken or read
(docs/decisions/0021).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from app.charts.job import History, read_history
from app.database.pool import Connection, Database
from app.database.reads import Reads
from app.store import history as store

# For changes that the version does not cover: those that an operator makes with SQL.
LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """Which chart of a run to read (see `read_history`), and the name of its format."""

    name: str
    points: int
    from_at: datetime | None = None
    before_at: datetime | None = None
    disk: int | None = None
    format: str = "json"


class Sized(Protocol):
    """A drawn chart."""

    @property
    def size(self) -> int:
        """Bytes of memory, about."""


Drawn = TypeVar("Drawn", bound=Sized)


@dataclass(frozen=True, slots=True)
class Kept(Generic[Drawn]):
    """A drawn chart, and the version of the job's charts to which it belongs."""

    version: str
    drawn: Drawn
    until: float


class KeptCharts(Generic[Drawn]):
    """Reads and draws charts, and keeps those of settled jobs. Thread-safe."""

    def __init__(
        self,
        database: Database,
        draw: Callable[[History, str], Drawn],
        most_bytes: int,
        reads: Reads | None = None,
    ) -> None:
        """`draw` gets a chart and its format. At most `most_bytes` are kept; 0: nothing is.

        Versions are those of `database`, charts are made from `reads`.
        """
        self._database = database
        self._reads = reads or Reads(database)
        self._draw = draw
        self._left = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[ChartQuery, Kept[Drawn]] = OrderedDict()

    def read(self, query: ChartQuery) -> Drawn:
        """The current chart. Raises NotFound and DatabaseUnavailable."""
        if self._reads.primary_is_away:
            with self._reads.reading() as conn:
                return self._draw(_read(conn, query), query.format)
        kept = self.find(query)
        held = None if kept is None else kept.version
        is_embedded = self._database.is_embedded
        with (
            self._database.reading() as conn,
            store.current_version(conn, query.name, held, is_embedded=is_embedded) as version,
        ):
            if kept is not None and version.text == held:
                return kept.drawn
            with self._reads.beside(conn) as current:
                history = _read(current, query)
        drawn = self._draw(history, query.format)
        if version.is_settled and version.text is not None:
            self._keep(query, Kept(version.text, drawn, time.monotonic() + LONGEST_SECONDS))
        return drawn

    def find(self, query: ChartQuery) -> Kept[Drawn] | None:
        """What is kept, current or not. It becomes the most recently used chart."""
        with self._lock:
            kept = self._kept.get(query)
            if kept is None or kept.until < time.monotonic():
                return None
            self._kept.move_to_end(query)
            return kept

    def read_versions(self, names: Sequence[str]) -> dict[str, str]:
        """The current versions of runs; unknown runs are missing. Raises DatabaseUnavailable."""
        with self._reads.reading() as conn:
            return store.read_versions(conn, names)

    def _keep(self, query: ChartQuery, kept: Kept[Drawn]) -> None:
        """Keep a chart in place of those that were not used for the longest time."""
        with self._lock:
            if query in self._kept:
                self._left += self._kept.pop(query).drawn.size
            self._kept[query] = kept
            self._left -= kept.drawn.size
            while self._left < 0:
                self._left += self._kept.popitem(last=False)[1].drawn.size


def _read(conn: Connection, query: ChartQuery) -> History:
    return read_history(
        conn,
        query.name,
        points=query.points,
        from_at=query.from_at,
        before_at=query.before_at,
        disk=query.disk,
    )
