"""Our own lines and the progress bar, between the bytes of the tool and never inside its lines."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ERASE = b"\r\x1b[2K"
STDERR = 2
# Where nobody reads stderr, what we have to say is not worth waiting for: whoever says it may be
# the one who passes signals on.
_PATIENCE_SECONDS = 0.5


class Screen:
    """Everything that we write while the tool runs, and what we pass on of the tool's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_bar = False
        self._is_line_start = True

    def write(self, target: int, data: bytes) -> None:
        """The tool's own bytes."""
        if target != STDERR and not os.isatty(target):
            _write_all(target, data)  # a reader of it that is slow holds up nothing else
            return
        with self._lock:
            self._erase()
            self._is_line_start = data.endswith(b"\n")
            _write_all(target, data)

    def say(self, sentence: str) -> None:
        """A line of ours on stderr. What cannot be said is not said."""
        with self._turn() as is_ours:
            if is_ours and _takes_more(_PATIENCE_SECONDS):
                self._erase()
                start = "" if self._is_line_start else "\n"
                _write_all(STDERR, f"{start}telemetry: {sentence}\n".encode(errors="replace"))
                self._is_line_start = True

    def draw(self, render: Callable[[], str]) -> None:
        """The bar, if the tool is not in the middle of a line."""
        with self._lock:
            if self._is_line_start and _takes_more(0):
                _write_all(STDERR, _ERASE + render().encode(errors="replace"))
                self._has_bar = True

    def clear(self) -> None:
        with self._turn() as is_ours:
            if is_ours and _takes_more(_PATIENCE_SECONDS):
                self._erase()

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Our turn to write, if it comes soon. Trouble with stderr is nobody's."""
        is_ours = self._lock.acquire(timeout=_PATIENCE_SECONDS)
        try:
            yield is_ours
        except OSError:
            pass
        finally:
            if is_ours:
                self._lock.release()

    def _erase(self) -> None:
        if self._has_bar:
            _write_all(STDERR, _ERASE)
            self._has_bar = False


def _takes_more(seconds: float) -> bool:
    """Whether a line can be written to stderr at once, or soon."""
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # somebody made the terminal non-blocking
            select.select([], [target], [])
