"""Asks the embedded engine whether it answers, within a time limit."""

from __future__ import annotations

import select
import threading
import time

from psycopg import OperationalError, pq

# The hub's session must find the hub's tables: its search_path is not left to chance. An engine
# without them has just been made.
_QUESTION = b"SELECT to_regclass('jobs') IS NOT DISTINCT FROM to_regclass('public.jobs')"


class EnginePing:
    """Asks for the table `jobs` over its own connection. Thread-safe.

    It uses libpq's asynchronous functions, because a psycopg cursor has no time limit.
    """

    def __init__(self) -> None:
        self._conn: pq.abc.PGconn | None = None
        self._lock = threading.Lock()

    def ask(self, dsn: str, timeout_seconds: float) -> bool:
        """Whether the engine at `dsn` answered in time, as one that serves the hub."""
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            is_kept = self._conn is not None
            try:
                return self._ask_once(dsn, deadline)
            except TimeoutError:
                self._close()  # a late answer must not be taken for that of the next query
                return False
            except OperationalError:
                self._close()
            if not is_kept:
                return False
            # The kept connection belonged to an engine that has ended: ask the current one.
            try:
                return self._ask_once(dsn, deadline)
            except (OperationalError, TimeoutError):
                self._close()
                return False

    def forget(self) -> None:
        """Close the connection: the engine is about to end."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.finish()
            self._conn = None

    def _ask_once(self, dsn: str, deadline: float) -> bool:
        if self._conn is None:
            self._conn = pq.PGconn.connect_start(dsn.encode())
            self._connect(self._conn, deadline)
        conn = self._conn
        conn.send_query(_QUESTION)
        result = self._result(conn, deadline)
        answered = result is not None and result.get_value(0, 0) == b"t"
        while result is not None:
            result = self._result(conn, deadline)
        return answered

    @staticmethod
    def _connect(conn: pq.abc.PGconn, deadline: float) -> None:
        status: int = pq.PollingStatus.WRITING
        while status != pq.PollingStatus.OK:
            if status == pq.PollingStatus.FAILED:
                raise OperationalError("cannot connect")
            wait_for(conn.socket, deadline, for_writing=status == pq.PollingStatus.WRITING)
            status = conn.connect_poll()

    @staticmethod
    def _result(conn: pq.abc.PGconn, deadline: float) -> pq.abc.PGresult | None:
        while conn.is_busy():
            wait_for(conn.socket, deadline)
            conn.consume_input()
        return conn.get_result()


def wait_for(fd: int, deadline: float, *, for_writing: bool = False) -> None:
    """Wait until the descriptor is ready. Raises TimeoutError after `deadline` (monotonic)."""
    poller = select.poll()  # select() takes no descriptor above 1023
    poller.register(fd, select.POLLOUT if for_writing else select.POLLIN)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
