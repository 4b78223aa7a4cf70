"""Where requests read: the primary, or a standby server that has all that the primary has.

A standby is a little behind. So each read asks the primary how far its log of changes was flushed,
and is made on the standby once that has replayed as much: no read misses what was acknowledged
before it began. A standby that is not that far within WAIT_SECONDS is not used.

See "Hot Standby" and "Recovery Information Functions" in PostgreSQL's documentation.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

from app.background import FailureLog, RepeatingThread
from app.database.pool import Connection, Database, DatabaseError, translated_errors
from app.errors import DatabaseUnavailable

logger = logging.getLogger("hub.database")

WAIT_SECONDS = 0.1
PAUSE_SECONDS = 0.005  # between two looks at how far the standby is
CONNECTION_SECONDS = 0.5  # the primary serves the read after that
LOOK_SECONDS = 2.0
BEHIND_SECONDS = 10.0  # from this on the standby counts as behind

# Positions in the log, as numbers: bytes.
_FLUSHED = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint"
_REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint"
# The age of the newest transaction that it has replayed; without load it grows although nothing is
# missing, so it counts only where the positions differ.
_AGE = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8"

Status = Literal["none", "ok", "behind", "down"]


@dataclass(frozen=True, slots=True)
class StandbyState:
    """The last look at the standby. `none`: no HUB_READ_URL is set.

    `behind_seconds`: the age of what it shows; None if it is not known.
    """

    status: Status
    behind_seconds: float | None = None
    detail: str | None = None


class NotAStandby(DatabaseUnavailable):
    """The server of HUB_READ_URL is not a standby: what it has may be of another history."""


class Reads:
    """Connections for requests that only read. Thread-safe. Start it after a fork."""

    def __init__(self, primary: Database, standby: Database | None = None) -> None:
        """Without a standby, all is read from the primary."""
        self._primary = primary
        self._standby = standby
        self._newest = 0  # how far the primary's log has been seen to be
        self._primary_is_away = False
        self.state = StandbyState("none" if standby is None else "down")
        self._failures = FailureLog(
            logger, "the standby is not used for reads", "the standby is used for reads"
        )
        self._thread = RepeatingThread("standby", self.look, LOOK_SECONDS)

    def start(self) -> None:
        """Begin to look at the standby, if there is one."""
        if self._standby is not None:
            self._standby.open()
            self._thread.start()

    def stop(self) -> None:
        """Close the connections to the standby. Idempotent."""
        if self._standby is not None:
            self._thread.stop()
            self._standby.close()

    @property
    def primary_is_away(self) -> bool:
        """Whether the standby alone can be read."""
        return self._primary_is_away and self.state.status == "ok"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in autocommit that shows all that was acknowledged. Raises
        DatabaseUnavailable.

        While the primary is away, the standby shows what it has.
        """
        with ExitStack() as stack:
            conn = None
            if self.state.status == "ok":
                conn = self._current(stack, self._position())
            if conn is None:
                conn = stack.enter_context(self._primary.reading())
            yield conn

    @contextmanager
    def beside(self, conn: Connection) -> Iterator[Connection]:
        """A connection that shows at least what `conn`, one to the primary, shows now."""
        with ExitStack() as stack:
            current = None
            if self.state.status == "ok":
                current = self._current(stack, _flushed(conn))
            yield conn if current is None else current

    def look(self) -> None:
        """Look at the standby now."""
        with self._failures.attempt(DatabaseError, DatabaseUnavailable):
            try:
                self._newest = max(self._newest, self._look_at_primary())
                self._primary_is_away = False
            except (DatabaseError, DatabaseUnavailable):
                self._primary_is_away = True
            try:
                self.state = self._look_at_standby()
            except Exception as exc:
                self.state = StandbyState("down", detail=_sentence(exc))
                raise

    def _look_at_primary(self) -> int:
        try:
            conn = self._primary.connect(autocommit=True)
        except DatabaseUnavailable:  # it may only allow no more connections
            with self._primary.reading(CONNECTION_SECONDS) as kept:
                return _flushed(kept)
        with closing(conn), translated_errors():
            return _flushed(conn)

    def _look_at_standby(self) -> StandbyState:
        assert self._standby is not None
        # Its own connection: on one that is kept, a network that drops packets blocks for minutes.
        with closing(self._standby.connect(autocommit=True)) as conn, translated_errors():
            missing = self._newest - _replayed(conn)
            if missing <= 0:
                return StandbyState("ok", 0.0)
            age = _value(conn, _AGE)
        if age is not None and age < BEHIND_SECONDS:
            return StandbyState("ok", round(age, 1))
        detail = f"It has not replayed {missing} bytes of the primary's log: reads use the primary."
        return StandbyState("behind", None if age is None else round(age, 1), detail)

    def _position(self) -> int:
        """How far the standby has to be. While the primary is away: as far as was seen.

        Raises DatabaseUnavailable. That alone does not mean that the primary is away: if it is only
        busy, it may have acknowledged more than was seen.
        """
        if not self._primary_is_away:
            with self._primary.reading() as conn:
                self._newest = max(self._newest, _flushed(conn))
        return self._newest

    def _current(self, stack: ExitStack, position: int) -> Connection | None:
        """A connection to the standby, once it has replayed so much; None if it has not in time."""
        assert self._standby is not None
        give_up_at = time.monotonic() + WAIT_SECONDS
        with ExitStack() as own:
            try:
                conn = own.enter_context(self._standby.reading(CONNECTION_SECONDS))
                while _replayed(conn) < position:
                    if time.monotonic() > give_up_at:
                        return None
                    time.sleep(PAUSE_SECONDS)
            except (DatabaseError, DatabaseUnavailable) as exc:
                # Not used until the next look finds that it answers.
                self.state = StandbyState("down", detail=_sentence(exc))
                return None
            stack.push(own.pop_all())
            return conn


def _replayed(conn: Connection) -> int:
    """How far a standby is. Raises NotAStandby."""
    position = _value(conn, _REPLAYED)
    if position is None:
        raise NotAStandby("The server of HUB_READ_URL is not a standby: reads use the primary.")
    return int(position)


def _flushed(conn: Connection) -> int:
    """How far the primary's log is on its disk: every commit that it has confirmed is in that."""
    return int(_value(conn, _FLUSHED))


def _value(conn: Connection, sql: LiteralString) -> Any:
    row = conn.execute(sql).fetchone()
    assert row is not None
    return row[0]


def _sentence(exc: BaseException) -> str:
    """For the operator."""
    return getattr(exc, "reason", None) or str(exc)
