"""Sets the results of event loop futures from other threads."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

# A commit may settle 2,000 pushes. Answering them all takes 0.3 s, which would block the loop.
SETTLED_AT_ONCE = 50


class Settling:
    """Wakes the event loop once for many futures. All must belong to the same loop."""

    def __init__(self) -> None:
        self._settled: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_woken = False

    def settle(self, future: asyncio.Future[Any], result: Any) -> None:
        """Set a future's result. Thread-safe."""
        self._settled.append((future, result))
        if self._is_woken:
            return
        self._is_woken = True
        try:
            future.get_loop().call_soon_threadsafe(self._set_results)
        except (RuntimeError, MemoryError):
            # The loop is closed because the process is exiting, or the next call wakes it.
            self._is_woken = False

    def _set_results(self) -> None:
        self._is_woken = False  # first, so that later calls of `settle` wake the loop again
        for _ in range(min(len(self._settled), SETTLED_AT_ONCE)):
            future, result = self._settled.popleft()
            if not future.done():
                future.set_result(result)
        if self._settled and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._set_results)
