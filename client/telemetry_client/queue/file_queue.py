"""The queue on disk: bounded, and safe for many threads and processes."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from telemetry_client.queue import dead_letters, leases
from telemetry_client.queue.eviction import evict_old, make_room, take_losses
from telemetry_client.queue.leases import LONGEST_HOLD_SECONDS
from telemetry_client.queue.payload import decode, encode, rank_of, stream_of
from telemetry_client.queue.protocol import LEASE_SECONDS, DeadLetter, Entry
from telemetry_client.queue.sqlite_file import SQLiteFile
from telemetry_client.queue.statistics import increment, read_statistics, size
from telemetry_client.settings import DEFAULT_QUEUE
from telemetry_client.wire.backoff import backoff_seconds

MAX_AGE_SECONDS = 28 * 86_400  # the hub moves older updates to now: the chart would be wrong


class TelemetryQueue:
    """A `Queue` in one SQLite file, for any number of threads and processes.

    At least once: an entry leaves when it is acknowledged, and the hub recognises a repeat. Once
    `enqueue` returns, killing the process loses nothing. At most `max_size` entries wait, none for
    longer than `max_age_seconds`. Every method raises QueueError, and nothing else, if the file
    cannot be used.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str] = DEFAULT_QUEUE,
        max_size: int = 1000,
        *,
        max_age_seconds: float = MAX_AGE_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        read_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`read_only`: only counts and dead letters can be read, and nothing is changed."""
        if max_size < 1:
            raise ValueError(f"max_size is {max_size}, but must be at least 1")
        if not 0 < lease_seconds <= LONGEST_HOLD_SECONDS:
            raise ValueError(
                f"lease_seconds is {lease_seconds}, but must be above 0 and at most"
                f" {LONGEST_HOLD_SECONDS:g}"
            )
        self.max_size = max_size
        self.max_age_seconds = max_age_seconds
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._name = secrets.token_hex(8)
        self._file = SQLiteFile(db_path, read_only=read_only)
        self.db_path = self._file.path
        self._file.run(lambda conn: None, writes=not read_only)  # fail now if it cannot be used

    # Adding.

    def enqueue(
        self, payload: Mapping[str, Any], *, important: bool = False, leased: bool = False
    ) -> int:
        """See `Queue`. Raises TypeError or ValueError for a payload that is not JSON."""
        text = encode(payload)
        row = {
            "stream": stream_of(payload),
            "payload": text,
            "rank": rank_of(payload, important),
            "queued_at": self._wall_clock(),
            "handed_out": int(leased),
            "held_until": self._clock() + self.lease_seconds if leased else 0,
            "leased_by": self._owner() if leased else None,
            "leased_thread": threading.get_ident() if leased else None,
        }

        def work(conn: sqlite3.Connection) -> int:
            cursor = conn.execute(
                "INSERT INTO telemetry_queue (stream, payload, rank, queued_at, handed_out,"
                " held_until, leased_by, leased_thread) VALUES (:stream, :payload, :rank,"
                " :queued_at, :handed_out, :held_until, :leased_by, :leased_thread)",
                row,
            )
            entry_id = int(cursor.lastrowid or 0)
            make_room(conn, self._marks(), self.max_size)
            return entry_id

        return self._file.run(work)

    # Sending.

    def dequeue(self, limit: int = 10, *, after: int = 0) -> list[Entry]:
        """See `Queue`."""

        def work(conn: sqlite3.Connection) -> list[Entry]:
            evict_old(conn, self._marks(), self._wall_clock() - self.max_age_seconds)
            marks = {**self._marks(), "limit": limit, "after": after}
            rows = conn.execute(leases.READY, marks).fetchall()
            lease = {**marks, "until": self._clock() + self.lease_seconds}
            conn.executemany(leases.LEASE, [{**lease, "id": row[0]} for row in rows])
            return [Entry(row[0], decode(row[1]), row[2], row[3]) for row in rows]

        return self._file.run(work)

    def seconds_until_ready(self) -> float | None:
        """See `Queue`."""

        def work(conn: sqlite3.Connection) -> float | None:
            if conn.execute(leases.READY, {**self._marks(), "limit": 1, "after": 0}).fetchone():
                return 0.0
            if not size(conn):
                return None
            query = f"SELECT min(held_until) FROM telemetry_queue WHERE {leases.HELD}"
            (until,) = conn.execute(query, self._marks()).fetchone()
            return max(0.0, float(until or 0) - self._clock())

        return self._file.run(work, writes=False)

    def mark_sent(self, entry_id: int) -> None:
        """See `Queue`."""
        self.acknowledge([entry_id])

    def acknowledge(self, entry_ids: Sequence[int]) -> None:
        """See `Queue`."""

        def work(conn: sqlite3.Connection) -> None:
            before = conn.total_changes
            conn.executemany(
                "DELETE FROM telemetry_queue WHERE id = ?", [(entry_id,) for entry_id in entry_ids]
            )
            increment(conn, "sent_total", conn.total_changes - before)

        self._file.run(work)

    def release(self, entry_id: int) -> None:
        """See `Queue`."""
        self.release_all([entry_id])

    def release_all(self, entry_ids: Sequence[int]) -> None:
        """See `Queue`."""
        rows = [{"id": entry_id, "owner": self._owner()} for entry_id in entry_ids]

        def work(conn: sqlite3.Connection) -> None:
            conn.executemany(leases.RELEASE, rows)

        self._file.run(work)

    def mark_failed(self, entry_id: int, max_retries: int = 3, *, reason: str = "") -> None:
        """See `Queue`. What is given up becomes a dead letter."""

        def work(conn: sqlite3.Connection) -> None:
            row = self._ours_or_free(conn, entry_id)
            if row is None:
                return
            increment(conn, "failed_total")
            tries = int(row["tries"]) + 1
            if tries >= max_retries:
                why = f"failed {tries} times" + (f": {reason}" if reason else "")
                self._bury(conn, row, why, tries)
                return
            until = self._clock() + backoff_seconds(tries)
            conn.execute(leases.WAIT, {"id": entry_id, "tries": tries, "until": until})

        self._file.run(work)

    def mark_dead(self, entry_id: int, reason: str) -> None:
        """See `Queue`. It becomes a dead letter, with the reason."""

        def work(conn: sqlite3.Connection) -> None:
            row = self._ours_or_free(conn, entry_id)
            if row is not None:
                self._bury(conn, row, reason, int(row["tries"]))

        self._file.run(work)

    def peek(self) -> list[Entry]:
        """Everything that waits, leased or not, oldest first. Leases and changes nothing."""
        query = "SELECT id, payload, tries, queued_at FROM telemetry_queue ORDER BY id"
        rows = self._file.run(lambda conn: conn.execute(query).fetchall(), writes=False)
        return [Entry(row[0], decode(row[1]), row[2], row[3]) for row in rows]

    # Dead letters.

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """What will not be sent any more, the newest first."""
        return self._file.run(lambda conn: dead_letters.newest(conn, limit), writes=False)

    def replay(self, ids: Iterable[int] | None = None) -> int:
        """Queue dead letters again, all or those named, as far as there is room; how many.

        Each takes its old place in its stream and has all of its tries again.
        """
        wanted = None if ids is None else set(ids)

        def work(conn: sqlite3.Connection) -> int:
            room = max(0, self.max_size - size(conn))
            moved = dead_letters.choose(conn, wanted)[:room]
            dead_letters.put_back(conn, moved, self._wall_clock())
            return len(moved)

        return self._file.run(work)

    def forget_dead(self, ids: Iterable[int] | None = None) -> int:
        """Delete dead letters, all or those named; how many."""
        wanted = None if ids is None else set(ids)

        def work(conn: sqlite3.Connection) -> int:
            deleted = dead_letters.choose(conn, wanted)
            dead_letters.delete(conn, deleted)
            return len(deleted)

        return self._file.run(work)

    # Counts.

    def get_queue_size(self) -> int:
        """See `Queue`. Dead letters do not count."""
        return self._file.run(size, writes=False)

    def get_stats(self) -> dict[str, Any]:
        """Counts of now, and totals since the file was created."""
        stats = self._file.run(
            lambda conn: read_statistics(conn, self._marks(), self._wall_clock()), writes=False
        )
        return {**stats, "max_size": self.max_size, "db_path": self.db_path}

    def take_losses(self, stream: str) -> int:
        """See `Queue`."""
        return self._file.run(lambda conn: take_losses(conn, stream))

    def close(self) -> None:
        """See `Queue`."""
        self._file.close()

    def __enter__(self) -> TelemetryQueue:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _owner(self) -> str:
        return f"{self._name}:{os.getpid()}"  # a forked child is another owner

    def _marks(self) -> dict[str, Any]:
        """The parameters of the statements in `leases`."""
        now = self._clock()
        return {
            "now": now,
            "horizon": now + LONGEST_HOLD_SECONDS,
            "owner": self._owner(),
            "thread": threading.get_ident(),
        }

    def _ours_or_free(self, conn: sqlite3.Connection, entry_id: int) -> dict[str, Any] | None:
        cursor = conn.execute(leases.OURS_OR_FREE, {**self._marks(), "id": entry_id})
        row = cursor.fetchone()
        names = [column[0] for column in cursor.description]
        return None if row is None else dict(zip(names, row))

    def _bury(self, conn: sqlite3.Connection, row: dict[str, Any], reason: str, tries: int) -> None:
        dead_letters.bury(
            conn,
            row,
            reason=reason,
            tries=tries,
            died_at=self._wall_clock(),
            max_size=self.max_size,
        )
