"""What could not be sent yet, on disk: first in first out, bounded, and safe for many processes.

At least once: an entry leaves when it is acknowledged, and the hub knows a repeat.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telemetry_client.backoff import backoff_seconds
from telemetry_client.errors import QueueError as QueueError
from telemetry_client.queue_file import QueueFile
from telemetry_client.settings import DEFAULT_QUEUE

MAX_AGE_SECONDS = 28 * 86_400  # the hub shifts what is older to now: its picture would be wrong
LEASE_SECONDS = 60.0  # several times what one batch can take
# No hold is longer. One that seems so was made before a restart of the machine set its clock to 0.
LONGEST_HOLD_SECONDS = 3_600.0

ORDINARY, IMPORTANT, FINAL = 0, 1, 2

_HELD = "held_until > :now AND held_until <= :horizon"
_LEASED = f"leased_by IS NOT NULL AND {_HELD}"
# A stream goes no further than its first entry that somebody else sends or that waits.
_READY = f"""
WITH blocked AS (
    SELECT stream, min(id) AS first_id FROM telemetry_queue
    WHERE stream IS NOT NULL AND {_HELD}
      AND NOT (leased_by IS :owner AND leased_thread IS :thread)
    GROUP BY stream
)
SELECT id, payload, tries, queued_at FROM telemetry_queue AS entry
WHERE id > :after AND NOT ({_HELD})
  AND NOT EXISTS (
      SELECT 1 FROM blocked WHERE blocked.stream = entry.stream AND blocked.first_id < entry.id)
ORDER BY id LIMIT :limit
"""
_HEIR = """
SELECT id, payload FROM telemetry_queue
WHERE stream = :stream AND id > :id AND handed_out = 0 AND tries = 0
ORDER BY id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One payload to send. Also answers as a mapping: `entry["id"]`, `entry["retry_count"]`."""

    id: int
    payload: dict[str, Any]
    tries: int  # those spent
    queued_at: float  # seconds since the epoch

    def __getitem__(self, key: str) -> Any:
        name = "tries" if key == "retry_count" else key
        if name not in self.__slots__:
            raise KeyError(key)
        return getattr(self, name)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One payload that is not sent any more, and why."""

    id: int
    payload: dict[str, Any]
    reason: str
    died_at: float  # seconds since the epoch
    tries: int


class TelemetryQueue:
    """A queue in one SQLite file, for any number of threads and processes.

    An entry belongs to the stream of its `job_id`, or `node_id`; within a stream the order holds.
    When more than `max_size` wait, ordinary updates go first, then important ones, then the ends
    of jobs, the oldest of each first and never a leased one; each is counted, and told to the hub
    by `lost_updates` of the next update of its job. Every method raises QueueError, and only that,
    where the file cannot be used.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str] = DEFAULT_QUEUE,
        max_size: int = 1000,
        *,
        max_age_seconds: float = MAX_AGE_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if max_size < 1:
            raise ValueError(f"max_size is {max_size}: a queue needs room for one entry")
        if not 0 < lease_seconds <= LONGEST_HOLD_SECONDS:
            raise ValueError(f"lease_seconds is {lease_seconds}: at most {LONGEST_HOLD_SECONDS:g}")
        self.max_size = max_size
        self.max_age_seconds = max_age_seconds
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._name = secrets.token_hex(8)
        self._file = QueueFile(db_path)
        self.db_path = self._file.path
        self._file.run(lambda conn: None)  # whether it can be used is told at once

    # Putting in.

    def enqueue(
        self, payload: Mapping[str, Any], *, important: bool = False, leased: bool = False
    ) -> int:
        """Keep a payload; its id, the first is 1. Once this returns, no kill can lose it.

        `important`: a change of state, which outlives ordinary updates when the queue is full.
        `leased`: the caller sends it himself, then calls `mark_sent` or `release`; until the
        lease ends nobody else sends it and nothing alters it. Raises TypeError or ValueError for
        a payload that is no JSON.
        """
        text = _encode(payload)
        row = {
            "stream": _stream_of(payload),
            "payload": text,
            "rank": _rank_of(payload, important),
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
            self._make_room(conn)
            return entry_id

        return self._file.run(work)

    # Taking out.

    def dequeue(self, limit: int = 10, *, after: int = 0) -> list[Entry]:
        """Lease the oldest entries that may be sent now, oldest first; with ids beyond `after`.

        Nobody else gets them until they are acknowledged, given back, or their lease ends.
        """

        def work(conn: sqlite3.Connection) -> list[Entry]:
            self._evict_old(conn)
            entries = list(self._ready(conn, limit, after))
            until = self._clock() + self.lease_seconds
            conn.executemany(
                "UPDATE telemetry_queue SET held_until = ?, leased_by = ?, leased_thread = ?,"
                " handed_out = handed_out + 1 WHERE id = ?",
                [(until, self._owner(), threading.get_ident(), entry.id) for entry in entries],
            )
            return entries

        return self._file.run(work)

    def seconds_until_ready(self) -> float | None:
        """Until an entry may be sent: 0 for now, None when there is none at all."""

        def work(conn: sqlite3.Connection) -> float | None:
            if conn.execute(_READY, {**self._marks(), "limit": 1, "after": 0}).fetchone():
                return 0.0
            if not _size(conn):
                return None
            query = f"SELECT min(held_until) FROM telemetry_queue WHERE {_HELD}"
            (until,) = conn.execute(query, self._marks()).fetchone()
            return max(0.0, float(until or 0) - self._clock())

        return self._file.run(work, writes=False)

    def mark_sent(self, entry_id: int) -> None:
        """The hub has it: forget it."""
        self.acknowledge([entry_id])

    def acknowledge(self, entry_ids: Sequence[int]) -> None:
        """`mark_sent` of many at once."""

        def work(conn: sqlite3.Connection) -> None:
            before = conn.total_changes
            conn.executemany(
                "DELETE FROM telemetry_queue WHERE id = ?", [(entry_id,) for entry_id in entry_ids]
            )
            _count(conn, "sent_total", conn.total_changes - before)

        self._file.run(work)

    def release(self, entry_id: int) -> None:
        """Give a lease back: an outage, which spends no try."""
        self.release_all([entry_id])

    def release_all(self, entry_ids: Sequence[int]) -> None:
        """`release` of many at once."""
        rows = [(entry_id, self._owner()) for entry_id in entry_ids]

        def work(conn: sqlite3.Connection) -> None:
            conn.executemany(
                "UPDATE telemetry_queue SET held_until = 0, leased_by = NULL, leased_thread = NULL"
                " WHERE id = ? AND leased_by = ?",
                rows,
            )

        self._file.run(work)

    def mark_failed(self, entry_id: int, max_retries: int = 3, *, reason: str = "") -> None:
        """Spend a try. The next comes after a wait with full jitter; after the last it is dead."""

        def work(conn: sqlite3.Connection) -> None:
            row = self._mine_or_free(conn, entry_id)
            if row is None:
                return
            _count(conn, "failed_total")
            tries = int(row["tries"]) + 1
            if tries >= max_retries:
                why = f"failed {tries} times" + (f": {reason}" if reason else "")
                self._bury(conn, row, why, tries)
                return
            conn.execute(
                "UPDATE telemetry_queue SET tries = ?, held_until = ?, leased_by = NULL,"
                " leased_thread = NULL WHERE id = ?",
                (tries, self._clock() + backoff_seconds(tries), entry_id),
            )

        self._file.run(work)

    def mark_dead(self, entry_id: int, reason: str) -> None:
        """The hub will never take it: keep it aside, with the reason."""

        def work(conn: sqlite3.Connection) -> None:
            row = self._mine_or_free(conn, entry_id)
            if row is not None:
                self._bury(conn, row, reason, int(row["tries"]))

        self._file.run(work)

    # Dead letters.

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """What is not sent any more, the latest first."""

        def work(conn: sqlite3.Connection) -> list[DeadLetter]:
            rows = conn.execute(
                "SELECT id, payload, reason, died_at, tries FROM telemetry_dead"
                " ORDER BY died_at DESC, id DESC LIMIT ?",
                (limit,),
            )
            return [DeadLetter(row[0], _decode(row[1]), *row[2:]) for row in rows]

        return self._file.run(work, writes=False)

    def replay(self, ids: Iterable[int] | None = None) -> int:
        """Queue dead letters again, all or those named, as far as there is room; how many.

        Each takes its old place in its stream and has all of its tries again.
        """
        wanted = None if ids is None else set(ids)

        def work(conn: sqlite3.Connection) -> int:
            room = max(0, self.max_size - _size(conn))
            moved = [dead for dead in _dead_ids(conn) if wanted is None or dead in wanted][:room]
            conn.executemany(
                # As handed out: it has been sent before, so that it must stay as it is.
                "INSERT INTO telemetry_queue (id, stream, payload, rank, queued_at, handed_out)"
                " SELECT id, stream, payload, rank, ?, 1 FROM telemetry_dead WHERE id = ?",
                [(self._wall_clock(), dead) for dead in moved],
            )
            _forget(conn, moved)
            return len(moved)

        return self._file.run(work)

    def forget_dead(self, ids: Iterable[int] | None = None) -> int:
        """Delete dead letters, all or those named; how many."""
        wanted = None if ids is None else set(ids)

        def work(conn: sqlite3.Connection) -> int:
            gone = [dead for dead in _dead_ids(conn) if wanted is None or dead in wanted]
            _forget(conn, gone)
            return len(gone)

        return self._file.run(work)

    # What there is.

    def get_queue_size(self) -> int:
        """How many entries are still to be sent, leased ones too; dead letters are not."""
        return self._file.run(_size, writes=False)

    def get_stats(self) -> dict[str, Any]:
        """Counts of now, and totals since the file was begun."""

        def work(conn: sqlite3.Connection) -> dict[str, Any]:
            size, leased, held, oldest = conn.execute(
                f"SELECT count(*), coalesce(sum({_LEASED}), 0), coalesce(sum({_HELD}), 0),"
                " min(queued_at) FROM telemetry_queue",
                self._marks(),
            ).fetchone()
            (dead,) = conn.execute("SELECT count(*) FROM telemetry_dead").fetchone()
            (lost,) = conn.execute(
                "SELECT coalesce(sum(count), 0) FROM telemetry_losses"
            ).fetchone()
            # Ids are never used twice, so that the last one given is how many there were.
            last = conn.execute("SELECT seq FROM sqlite_sequence").fetchone()
            counters = dict(conn.execute("SELECT name, count FROM telemetry_counters"))
            return {
                "queue_size": size,
                "pending": size - leased,
                "leased": leased,
                "waiting": held - leased,
                "dead": dead,
                "oldest_age_seconds": None if oldest is None else self._wall_clock() - oldest,
                "lost_untold": lost,
                "enqueued_total": last[0] if last else 0,
                **{name: counters.get(name, 0) for name in _COUNTERS},
                "max_size": self.max_size,
                "db_path": self.db_path,
            }

        return self._file.run(work, writes=False)

    def take_losses(self, stream: str) -> int:
        """How many updates of a job were evicted that no queued update tells of; asks once."""

        def work(conn: sqlite3.Connection) -> int:
            query = "SELECT count FROM telemetry_losses WHERE stream = ?"
            row = conn.execute(query, (stream,)).fetchone()
            conn.execute("DELETE FROM telemetry_losses WHERE stream = ?", (stream,))
            return int(row[0]) if row else 0

        return self._file.run(work)

    def close(self) -> None:
        """Close the file; what is leased comes back when its lease ends."""
        self._file.close()

    def __enter__(self) -> TelemetryQueue:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Leases.

    def _owner(self) -> str:
        return f"{self._name}:{os.getpid()}"  # a forked child is somebody else

    def _marks(self) -> dict[str, Any]:
        now = self._clock()
        return {
            "now": now,
            "horizon": now + LONGEST_HOLD_SECONDS,
            "owner": self._owner(),
            "thread": threading.get_ident(),
        }

    def _ready(self, conn: sqlite3.Connection, limit: int, after: int) -> Iterator[Entry]:
        marks = {**self._marks(), "limit": limit, "after": after}
        for row in conn.execute(_READY, marks).fetchall():
            yield Entry(row[0], _decode(row[1]), row[2], row[3])

    def _mine_or_free(self, conn: sqlite3.Connection, entry_id: int) -> dict[str, Any] | None:
        """The entry, unless it is gone, or our lease has ended and somebody else has one now."""
        cursor = conn.execute(
            "SELECT id, stream, payload, rank, tries FROM telemetry_queue"
            f" WHERE id = :id AND (leased_by IS :owner OR NOT ({_LEASED}))",
            {**self._marks(), "id": entry_id},
        )
        row = cursor.fetchone()
        names = [column[0] for column in cursor.description]
        return None if row is None else dict(zip(names, row, strict=True))

    def _bury(self, conn: sqlite3.Connection, row: dict[str, Any], reason: str, tries: int) -> None:
        conn.execute(
            "INSERT OR REPLACE INTO telemetry_dead"
            " (id, stream, payload, rank, tries, reason, died_at)"
            " VALUES (:id, :stream, :payload, :rank, :tries, :reason, :died_at)",
            {**row, "tries": tries, "reason": reason, "died_at": self._wall_clock()},
        )
        conn.execute("DELETE FROM telemetry_queue WHERE id = ?", (row["id"],))
        _count(conn, "dead_total")
        before = conn.total_changes
        conn.execute(
            "DELETE FROM telemetry_dead WHERE id IN"
            " (SELECT id FROM telemetry_dead ORDER BY died_at DESC, id DESC LIMIT -1 OFFSET ?)",
            (self.max_size,),
        )
        _count(conn, "dead_dropped", conn.total_changes - before)

    # Bounds.

    def _evict_old(self, conn: sqlite3.Connection) -> None:
        """Done when entries are taken out: it reads them all, and must not slow `enqueue`."""
        rows = conn.execute(
            "SELECT id FROM telemetry_queue"
            f" WHERE queued_at < :since AND NOT ({_LEASED}) ORDER BY id",
            {**self._marks(), "since": self._wall_clock() - self.max_age_seconds},
        ).fetchall()
        _evict(conn, [row[0] for row in rows], "evicted_by_age")

    def _make_room(self, conn: sqlite3.Connection) -> None:
        excess = _size(conn) - self.max_size
        if excess <= 0:
            return
        rows = conn.execute(
            f"SELECT id FROM telemetry_queue WHERE NOT ({_LEASED}) ORDER BY rank, id LIMIT :limit",
            {**self._marks(), "limit": excess + 1},
        ).fetchall()
        # Where all others are leased, so about to leave, one may stay beside them for a moment.
        victims = rows[:excess] if len(rows) > excess else rows[:-1]
        _evict(conn, [row[0] for row in victims], "evicted_by_count")


_COUNTERS = (
    "sent_total",
    "failed_total",
    "dead_total",
    "dead_dropped",
    "evicted_by_count",
    "evicted_by_age",
)


def _evict(conn: sqlite3.Connection, ids: list[int], counter: str) -> None:
    """Delete entries, and leave word of each to the next update of its job."""
    for entry_id in ids:
        # One by one: an entry may have inherited word of one before it.
        query = "SELECT stream, payload FROM telemetry_queue WHERE id = ?"
        stream, text = conn.execute(query, (entry_id,)).fetchone()
        conn.execute("DELETE FROM telemetry_queue WHERE id = ?", (entry_id,))
        payload = _decode(text)
        if stream is not None and payload.get("job_id") is not None:
            _tell_heir(conn, entry_id, stream, 1 + _lost_in(payload))
    _count(conn, counter, len(ids))


def _tell_heir(conn: sqlite3.Connection, entry_id: int, stream: str, lost: int) -> None:
    heir = conn.execute(_HEIR, {"stream": stream, "id": entry_id}).fetchone()
    if heir is None:
        conn.execute(
            "INSERT INTO telemetry_losses (stream, count) VALUES (?, ?)"
            " ON CONFLICT (stream) DO UPDATE SET count = count + excluded.count",
            (stream, lost),
        )
        return
    payload = _decode(heir[1])
    payload["lost_updates"] = _lost_in(payload) + lost
    text = _encode(payload)
    conn.execute("UPDATE telemetry_queue SET payload = ? WHERE id = ?", (text, heir[0]))


def _lost_in(payload: Mapping[str, Any]) -> int:
    lost = payload.get("lost_updates")
    return lost if isinstance(lost, int) and lost > 0 else 0


def _stream_of(payload: Mapping[str, Any]) -> str | None:
    if job_id := payload.get("job_id"):
        name = str(job_id)
    elif node_id := payload.get("node_id"):
        name = f"node/{node_id}"  # no job's: those have no slash
    else:
        return None
    return name.encode(errors="replace").decode()


def _rank_of(payload: Mapping[str, Any], important: bool) -> int:
    if payload.get("status", "running") != "running":
        return FINAL
    return IMPORTANT if important or payload.get("error") else ORDINARY


def _encode(payload: Mapping[str, Any]) -> str:
    try:
        return json.dumps(payload, separators=(",", ":"))
    except RecursionError as exc:
        raise ValueError("the payload is nested too deeply") from exc


def _decode(text: str) -> dict[str, Any]:
    """The payload; what was changed by hand, or is too deep for this thread, costs only itself."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = None
    return payload if isinstance(payload, dict) else {"unreadable": text}


def _size(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM telemetry_queue").fetchone()[0])


def _dead_ids(conn: sqlite3.Connection) -> list[int]:
    return [row[0] for row in conn.execute("SELECT id FROM telemetry_dead ORDER BY id")]


def _forget(conn: sqlite3.Connection, ids: Iterable[int]) -> None:
    conn.executemany("DELETE FROM telemetry_dead WHERE id = ?", [(dead,) for dead in ids])


def _count(conn: sqlite3.Connection, name: str, count: int = 1) -> None:
    if count:
        conn.execute(
            "INSERT INTO telemetry_counters (name, count) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
            (name, count),
        )
