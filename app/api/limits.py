"""How many updates a second one token may push, so that one sender's loop costs nobody else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import request

from app.api.refusals import answer_refusal
from app.auth.scopes import Claims
from app.errors import TooManyUpdates

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BURST_SECONDS = 2.0  # what a sender may catch up on at once


class TokenRate:
    """WSGI middleware behind the check of tokens: 429 to pushes of a token that is over its rate.

    How many updates a batch has is known only once it is read. So it is taken, and what it is too
    large by is a debt that the token's next pushes wait for.
    """

    def __init__(self, next_app: WSGIApplication, updates_per_second: float) -> None:
        self._next = next_app
        self._rate = updates_per_second
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by token: updates, and when that was

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        claims: Claims | None = environ.get("hub.claims")
        if claims is None or environ["REQUEST_METHOD"] != "POST":
            return self._next(environ, start_response)
        wait = self.take(claims.token_id)
        if wait > 0:
            refusal = TooManyUpdates(
                f"This token may push {self._rate:g} updates a second; try again in {wait:.1f} s."
            )
            refusal.retry_after_seconds = math.ceil(wait)
            return answer_refusal(refusal, environ)(environ, start_response)
        environ["hub.charge"] = lambda more: self.charge(claims.token_id, more)
        return self._next(environ, start_response)

    def take(self, token_id: str) -> float:
        """Count one update; or the seconds until one may come, and then nothing is counted."""
        with self._lock:
            left = self._present(token_id)
            if left < 1:
                return (1 - left) / self._rate
            self._left[token_id] = left - 1, time.monotonic()
            return 0.0

    def charge(self, token_id: str, more: int) -> None:
        """Count what a batch had in it besides its first."""
        with self._lock:
            self._left[token_id] = self._present(token_id) - more, time.monotonic()

    def _present(self, token_id: str) -> float:
        most = max(1.0, self._rate * BURST_SECONDS)
        left, at = self._left.get(token_id, (most, 0.0))
        return min(most, left + (time.monotonic() - at) * self._rate)


def charge_batch(count: int) -> None:
    """Count the updates of the present request, one of which was counted when it came."""
    charge = request.environ.get("hub.charge")
    if charge is not None and count > 1:
        charge(count - 1)
