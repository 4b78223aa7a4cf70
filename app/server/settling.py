"""Gives futures of the event loop their results from other threads."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

# A commit may settle 2,000 pushes. To answer them takes 0.3 s, and others come meanwhile.
SETTLED_AT_ONCE = 50


class Settling:
    """Wakes the event loop once for many futures. All of them are of one loop."""

    def __init__(self) -> None:
        self._settled: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_woken = False

    def settle(self, future: asyncio.Future[Any], result: Any) -> None:
        """Set the result of a future, or raise an exception there. From any thread."""
        self._settled.append((future, result))
        if self._is_woken:
            return
        self._is_woken = True
        try:
            future.get_loop().call_soon_threadsafe(self._set_results)
        except (RuntimeError, MemoryError):
            # The loop has ended, as does the process; or the next to come wakes it for all.
            self._is_woken = False

    def _set_results(self) -> None:
        self._is_woken = False  # first: what is settled from now on wakes the loop again
        for _ in range(min(len(self._settled), SETTLED_AT_ONCE)):
            future, result = self._settled.popleft()
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._settled and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._set_results)
