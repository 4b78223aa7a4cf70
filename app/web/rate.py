"""Limits the updates per second of each token, so that one sender cannot slow down the others."""

from __future__ import annotations

import math
import threading
import time

from app.errors import TooManyUpdates

BURST_SECONDS = 2.0  # a sender may push this many seconds' worth at once


class TokenRate:
    """A token bucket for each token. Thread-safe.

    The size of a batch is known only after decoding. So a batch is accepted, and its updates are
    charged to the token's next pushes.
    """

    def __init__(self, updates_per_second: float) -> None:
        self._rate = updates_per_second
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by token id: updates left, and when

    def take(self, token_id: str) -> None:
        """Count one update. Raises TooManyUpdates without counting it."""
        with self._lock:
            left = self._balance(token_id)
            if left >= 1:
                self._left[token_id] = left - 1, time.monotonic()
                return
        wait = (1 - left) / self._rate
        refusal = TooManyUpdates(
            f"This token may push {self._rate:g} updates a second; try again in {wait:.1f} s."
        )
        refusal.retry_after_seconds = math.ceil(wait)
        raise refusal

    def charge(self, token_id: str, more: int) -> None:
        """Count the updates of a batch after its first."""
        with self._lock:
            self._left[token_id] = self._balance(token_id) - more, time.monotonic()

    def _balance(self, token_id: str) -> float:
        most = max(1.0, self._rate * BURST_SECONDS)
        left, at = self._left.get(token_id, (most, 0.0))
        return min(most, left + (time.monotonic() - at) * self._rate)
