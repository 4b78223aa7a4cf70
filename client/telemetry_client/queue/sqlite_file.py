"""The SQLite file of a queue, shared by threads, processes and forked children.

Every failure of it is raised as a QueueError that names the file.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import TypeVar

from telemetry_client.errors import DiskFull, QueueError
from telemetry_client.queue.sqlite_errors import (
    DamagedFile,
    is_busy,
    is_corrupt,
    is_full,
    reason_of,
)

logger = logging.getLogger("telemetry_client.queue")

T = TypeVar("T")

VERSION = 1  # of the tables in schema.sql, kept as the file's user_version
BUSY_SECONDS = 5.0  # a transaction takes under a millisecond; after 5 s a process is stuck
FORK_WAIT_SECONDS = 1.0  # how long a fork waits for a transaction of another thread
_MEMORY = ":memory:"
_HEADER = b"SQLite format 3\0"
_ASIDE = ".corrupt-"


class SQLiteFile:
    """One connection behind a lock. A damaged file is renamed, and a new one created.

    Only its owner may read it, and a group that may write it: updates name machines and errors.
    A file that is not a database, or another program's, is refused. `read_only`: nothing is
    created, renamed or changed.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        # Absolute: the program may change its working directory.
        name = os.fspath(path)
        self.path = name if name == _MEMORY else os.path.abspath(name)
        self._read_only = read_only
        self._lock = threading.RLock()
        self._conn: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that `_conn` has open
        self._was_open = False  # there was a file here before, which may have been another one
        self._refusal: str | None = None  # why it cannot be used any more
        self._is_held_for_fork = False
        _files.add(self)

    def run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> T:
        """Run `work` in one transaction, and again in a new file if this one is damaged.

        Raises QueueError.
        """
        with self._lock:
            try:
                return self._attempt(work, writes)
            except sqlite3.Error as exc:
                if not is_corrupt(exc) or self._read_only:
                    raise self._translated(exc) from exc
                self._rename_damaged(exc)
            try:
                return self._attempt(work, writes)
            except sqlite3.Error as exc:
                raise self._translated(exc) from exc

    def close(self) -> None:
        """Close the connection; later calls raise QueueError."""
        with self._lock:
            self._refusal = self._refusal or "it is closed"
            self._disconnect()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], writes: bool) -> T:
        conn = self._connected()
        if conn.in_transaction:  # a signal handler has interrupted this thread within `work`
            raise QueueError(f"{self.path}: the interrupted code is using it")
        try:
            # IMMEDIATE: reading first and locking later fails without waiting if another process
            # has written in between.
            conn.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            result = work(conn)
            conn.execute("COMMIT")
        except BaseException as exc:
            self._roll_back(conn)
            if isinstance(exc, sqlite3.OperationalError) and not is_busy(exc):
                self._disconnect()  # after an I/O error it is safer to open the file again
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
        # The file may have been renamed by another process, or deleted: what is written to a file
        # without a name is lost.
        if self._conn is not None and self._identity != self._identity_now():
            self._disconnect()
        if self._conn is None:
            self._conn = self._connect()
        return self._conn

    def _connect(self) -> sqlite3.Connection:
        conn = self._open_to_read() if self._read_only else self._open()
        try:
            self._was_open = self._identity is not None
            self._identity = self._identity_now()
            self._refuse_foreign(conn)
            if not self._read_only:
                _use_wal(conn)
            # A commit is in the system's cache when it returns, so killing the process loses
            # nothing. A power cut may lose the last commits, but does not damage the file;
            # syncing the disk for each update would cost the host too much.
            conn.execute("PRAGMA synchronous=NORMAL")
            self._check(conn)
            # Again: a new file may not exist before its tables do.
            self._identity = self._identity_now()
        except BaseException:
            conn.close()
            raise
        return conn

    def _open(self) -> sqlite3.Connection:
        if self.path != _MEMORY:
            self._make_directory()
            _require_database(self.path)
            _make_private(self.path)
        return _connect(self.path)

    def _open_to_read(self) -> sqlite3.Connection:
        _require_database(self.path)
        # Without a log no process has written to it, and to take part in locking would leave files,
        # for which a full disk has no room.
        form = "mode=ro" if _size_of(self.path + "-wal") else "immutable=1"
        return _connect(f"{Path(self.path).as_uri()}?{form}", uri=True)

    def _make_directory(self) -> None:
        directory = Path(self.path).absolute().parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise QueueError(f"{self.path}: {directory} cannot be created: {reason}") from exc

    def _refuse_foreign(self, conn: sqlite3.Connection) -> None:
        """Raise QueueError for another program's database, before anything in it is changed."""
        conn.execute("BEGIN")  # both reads see the same state
        try:
            (version,) = conn.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
        finally:
            self._roll_back(conn)
        if version not in (0, VERSION):
            raise QueueError(
                f"{self.path}: its version is {version}, but this program needs {VERSION}"
            )
        if tables and (version == 0 or "telemetry_queue" not in tables):
            raise QueueError(f"{self.path}: it is the database of another program")
        if not tables and self._read_only:
            raise QueueError(
                f"{self.path}: it is empty; the next sender makes it a queue, if its disk has room"
            )

    def _check(self, conn: sqlite3.Connection) -> None:
        """Create the tables in a new file, and find damage before use."""
        if conn.execute("PRAGMA user_version").fetchone() == (0,):
            _create(conn, ids_before=self._ids_before())
        (problem,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise DamagedFile(problem)

    def _ids_before(self) -> int:
        """The id that a new file continues from. In place of another file, above all of that one's:
        a process that still has an entry of it must not settle another entry with the same id.
        """
        if self.path == _MEMORY or not (self._was_open or _set_aside(self.path)):
            return 0
        return time.time_ns() // 1_000_000  # no file has had a thousand entries each second

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            try:
                conn.close()
            except sqlite3.Error:
                logger.debug("closing %s failed", self.path, exc_info=True)

    def _rename_damaged(self, exc: sqlite3.Error) -> None:
        identity = self._identity
        self._disconnect()
        if identity is None or identity != self._identity_now():
            return  # another process was first, and has created a new one
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        aside = f"{self.path}{_ASIDE}{stamp}"
        try:
            for suffix in ("-wal", "-shm"):  # first: a new file must not find them
                if os.path.exists(self.path + suffix):
                    os.replace(self.path + suffix, aside + suffix)
            os.replace(self.path, aside)
        except OSError as failure:
            raise QueueError(f"{self.path}: it is damaged and cannot be renamed") from failure
        logger.error(
            "telemetry queue %s is damaged (%s): renamed to %s, and a new one created",
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
        kind = DiskFull if is_full(exc) else QueueError
        return kind(f"{self.path}: {reason_of(exc)}")

    # A forked child that has its parent's connection, even unused, corrupts the file for both
    # (https://sqlite.org/howtocorrupt.html, 2.6). So the connection is closed before each fork.

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
            self._inherited = self._conn  # kept: closing it would affect the parent's file
            self._conn = None
            self._refusal = "it was in use when this process was forked; open it again"


_files: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()
_held: list[SQLiteFile] = []  # by the current fork


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


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri
    )


def _require_database(path: str) -> None:
    """Raise QueueError for a file of another kind: it would count as damaged, and be renamed."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return  # SQLite says what is wrong
        with open(path, "rb") as file:
            begins = file.read(len(_HEADER))
    except OSError:  # likewise
        return
    if begins and begins != _HEADER and any(begins):  # a power cut may leave no bytes, or zeros
        raise QueueError(f"{path}: it is not a queue")


def _make_private(path: str) -> None:
    """Create the file for its owner only. An existing one is closed to others.

    A group that may write it keeps its access: it was given it on purpose. SQLite gives its other
    files the same mode.
    """
    with suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # missing, or of another user
            mode = stat.S_IMODE(os.stat(name).st_mode)
            if mode & stat.S_IRWXO:
                os.chmod(name, 0o660 if mode & stat.S_IWGRP else 0o600)


def _use_wal(conn: sqlite3.Connection) -> None:
    """Allow readers beside a writer. The busy timeout does not apply when two processes do this."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            conn.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _size_of(path: str) -> int:
    """In bytes; 0 for a file that does not exist."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _set_aside(path: str) -> bool:
    """Whether a damaged file of this name was renamed."""
    folder, name = os.path.split(path)
    with suppress(OSError):
        return any(each.startswith(name + _ASIDE) for each in os.listdir(folder))
    return False


def _create(conn: sqlite3.Connection, *, ids_before: int) -> None:
    """Create the tables, unless another process just did."""
    schema = resources.files("telemetry_client.queue").joinpath("schema.sql").read_text("utf-8")
    conn.execute("BEGIN IMMEDIATE")
    try:
        if conn.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in schema.split(";\n"):
                conn.execute(statement)
            if ids_before:
                row = ("telemetry_queue", ids_before)
                conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)
                conn.execute("INSERT INTO telemetry_counters VALUES ('ids_before', ?)", row[1:])
            conn.execute(f"PRAGMA user_version={VERSION}")
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
