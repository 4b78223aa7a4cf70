"""Carries what the tool writes to where it would have gone: byte for byte, as soon as it comes."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from telemetry_client.cli.screen import Screen
from telemetry_client.readers import Stream

_CHUNK_BYTES = 1 << 16
# A process that the tool left behind may hold the pipe open for ever (an ssh master).
_QUIET_SECONDS = 0.3
_POLL_MS = 100

STDOUT, STDERR = 1, 2


class Relay(threading.Thread):
    """One pipe. What is read is written on first, and then shown to `look`."""

    def __init__(
        self, source: int, target: int, screen: Screen, look: Callable[[bytes], None]
    ) -> None:
        super().__init__(name="telemetry-relay", daemon=True)
        self.trouble: OSError | None = None
        self._source = source
        self._target = target
        self._screen = screen
        self._look = look
        self._has_ended = threading.Event()

    def tool_ended(self) -> None:
        """Read what is left in the pipe, and then no more."""
        self._has_ended.set()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        quiet_seconds = 0.0
        while quiet_seconds < _QUIET_SECONDS:
            if not poll.poll(_POLL_MS):
                quiet_seconds += _POLL_MS / 1000 if self._has_ended.is_set() else 0.0
                continue
            quiet_seconds = 0.0
            data = os.read(self._source, _CHUNK_BYTES)
            if not data:
                break
            try:
                self._screen.write(self._target, data)
            except OSError as exc:  # nobody reads it any more, or the disk is full
                self.trouble = exc
                break
            self._look(data)
        os.close(self._source)  # the tool's next write fails, as it would have without us


def plan_pipes(streams: tuple[Stream, ...]) -> list[tuple[int, tuple[int, ...], Stream]]:
    """Which of the tool's streams to pipe: (our target, the tool's descriptors, what to call it).

    Streams that go to one place get one pipe, or their order would be lost there. A stream that is
    closed is left closed.
    """
    wanted = [STDOUT if stream == "stdout" else STDERR for stream in streams]
    try:
        is_one_place = os.path.samestat(os.fstat(STDOUT), os.fstat(STDERR))
        places = [os.fstat(fd) for fd in wanted]
    except OSError:
        return []
    if is_one_place and places:
        return [(STDERR, (STDOUT, STDERR), "stderr")]
    return [(fd, (fd,), "stdout" if fd == STDOUT else "stderr") for fd in wanted]
