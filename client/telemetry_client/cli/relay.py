"""Passes on what the tool writes, byte for byte and at once."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable

from telemetry_client.cli.screen import Screen
from telemetry_client.readers import Stream

_CHUNK_BYTES = 1 << 16
# A process that the tool left behind may keep the pipe open (an ssh master) or write to it for
# ever: it is read until it is quiet, in bounded time.
_QUIET_SECONDS = 0.3
_LEFT_BEHIND_SECONDS = 2.0
_POLL_MS = 100

STDOUT, STDERR = 1, 2


class Relay(threading.Thread):
    """One pipe. What is read is passed on first, and then given to `look`."""

    def __init__(
        self, source: int, target: int, screen: Screen, look: Callable[[bytes], None]
    ) -> None:
        super().__init__(name="telemetry-relay", daemon=True)
        self.error: OSError | None = None
        self._source = source
        self._target = target
        self._screen = screen
        self._look = look
        self._has_ended = threading.Event()
        self._deadline = 0.0
        self._remaining = 0  # bytes that the tool had left in the pipe

    def tool_ended(self) -> None:
        """Read what is left in the pipe, then stop."""
        self._remaining = _bytes_in(self._source)
        self._deadline = time.monotonic() + _LEFT_BEHIND_SECONDS
        self._has_ended.set()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        quiet_seconds = 0.0
        while quiet_seconds < _QUIET_SECONDS and not self._is_overdue():
            if not poll.poll(_POLL_MS):
                quiet_seconds += _POLL_MS / 1000 if self._has_ended.is_set() else 0.0
                continue
            quiet_seconds = 0.0
            data = os.read(self._source, _CHUNK_BYTES)
            if not data:
                break
            self._remaining -= len(data)
            try:
                self._screen.write(self._target, data)
            except OSError as exc:  # its reader has gone, or the disk is full
                self.error = exc
                break
            self._look(data)
        os.close(self._source)  # the tool's next write fails, as it would without us

    def _is_overdue(self) -> bool:
        """Whether another process has been writing for long enough after the tool's end."""
        if not self._has_ended.is_set() or self._remaining > 0:
            return False
        return time.monotonic() > self._deadline


def _bytes_in(pipe: int) -> int:
    try:
        size: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
    except OSError:  # it is closed already
        return 0
    return size


def plan_pipes(streams: tuple[Stream, ...]) -> list[tuple[int, tuple[int, ...], Stream]]:
    """Which of the tool's streams to pipe: (our target, the tool's descriptors, the stream).

    Streams with the same target share a pipe, so that their order is kept. A closed stream stays
    closed.
    """
    wanted = [STDOUT if stream == "stdout" else STDERR for stream in streams]
    try:
        is_same_target = os.path.samestat(os.fstat(STDOUT), os.fstat(STDERR))
        places = [os.fstat(fd) for fd in wanted]
    except OSError:
        return []
    if is_same_target and places:
        return [(STDERR, (STDOUT, STDERR), "stderr")]
    return [(fd, (fd,), "stdout" if fd == STDOUT else "stderr") for fd in wanted]
