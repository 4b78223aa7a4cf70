"""HTTP connections whose response has to arrive, whole, within the socket's timeout.

A socket's timeout applies to each read: a response of a byte a second would never exceed it.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection


class _DeadlineReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout("timed out")  # what urllib3 expects, also before Python 3.10
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()  # from its buffer
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock))


class DeadlineHTTPConnection(HTTPConnection):
    response_class = _DeadlineResponse


class DeadlineHTTPSConnection(HTTPSConnection):
    response_class = _DeadlineResponse
