"""Keeps threads free for those who ask: pushes may hold only so many, whatever they wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.api.refusals import answer_refusal
from app.errors import QueueFull

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class TooManyPushes(QueueFull):
    """Too many requests are waiting for their commit; try again."""


class PushGate:
    """WSGI middleware: at most `limit` requests with a body at once, the others 503 at once.

    A push holds its thread while it waits for its commit (and, where `app.web_server` does not read
    it first, for its body). Without a limit a slow database would hold every thread, and /health
    would find none.
    """

    def __init__(self, next_app: WSGIApplication, limit: int) -> None:
        self._next = next_app
        self._free = threading.Semaphore(limit)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return self._next(environ, start_response)
        if not self._free.acquire(blocking=False):
            refusal = TooManyPushes()
            return answer_refusal(refusal, environ)(environ, start_response)
        try:
            return self._next(environ, start_response)
        finally:
            self._free.release()
