"""Limits what the system keeps of answers that clients do not read.

The web server opens its listening socket itself and offers no options for it. Connections inherit
those that are set on it later.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

# As much as a client may leave unread in the system's buffer, which otherwise grows to 4 MiB. The
# system doubles it, for its own data. Enough for 5 MB a second at 50 ms.
SEND_BUFFER_BYTES = 128 * 1024
_TRIES = 100
_PAUSE_SECONDS = 0.1


async def limit_unread(port: int, seconds: float) -> None:
    """Close connections to `port` whose clients read nothing for so long, and keep little for them.

    The web server listens only after its start.
    """
    for _ in range(_TRIES):
        if _limit_listeners(port, seconds):
            return
        await asyncio.sleep(_PAUSE_SECONDS)


def _limit_listeners(port: int, seconds: float) -> bool:
    """Whether a listening socket of this process was found, and limited."""
    found = False
    for listener in _listeners():
        with closing(listener):
            if listener.getsockname()[1] == port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                listener.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000)
                )
                found = True
    return found


def _listeners() -> Iterator[socket.socket]:
    """The listening TCP sockets of this process, as duplicates that the caller closes."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            duplicate = _open_socket(os.dup(int(name)))
            if duplicate is None:
                continue
            is_tcp = duplicate.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp and duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield duplicate
            else:
                duplicate.close()


def _open_socket(fd: int) -> socket.socket | None:
    """None if the descriptor is not a socket. It is closed then: a duplicate of a pipe that stays
    open keeps its reader from seeing the end."""
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
