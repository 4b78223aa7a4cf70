"""Keeps threads free for those who ask: pushes may hold only so many, whatever they wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.api.pending import WHEN_READY
from app.api.refusals import answer_refusal
from app.database.pool import MOST_READS
from app.errors import QueueFull

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


READING = ("GET", "HEAD", "OPTIONS")
SPARE_THREADS = MOST_READS + 12


class TooManyPushes(QueueFull):
    """Too many requests are waiting for their commit; try again."""


def spare_threads(threads: int) -> int:
    """Those that no push may have: enough for all reads that may wait for a connection, and for
    /health. Where there are few in all, three quarters of them."""
    return min(SPARE_THREADS, threads * 3 // 4)


class PushGate:
    """WSGI middleware: at most `limit` requests with a body at once, the others 503 at once.

    Those that hold no thread (`app.api.pending`) do not count.

    A push holds its thread while it waits for its commit (and, where the server does not read it
    first, for its body). Without a limit a slow database would hold every thread, and /health would
    find none.
    """

    def __init__(self, next_app: WSGIApplication, limit: int) -> None:
        self._next = next_app
        self._free = limit
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READING or WHEN_READY in environ:
            return self._next(environ, start_response)
        if not self._take():
            refusal = TooManyPushes()
            return answer_refusal(refusal, environ)(environ, start_response)
        try:
            return self._next(environ, start_response)
        finally:
            with self._lock:
                self._free += 1

    def is_full_for(self, method: str) -> bool:
        """Whether a request would be refused now.

        For a server that can ask before it hands a request to a thread: from there a refusal costs
        about as much as storing an update, and under overload little would be left for storing.
        """
        return self._free <= 0 and method not in READING

    def _take(self) -> bool:
        with self._lock:
            if self._free <= 0:
                return False
            self._free -= 1
            return True
