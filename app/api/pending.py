"""Answers that are waited for without a thread.

By WSGI each answer holds a thread until it is there. A server that can wait otherwise leaves in the
environment, under WHEN_READY, what is to be called then, from any thread; an application that makes
use of it returns a PendingAnswer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

WHEN_READY = "hub.when_ready"


class PendingAnswer:
    """What a WSGI application returns whose answer is still to come.

    To be iterated once WHEN_READY was called or `seconds` have passed, whichever comes first; only
    then it calls `start_response`.
    """

    def __init__(self, seconds: float, answer: Callable[[], Iterable[bytes]]) -> None:
        self.seconds = seconds
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer())
