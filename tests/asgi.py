"""Sends ASGI messages to the server in tests, and collects its answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from app.server.asgi import Server

Messages = list[dict[str, Any]]
Result = TypeVar("Result")


def make_scope(**changes: Any) -> dict[str, Any]:
    """A request, to localhost unless its headers have another Host."""
    headers: list[tuple[bytes, bytes]] = changes.pop("headers", [])
    if not any(name == b"host" for name, _ in headers):
        headers = [(b"host", b"localhost"), *headers]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8082),
        **changes,
    }


def run_apart(work: Coroutine[Any, Any, Result]) -> Result:
    """Run in a separate thread: the browser tests may have left a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def reach(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        await asyncio.sleep(0.002)


def ask(server: Server, received: Messages, **scope: Any) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request that arrives in these messages, with nothing after them."""
    sent: Messages = []

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop(0)
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        sweeper = asyncio.create_task(server._bodies.sweep())
        await server(make_scope(**scope), receive, send)
        sweeper.cancel()

    run_apart(run())
    if not sent:
        return 0, {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])


def length(size: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(size).encode())]


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}
