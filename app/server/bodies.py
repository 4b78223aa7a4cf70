"""Reads the bodies of requests on the event loop: whole, by a deadline, within a budget of memory.

A body that comes slowly holds no thread, and one that is cut off never reaches the application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidInput, QueueFull, RequestTimeout
from app.web.content import too_large
from app.web.request import Headers

Receive = Callable[[], Awaitable[dict[str, Any]]]

SWEEP_SECONDS = 1.0  # how exactly the deadline of a body is kept
STOP_GRACE_SECONDS = 1.0  # for bodies on their way when the hub is told to stop
SMALL_BODY = 64 * 1024  # always read; larger ones share a budget
LARGE_BODIES = 8  # so many of the largest, all together
_MOST_DIGITS = 19  # of a length


class Gone(Exception):
    """The sender left before its body was whole."""


@dataclass(slots=True, eq=False)
class Body:
    """A body that was read, or is being read. `held` counts its bytes of the budget."""

    content: bytes = b""
    held: int = 0
    task: asyncio.Task[Any] | None = None
    began: float = 0.0


class Bodies:
    """Reads bodies of at most `largest` bytes, each within `seconds`."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds = seconds
        self._largest = largest
        self._budget = LARGE_BODIES * largest
        self._coming: set[Body] = set()

    @property
    def are_coming(self) -> bool:
        """Whether any body is still on its way."""
        return bool(self._coming)

    async def read(self, headers: Headers, receive: Receive) -> Body:
        """The whole body. Hand it to `forget` once the request is answered.

        Raises TooLarge, RequestTimeout, QueueFull, InvalidInput for a bad Content-Length, or Gone
        when the sender left in the middle.
        """
        length = _declared_length(headers)
        if length > self._largest:
            raise too_large(self._largest)
        body = Body()
        if length == 0:
            return body
        body.task, body.began = asyncio.current_task(), time.monotonic()
        self._coming.add(body)
        try:
            await self._collect(body, length, receive)
        except asyncio.CancelledError:
            self.forget(body)
            if self._is_late(body):
                raise RequestTimeout from None
            raise
        except BaseException:
            self.forget(body)
            raise
        self._coming.discard(body)
        body.task = None
        return body

    def forget(self, body: Body) -> None:
        """Give back what a body held. Idempotent."""
        if body.task is not None or body.held:
            self._coming.discard(body)
            self._budget += body.held
            body.held = 0

    async def sweep(self) -> None:
        """End those that are late, for as long as the hub runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS / 4 if self._seconds < 2 else SWEEP_SECONDS)
            for body in list(self._coming):
                if self._is_late(body) and body.task is not None:
                    body.task.cancel()

    def hurry(self) -> None:
        """The hub stops: wait only a moment for what is on its way."""
        self._seconds = min(self._seconds, STOP_GRACE_SECONDS)

    async def _collect(self, body: Body, length: int, receive: Receive) -> None:
        message = await receive()
        first: bytes = message.get("body", b"")
        if len(first) == length:  # nearly always
            body.content = first
            return
        content = bytearray(first)
        while message["type"] == "http.request":
            if len(content) > self._largest:
                raise too_large(self._largest)
            if len(content) == length or not message.get("more_body", False):
                body.content = bytes(content)
                return
            self._hold(body, len(content))
            message = await receive()
            content += message.get("body", b"")
        raise Gone

    def _hold(self, body: Body, size: int) -> None:
        more = max(0, size - SMALL_BODY) - body.held
        if more > self._budget:
            raise QueueFull("Too many large bodies are being received; try again.")
        self._budget -= more
        body.held += more

    def _is_late(self, body: Body) -> bool:
        return time.monotonic() - body.began >= self._seconds


def _declared_length(headers: Headers) -> int:
    """The Content-Length, 0 without one; -1 for a body that comes in pieces until it ends."""
    if headers.get("transfer-encoding", ""):
        return -1
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        raise InvalidInput("Content-Length: is not a number.")
    return int(text)
