"""Runs in threads what would block the event loop: Flask, and the decoding of large pushes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from app.database.pool import MOST_READS
from app.errors import TooManyPushes, Unavailable
from app.server.settling import Settling

# Reserved for reads: every read that may wait for a connection, and /health. Where there are few
# threads, three quarters of them.
SPARE_THREADS = MOST_READS + 12

T = TypeVar("T")


class Threads:
    """Runs calls in at most `most` threads, started as needed.

    Calls that write may use only some of them. Otherwise a slow database would block every thread,
    and none would be left for /health.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_writing = most - min(SPARE_THREADS, most * 3 // 4)
        self._settling = Settling()
        self._started = 0
        self._running = 0
        self._writing = 0
        self._waiting: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = SimpleQueue()

    @property
    def is_busy(self) -> bool:
        """Whether any call is running or waiting for a thread."""
        return self._running > 0

    async def run(self, call: Callable[[], T]) -> T:
        """Wait for a free thread, and return or raise what the call does."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._running += 1
        try:
            if self._running > self._started and self._started < self._most:
                self._start_another()
            self._waiting.put((call, done))
            result, error = await done
        finally:
            self._running -= 1
        if error is not None:
            raise error
        return cast(T, result)

    async def run_limited(self, call: Callable[[], T]) -> T:
        """As `run`, but raises TooManyPushes at once if too many calls write already."""
        if self._writing >= self._most_writing:
            raise TooManyPushes
        self._writing += 1
        try:
            return await self.run(call)
        finally:
            self._writing -= 1

    def _start_another(self) -> None:
        """Start a thread. If the system refuses, continue with those that run."""
        name = f"request-{self._started + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as exc:
            if self._started == 0:
                raise Unavailable("The hub is short of threads or memory; try again.") from exc
            return
        self._started += 1

    def _work(self) -> None:
        while True:
            call, done = self._waiting.get()
            result, error = None, None
            try:
                result = call()
            except BaseException as exc:  # also SystemExit: the thread goes on
                error = exc
            self._settling.settle(done, (result, error))
            del call, done, result, error  # free them before waiting for the next call
