"""Searches lines in a process of its own, for expressions of users: they may not end in years."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from telemetry_client.errors import SearchTooLong
from telemetry_client.readers.pattern import Found, Search

# Of processor time, for the lines of one read. Usual expressions take milliseconds.
LONGEST_SEARCH_SECONDS = 0.5


class SearchProcess:
    """A `Search` that ends itself when it takes too long; the next call raises SearchTooLong.

    Python can neither interrupt an expression nor do anything else meanwhile, such as passing on
    the tool's output. Made before any thread is started, since it forks. `inherited`: file
    descriptors that the process must not keep open.
    """

    def __init__(self, search: Search, inherited: Sequence[int] = ()) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        closed = (*inherited, self._connection.fileno())
        context.Process(target=_serve, args=(search, theirs, closed), daemon=True).start()
        theirs.close()

    def __call__(self, lines: Sequence[str]) -> list[Found | None]:
        try:
            self._connection.send(lines)
            found: list[Found | None] = self._connection.recv()
        except (EOFError, OSError) as exc:
            raise SearchTooLong("by --progress-regex: it takes too long for a line") from exc
        return found


def _serve(search: Search, connection: Connection, closed: Sequence[int]) -> None:
    for descriptor in closed:
        os.close(descriptor)
    while True:
        try:
            lines = connection.recv()
        except EOFError:  # the tool has ended
            return
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_SEARCH_SECONDS)  # then SIGVTALRM kills it
        found = search(lines)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        connection.send(found)
