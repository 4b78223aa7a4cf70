"""What the system keeps of answers that clients do not read."""

from __future__ import annotations

import asyncio
import os
import socket

from app.server.sockets import SEND_BUFFER_BYTES, limit_unread
from tests.asgi import run_apart


def options(connection: socket.socket) -> tuple[int, int]:
    return (
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )


def test_connections_are_limited_once_the_server_listens() -> None:
    with socket.socket() as listener, socket.create_server(("127.0.0.1", 0)) as other:
        listener.bind(("127.0.0.1", 0))
        before = options(other)

        async def run() -> None:
            limiting = asyncio.create_task(limit_unread(listener.getsockname()[1], 7.5))
            await asyncio.sleep(0.05)
            assert not limiting.done()
            listener.listen()
            await asyncio.wait_for(limiting, 30)

        run_apart(run())
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert options(connection) == (2 * SEND_BUFFER_BYTES, 7_500)
        assert options(other) == before


def test_looking_for_listeners_leaves_no_descriptor_open() -> None:
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run_apart(limit_unread(listener.getsockname()[1], 7.5))
    os.close(writer)
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b"", "the pipe is still open for writing"
    os.close(reader)
