"""Our own lines and the progress bar, between the lines of the tool and never inside them."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ERASE = b"\r\x1b[2K"
STDERR = 2
# If stderr is blocked, our lines are dropped: the thread that prints may have to pass on signals.
_MAX_WAIT_SECONDS = 0.5


class Screen:
    """Everything that is written while the tool runs: its own output and ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_bar = False
        self._is_line_start = True

    def write(self, target: int, data: bytes) -> None:
        """Write the tool's bytes."""
        if target != STDERR and not os.isatty(target):
            _write_all(target, data)  # a slow reader of it delays nothing else
            return
        with self._lock:
            self._erase()
            self._is_line_start = data.endswith(b"\n")
            _write_all(target, data)

    def say(self, sentence: str) -> None:
        """Write a line of ours to stderr, or drop it if stderr is blocked."""
        with self._turn() as has_lock:
            if has_lock and _is_writable(_MAX_WAIT_SECONDS):
                self._erase()
                start = "" if self._is_line_start else "\n"
                _write_all(STDERR, f"{start}telemetry: {sentence}\n".encode(errors="replace"))
                self._is_line_start = True

    def draw(self, render: Callable[[], str]) -> None:
        """Draw the bar, unless the tool is in the middle of a line."""
        with self._lock:
            if self._is_line_start and _is_writable(0):
                _write_all(STDERR, _ERASE + render().encode(errors="replace"))
                self._has_bar = True

    def clear(self) -> None:
        """Erase the bar."""
        with self._turn() as has_lock:
            if has_lock and _is_writable(_MAX_WAIT_SECONDS):
                self._erase()

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Take the lock if it is free soon, and yield whether it is taken. Ignores OSError."""
        has_lock = self._lock.acquire(timeout=_MAX_WAIT_SECONDS)
        try:
            yield has_lock
        except OSError:
            pass
        finally:
            if has_lock:
                self._lock.release()

    def _erase(self) -> None:
        if self._has_bar:
            _write_all(STDERR, _ERASE)
            self._has_bar = False


def _is_writable(seconds: float) -> bool:
    """Whether a line can be written to stderr at once, or soon."""
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # the terminal was made non-blocking
            select.select([], [target], [])
