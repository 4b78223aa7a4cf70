"""The SQLite file below the queue: opened, shared with threads, processes and forks, kept usable.

Whatever is wrong with it leaves here as a QueueError that names the file.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TypeVar

from telemetry_client.errors import QueueError

logger = logging.getLogger("telemetry_client.queue")

T = TypeVar("T")

VERSION = 1  # of the tables in queue.sql, kept as the file's user_version
BUSY_SECONDS = 5.0  # one transaction takes under a millisecond; 5 s mean that somebody is stuck
FORK_WAIT_SECONDS = 1.0  # a fork waits so long for a transaction of another thread
_MEMORY = ":memory:"

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk is full or failing",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_PERM: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is its directory there and writable?",
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked",
}
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class QueueFile:
    """One connection behind a lock. A damaged file is set aside and a new one begun."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Absolute: the program may go to another directory, and the queue stays where it is.
        name = os.fspath(path)
        self.path = name if name == _MEMORY else os.path.abspath(name)
        self._lock = threading.RLock()
        self._conn: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that `_conn` has open
        self._refusal: str | None = None  # why it will not be used any more
        self._is_held_for_fork = False
        _files.add(self)

    def run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> T:
        """Do `work` in one transaction; it may be done twice, if the file turns out damaged.

        Raises QueueError.
        """
        with self._lock:
            try:
                return self._attempt(work, writes)
            except sqlite3.Error as exc:
                if not _is_corrupt(exc):
                    raise self._translated(exc) from exc
                self._set_aside(exc)
            try:
                return self._attempt(work, writes)
            except sqlite3.Error as exc:
                raise self._translated(exc) from exc

    def close(self) -> None:
        with self._lock:
            self._refusal = self._refusal or "it is closed"
            self._disconnect()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], writes: bool) -> T:
        conn = self._connected()
        if conn.in_transaction:  # a signal's handler has interrupted this thread inside of `work`
            raise QueueError(f"{self.path}: it is in use by the code that was interrupted")
        try:
            # IMMEDIATE: to read first and take the write lock later fails when another process
            # wrote in between, without any waiting.
            conn.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            result = work(conn)
            conn.execute("COMMIT")
        except BaseException as exc:
            self._roll_back(conn)
            if isinstance(exc, sqlite3.OperationalError) and not _is_busy(exc):
                self._disconnect()  # after an I/O error a fresh look at the file is safer
            raise
        return result

    def _roll_back(self, conn: sqlite3.Connection) -> None:
        try:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._refusal is not None:
            raise QueueError(f"{self.path}: {self._refusal}")
        # Another process may have set the file aside, or somebody deleted it: what is written to
        # a file without a name is lost.
        if self._conn is not None and self._identity != self._identity_now():
            self._disconnect()
        if self._conn is None:
            self._conn = self._connect()
        return self._conn

    def _connect(self) -> sqlite3.Connection:
        if self.path != _MEMORY:
            self._make_directory()
        conn = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._identity = self._identity_now()
            _use_wal(conn)
            # A commit is in the system's cache when it returns, so that no kill of a process can
            # take it back. Only a power cut could take the last ones (never damage the file), and
            # a sync of the disk at each update would cost the host too much.
            conn.execute("PRAGMA synchronous=NORMAL")
            self._check(conn)
            # Afterwards, because an empty file has none until its tables are made.
            self._identity = self._identity_now()
        except BaseException:
            conn.close()
            raise
        return conn

    def _make_directory(self) -> None:
        directory = Path(self.path).absolute().parent
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise QueueError(f"{self.path}: {directory} cannot be made: {reason}") from exc

    def _check(self, conn: sqlite3.Connection) -> None:
        """Make the tables in a new file; refuse what is not ours; find damage before use."""
        (version,) = conn.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _create(conn, self.path)
        elif version != VERSION:
            raise QueueError(f"{self.path}: it is of version {version}, and this is {VERSION}")
        (verdict,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict)

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            try:
                conn.close()
            except sqlite3.Error:
                logger.debug("closing %s failed", self.path, exc_info=True)

    def _set_aside(self, exc: sqlite3.Error) -> None:
        identity = self._identity
        self._disconnect()
        if identity is None or identity != self._identity_now():
            return  # another process was first, and has begun a new one
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = f"{self.path}.corrupt-{stamp}"
        try:
            for suffix in ("-wal", "-shm"):  # before the file itself: a new one must not find them
                if os.path.exists(self.path + suffix):
                    os.replace(self.path + suffix, aside + suffix)
            os.replace(self.path, aside)
        except OSError as failure:
            raise QueueError(f"{self.path}: it is damaged and cannot be renamed") from failure
        logger.error(
            "telemetry queue %s is damaged (%s): set aside as %s, and a new one begun",
            self.path,
            exc,
            aside,
        )

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self.path)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def _translated(self, exc: sqlite3.Error) -> QueueError:
        reason = _REASONS.get(_code(exc))
        return QueueError(f"{self.path}: {reason or f'it cannot be used: {exc}'}")

    # SQLite keeps track of its locks in memory, and the system gives a child none of them: a child
    # that has a parent's connection, even unused, breaks the file for both
    # (https://sqlite.org/howtocorrupt.html, 2.6). So it is closed before each fork.

    def _before_fork(self) -> None:
        self._is_held_for_fork = self._lock.acquire(timeout=FORK_WAIT_SECONDS)
        if self._is_held_for_fork:
            self._disconnect()

    def _after_fork_in_parent(self) -> None:
        if self._is_held_for_fork:
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        if not self._is_held_for_fork:
            self._inherited = self._conn  # kept: to close it would touch the parent's file
            self._conn = None
            self._refusal = "it was busy when this process was forked; open it anew"


class _Damaged(sqlite3.DatabaseError):
    """What a check found, as if SQLite had met it."""


_files: weakref.WeakSet[QueueFile] = weakref.WeakSet()
_held: list[QueueFile] = []  # by the fork that is under way


def _before_fork() -> None:
    _held[:] = list(_files)
    for file in _held:
        file._before_fork()


def _after_fork_in_parent() -> None:
    for file in _held:
        file._after_fork_in_parent()
    _held.clear()


def _after_fork_in_child() -> None:
    for file in _held:
        file._after_fork_in_child()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def _use_wal(conn: sqlite3.Connection) -> None:
    """Readers and a writer side by side. Two processes that both begin get no busy timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            conn.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if not _is_busy(exc) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _create(conn: sqlite3.Connection, path: str) -> None:
    """Make the tables, unless another process just did."""
    schema = resources.files("telemetry_client").joinpath("queue.sql").read_text("utf-8")
    conn.execute("BEGIN IMMEDIATE")
    try:
        if conn.execute("PRAGMA user_version").fetchone() == (0,):
            if conn.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                raise QueueError(f"{path}: it is a database of something else")
            for statement in schema.split(";\n"):
                conn.execute(statement)
            conn.execute(f"PRAGMA user_version={VERSION}")
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def _code(exc: sqlite3.Error) -> int:
    """The primary result code; the rest of it says which kind of disk error, say."""
    return int(getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF


def _is_busy(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_corrupt(exc: sqlite3.Error) -> bool:
    return isinstance(exc, _Damaged) or _code(exc) in _CORRUPT
