"""How many updates a second one token may push, so that a sender in a loop costs others nothing."""

from __future__ import annotations

import math
import threading
import time

from app.errors import TooManyUpdates

BURST_SECONDS = 2.0  # what a sender may catch up on at once


class TokenRate:
    """Counts updates by token. Thread-safe.

    How many updates a batch has is known only once it is read. So a batch is taken, and what it is
    too large by is a debt that the token's next pushes wait for.
    """

    def __init__(self, updates_per_second: float) -> None:
        self._rate = updates_per_second
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by token: updates, and when that was

    def take(self, token_id: str) -> None:
        """Count one update. Raises TooManyUpdates, and then nothing is counted."""
        with self._lock:
            left = self._present(token_id)
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
        """Count what a batch had in it besides its first update."""
        with self._lock:
            self._left[token_id] = self._present(token_id) - more, time.monotonic()

    def _present(self, token_id: str) -> float:
        most = max(1.0, self._rate * BURST_SECONDS)
        left, at = self._left.get(token_id, (most, 0.0))
        return min(most, left + (time.monotonic() - at) * self._rate)
