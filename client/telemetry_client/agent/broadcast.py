"""The WebSocket server: whoever is connected gets every message, as JSON text.

It lives in a thread of its own, so that no client can hold whoever publishes.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

logger = logging.getLogger("telemetry_client.agent")

# A client that neither reads nor answers is dropped after 40 s: messages pile up no longer.
PING_SECONDS = 20.0
MOST_CLIENTS = 100
LARGEST_REQUEST_BYTES = 4096  # clients have nothing to say
RETRY_SECONDS = 30.0  # a port that is taken may become free
STOP_SECONDS = 0.5


class Broadcaster:
    """Serves `ws://host:port` while it is open. A new client gets the newest message at once."""

    def __init__(self, host: str, port: int, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._host = host
        self._port = port
        self._retry_seconds = retry_seconds
        self._newest: str | None = None
        self._clients: set[ServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-ws", daemon=True)
        self.port: int | None = None  # that it is served at; None while it is not

    def start(self) -> None:
        """Begin to serve, in the background; a port that is taken is logged and tried again."""
        self._thread.start()

    def publish(self, message: Mapping[str, Any]) -> None:
        """Send a message to all. Never waits, never raises for what clients do."""
        text = json.dumps(message)  # ASCII: names of processes may hold what UTF-8 cannot
        self._call(self._send_all, text)

    def close(self) -> None:
        """Say goodbye to the clients, for half a second at most."""
        self._call(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(2 * STOP_SECONDS)

    def _call(self, function: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

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
        is_told = False
        while not self._stop.is_set():
            try:
                await self._serve()
            except OSError as exc:
                if not is_told:
                    is_told = True
                    logger.warning(
                        "[telemetry-ws] ws://%s:%d is not served, trying again every %g s: %s",
                        self._host,
                        self._port,
                        self._retry_seconds,
                        exc.strerror or exc,
                    )
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self._retry_seconds)

    async def _serve(self) -> None:
        """Serve until stopped. Raises OSError when an address cannot be had."""
        async with AsyncExitStack() as servers:
            for listener in _listen(self._host, self._port):
                await servers.enter_async_context(
                    serve(
                        self._handle,
                        sock=listener,
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
            await self._stop.wait()
        self.port = None

    async def _handle(self, client: ServerConnection) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            await client.close(1013, "too many clients")
            return
        self._clients.add(client)
        try:
            if self._newest is not None:
                await client.send(self._newest)
            async for _ in client:  # what it says is dropped; unread, it would stop the pongs
                pass
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)


def _listen(host: str, port: int) -> list[socket.socket]:
    """A listener for each address of the host: `localhost` often has two, one of them unusable.

    Raises OSError when there is none, or another program has one.
    """
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            try:
                listeners.append(_bind(family, kind, protocol, address))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = exc
        if not listeners:
            raise absent or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
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
        if os.name == "posix":  # on Windows it would share the port with whoever has it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
