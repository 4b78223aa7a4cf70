"""Sends large answers in pieces, each within a deadline, and all within a memory budget.

The web server keeps in memory what a client has not read. It takes four pieces and then waits, so
an answer that is not read costs no more than that, and the connection ends if it does not move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.errors import QueueFull, RequestError
from app.server.bodies import Receive

Send = Callable[[dict[str, Any]], Awaitable[None]]

PIECE_BYTES = 16 * 1024  # smaller answers are sent as one
HELD_BYTES = 10 * PIECE_BYTES  # by the web server for each answer: four pieces, and its buffer
BUDGET_BYTES = 256 << 20
STOP_SECONDS = 1.0  # for pieces that are not taken, at shutdown


class NotTaken(RequestError):
    """The client does not read its answer."""


class Answers:
    """Sends bodies of answers; a piece must be taken within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = BUDGET_BYTES
        self._shared: dict[int, int] = {}  # how many answers send a body, by its identity
        self._deadlines: set[asyncio.Timeout] = set()  # of the answers being sent

    @property
    def is_busy(self) -> bool:
        """Whether any large answer is being sent."""
        return bool(self._shared)

    def reserve(self, body: bytes) -> None:
        """Take what sending a body costs from the budget. Raises QueueFull.

        Bytes that several answers share, such as those of a file, count once.
        """
        cost = HELD_BYTES + (0 if id(body) in self._shared else len(body))
        if cost > self._left:
            raise QueueFull("Too many large answers are being sent; try again.")
        self._left -= cost
        self._shared[id(body)] = self._shared.get(id(body), 0) + 1

    def release(self, body: bytes) -> None:
        """Return it."""
        self._left += HELD_BYTES
        self._shared[id(body)] -= 1
        if not self._shared[id(body)]:
            del self._shared[id(body)]
            self._left += len(body)

    async def send(self, body: bytes, receive: Receive, send: Send) -> None:
        """Send a body that was reserved. Ends early if the client disconnects.

        Raises NotTaken: the server closes the connection, as the answer is incomplete.
        """
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                for start in range(0, len(body), PIECE_BYTES):
                    if disconnect.done():
                        return
                    deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
                    end = start + PIECE_BYTES
                    piece = {"body": body[start:end], "more_body": end < len(body)}
                    await send({"type": "http.response.body", **piece})
        except TimeoutError:
            raise NotTaken from None
        finally:
            self._deadlines.discard(deadline)
            disconnect.cancel()

    def shorten_deadline(self) -> None:
        """The hub is stopping: allow only STOP_SECONDS for each piece."""
        self._seconds = min(self._seconds, STOP_SECONDS)
        for deadline in self._deadlines:
            deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
