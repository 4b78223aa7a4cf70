"""Reads complete request bodies on the event loop, with a deadline and a memory budget.

A slow body occupies no thread, and a truncated one never reaches the application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidInput, NotSupported, QueueFull, RequestTimeout
from app.web.content import too_large
from app.web.request import Headers

Receive = Callable[[], Awaitable[dict[str, Any]]]

SWEEP_SECONDS = 1.0  # precision of the deadline
STOP_GRACE_SECONDS = 1.0  # for bodies still being received at shutdown
UNBUDGETED_BYTES = 64 * 1024  # always read; larger ones share a budget
LARGE_BODIES = 8  # the budget, in bodies of the largest size
_MOST_DIGITS = 19  # of a Content-Length


class Disconnected(Exception):
    """The client disconnected before sending the complete body."""


@dataclass(slots=True, eq=False)
class Body:
    """A request body. `reserved` is its share of the budget in bytes."""

    content: bytes = b""
    reserved: int = 0
    task: asyncio.Task[Any] | None = None
    began: float = 0.0


class Bodies:
    """Reads bodies of at most `largest` bytes, each within `seconds`."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds = seconds
        self._largest = largest
        self._budget = LARGE_BODIES * largest
        self._receiving: set[Body] = set()

    @property
    def is_busy(self) -> bool:
        """Whether any body is still being received."""
        return bool(self._receiving)

    async def read(
        self, headers: Headers, receive: Receive, is_taken: Callable[[], bool] = lambda: True
    ) -> Body:
        """The complete body. Pass it to `release` once the request is answered.

        `is_taken` is asked before a large body is read: an empty one if False, so that only
        requests that may use the budget do. It may raise what the request is refused with.

        Raises TooLarge, RequestTimeout, QueueFull, Disconnected, InvalidInput for a bad
        Content-Length, or NotSupported for another Transfer-Encoding than chunked.
        """
        length = _declared_length(headers)
        if length > self._largest:
            raise too_large(self._largest)
        body = Body()
        if length == 0 or (length > UNBUDGETED_BYTES and not is_taken()):
            return body
        body.task, body.began = asyncio.current_task(), time.monotonic()
        self._receiving.add(body)
        try:
            await self._receive(body, length, receive, is_taken)
        except asyncio.CancelledError:
            self.release(body)
            if self._is_late(body):
                raise RequestTimeout from None
            raise
        except BaseException:
            self.release(body)
            raise
        self._receiving.discard(body)
        body.task = None
        return body

    def release(self, body: Body) -> None:
        """Return a body's share to the budget. Idempotent."""
        if body.task is not None or body.reserved:
            self._receiving.discard(body)
            self._budget += body.reserved
            body.reserved = 0

    async def sweep(self) -> None:
        """Cancel requests whose body misses the deadline. Runs until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS / 4 if self._seconds < 2 else SWEEP_SECONDS)
            for body in list(self._receiving):
                if self._is_late(body) and body.task is not None:
                    body.task.cancel()

    def shorten_deadline(self) -> None:
        """The hub is stopping: allow only STOP_GRACE_SECONDS for the remaining bodies."""
        self._seconds = min(self._seconds, STOP_GRACE_SECONDS)

    async def _receive(
        self, body: Body, length: int, receive: Receive, is_taken: Callable[[], bool]
    ) -> None:
        message = await receive()
        first: bytes = message.get("body", b"")
        if len(first) == length:  # nearly always
            body.content = first
            return
        content = bytearray(first)
        is_asked = length >= 0
        while message["type"] == "http.request":
            if len(content) > self._largest:
                raise too_large(self._largest)
            if len(content) == length or not message.get("more_body", False):
                body.content = bytes(content)
                return
            if not is_asked and len(content) > UNBUDGETED_BYTES:
                is_asked = True
                if not is_taken():
                    return
            self._reserve(body, len(content))
            message = await receive()
            content += message.get("body", b"")
        raise Disconnected

    def _reserve(self, body: Body, size: int) -> None:
        more = max(0, size - UNBUDGETED_BYTES) - body.reserved
        if more > self._budget:
            raise QueueFull("Too many large bodies are being received; try again.")
        self._budget -= more
        body.reserved += more

    def _is_late(self, body: Body) -> bool:
        return time.monotonic() - body.began >= self._seconds


def _declared_length(headers: Headers) -> int:
    """The Content-Length; 0 without one, -1 for a chunked body."""
    if coding := headers.get("transfer-encoding", ""):
        if coding.strip().lower() != "chunked":
            raise NotSupported(
                "Transfer-Encoding: must be chunked; compress with Content-Encoding."
            )
        return -1
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        raise InvalidInput("Content-Length: must be a number.")
    return int(text)
