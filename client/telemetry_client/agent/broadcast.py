"""The WebSocket server: every client gets every message, as JSON text.

It runs in a thread of its own, so that no client can block the publisher.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

logger = logging.getLogger("telemetry_client.agent")

# A client that neither reads nor answers is dropped after 40 s, and its messages with it.
PING_SECONDS = 20.0
MAX_CLIENTS = 100
LARGEST_REQUEST_BYTES = 4096  # messages of clients are ignored
RETRY_SECONDS = 30.0  # a port in use may become free
STOP_SECONDS = 0.5


class Broadcaster:
    """Serves `ws://host:port` while it is open. A new client gets the newest message at once.

    Any web page that is open on this machine could connect. Browsers name the page's origin: only
    `origins` are accepted, and programs, which name none. Others are answered 403.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        origins: Sequence[str] = (),
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._host = host
        self._port = port
        self._origins = [None, *map(Origin, origins)]
        self._retry_seconds = retry_seconds
        self._newest: str | None = None
        self._clients: set[ServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = self._loop.create_future()  # an Event needs its loop before Python 3.10
        self._thread = threading.Thread(target=self._run, name="telemetry-ws", daemon=True)
        self.port: int | None = None  # None while it is not serving

    def start(self) -> None:
        """Start to serve in the background; a port in use is logged and tried again."""
        self._thread.start()

    def publish(self, message: Mapping[str, Any]) -> None:
        """Send a message to all clients. Never waits, and never raises because of a client."""
        text = json.dumps(message)  # ASCII: names of processes may contain bytes that are not UTF-8
        self._call(self._send_all, text)

    def close(self) -> None:
        """Close all connections; takes half a second at most."""
        self._call(self._set_stopped)
        if self._thread.is_alive():
            self._thread.join(2 * STOP_SECONDS)

    def _call(self, function: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    def _set_stopped(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _send_all(self, text: str) -> None:
        self._newest = text
        broadcast(self._clients, text)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve_until_stopped())
        finally:
            self._loop.close()

    async def _serve_until_stopped(self) -> None:
        is_logged = False
        while not self._stopped.done():
            try:
                await self._serve()
            except OSError as exc:
                if not is_logged:
                    is_logged = True
                    logger.warning(
                        "[telemetry-ws] ws://%s:%d cannot be served, trying again every %g s: %s",
                        self._host,
                        self._port,
                        self._retry_seconds,
                        exc.strerror or exc,
                    )
                await asyncio.wait([self._stopped], timeout=self._retry_seconds)

    async def _serve(self) -> None:
        """Serve until stopped. Raises OSError if an address cannot be bound."""
        async with AsyncExitStack() as servers:
            for listener in _listen(self._host, self._port):
                await servers.enter_async_context(
                    serve(
                        self._handle,
                        sock=listener,
                        origins=self._origins,
                        compression=None,
                        ping_interval=PING_SECONDS,
                        ping_timeout=PING_SECONDS,
                        open_timeout=PING_SECONDS,
                        close_timeout=STOP_SECONDS,
                        max_size=LARGEST_REQUEST_BYTES,
                    )
                )
                self.port = listener.getsockname()[1]
            logger.info("[telemetry-ws] Serving ws://%s:%d", self._host, self.port)
            await self._stopped
        self.port = None

    async def _handle(self, client: ServerConnection) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            await client.close(1013, "too many clients")
            return
        self._clients.add(client)
        try:
            if self._newest is not None:
                await client.send(self._newest)
            async for _ in client:  # ignored; but pongs arrive only while we read
                pass
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)


def _listen(host: str, port: int) -> list[socket.socket]:
    """A listener for each address of the host: `localhost` often has two, one of them unusable.

    Raises OSError if there is none, or if one is in use.
    """
    listeners: list[socket.socket] = []
    unavailable: OSError | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            try:
                listeners.append(_bind(family, kind, protocol, address))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                unavailable = exc
        if not listeners:
            raise unavailable or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _bind(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if os.name == "posix":  # on Windows it would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
