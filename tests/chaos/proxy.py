"""A network that can fail: a TCP proxy before the hub or its database."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

PIECE = 64 * 1024
# Closed with it, a socket answers its peer with a reset instead of an orderly end.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Hands bytes on between `port` and `target_port`, both of this machine, until told otherwise.

    `delay_seconds` holds each piece up. `freeze()` lets connections stand half-open: they stay, and
    new ones are taken, but nothing passes. `cut()` resets all and refuses new ones. `mend()` ends
    either; what was held back while frozen is gone, as on a real line whose ends have given up.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.delay_seconds = 0.0
        self._target = ("127.0.0.1", target_port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = port
        self._listen()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()

    def freeze(self) -> None:
        """Let nothing pass from now on."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes its accept()
            self._listener.close()
            self._listener = None
        self._reset_all()

    def mend(self) -> None:
        """Connections that were frozen are reset; new ones pass."""
        self._reset_all()
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def _reset_all(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                if listener.fileno() < 0 or self._listener is not listener:
                    return
                client.close()  # the server behind the proxy is away
                continue
            for connection in (client, server):
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                self._flowing.wait()
                sink.sendall(piece)
        with self._lock:
            self._open -= {source, sink}
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
