"""The detectors of silent jobs and nodes, at moments that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, LiteralString, TypeVar

from app.config import Config
from app.database.pool import Connection, Database

HOUR = 3600.0
Sweep = TypeVar("Sweep")


class Detector(Generic[Sweep]):
    """Runs a task at chosen moments, with chosen beats of the web processes.

    Beats of a running application are too old to count at any of those moments.
    """

    def __init__(
        self,
        run_once: Callable[[Database, Config, datetime], Sweep],
        newest: LiteralString,
        database: Database,
        config: Config,
        conn: Connection,
    ) -> None:
        """`newest`: the query for when the hub last received anything."""
        self._run_once = run_once
        self._newest = newest
        self.database = database
        self.config = config
        self._conn = conn

    def sweep(
        self, silent_seconds: float, *, watched: float = HOUR, beat_age: float = 0.0
    ) -> Sweep:
        """One run, `silent_seconds` after the newest update or snapshot.

        By then one process has been up for `watched` seconds; its last beat is `beat_age` seconds
        old.
        """
        now = self.moment(silent_seconds)
        self._conn.execute("DELETE FROM ingest_beats")
        self.watch("web", now - timedelta(seconds=watched), now - timedelta(seconds=beat_age))
        return self._run_once(self.database, self.config, now)

    def moment(self, silent_seconds: float) -> datetime:
        """So many seconds after the newest update or snapshot."""
        row = self._conn.execute(self._newest).fetchone()
        assert row is not None
        newest: datetime = row[0]
        return newest + timedelta(seconds=silent_seconds)

    def watch(self, process_id: str, up_since: datetime, beat_at: datetime) -> None:
        """A process that has been taking updates since `up_since`; last beat at `beat_at`."""
        self._conn.execute(
            "INSERT INTO ingest_beats VALUES (%s, %s, %s)", [process_id, up_since, beat_at]
        )
