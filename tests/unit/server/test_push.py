"""Pushes that wait for their commit on the event loop, without a thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import Unavailable
from app.web.push import Pushes
from tests.asgi import Messages, ask, length, make_scope, piece, reach, run_apart
from tests.unit.server.held import BODY, PUSH, HeldServer, echo

HEADERS = [*length(len(BODY)), (b"content-type", b"application/json"), (b"host", b"localhost")]


async def push(
    server: HeldServer, statuses: list[int], sent: Messages | None = None, **scope: Any
) -> None:
    async def receive() -> dict[str, Any]:
        return piece(BODY, more=False)

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])
        if sent is not None:
            sent.append(message)

    await server(make_scope(**{"headers": HEADERS, "raw_path": PUSH, **scope}), receive, send)


def ask_push(server: HeldServer, **scope: Any) -> tuple[int, dict[str, str], bytes]:
    body = piece(BODY, more=False)
    return ask(server, [body], **{"headers": HEADERS, "raw_path": PUSH, **scope})


def test_two_seconds_without_a_commit_block_no_thread_and_refuse_nothing() -> None:
    """The embedded engine may pause that long, at 500 updates a second."""
    server = HeldServer(echo, wait_seconds=60)
    statuses: list[int] = []

    async def run() -> None:
        pushes = [asyncio.create_task(push(server, statuses)) for _ in range(1_000)]
        await reach(lambda: server.writer.taken == 1_000)
        assert not statuses
        assert server._pushes._waiting == 1_000
        server.writer.release()
        await asyncio.gather(*pushes)

    run_apart(run())
    assert statuses == [200] * 1_000
    assert server._threads._started == 0
    assert not server._pushes.is_busy


def test_number_of_waiting_pushes_is_limited() -> None:
    server = HeldServer(echo, waiting_pushes=1)
    statuses: list[int] = []
    refused: Messages = []

    async def run() -> None:
        first = asyncio.create_task(push(server, statuses))
        await reach(lambda: server.writer.taken == 1)
        await push(server, [], refused, headers=[*HEADERS, (b"x-request-id", b"mine")])
        server.writer.release()
        await first
        await push(server, statuses)

    run_apart(run())
    assert statuses == [200, 200]
    assert refused[0]["status"] == 503
    assert (b"Retry-After", b"1") in refused[0]["headers"]
    assert (b"X-Request-ID", b"mine") in refused[0]["headers"]
    assert b"waiting for their commit" in refused[1]["body"]


def test_wait_has_a_timeout() -> None:
    server = HeldServer(echo)
    server.writer.wait_seconds = 0
    status, headers, body = ask_push(server)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert b"did not answer in time" in body
    server.writer.release()  # too late, but harmless
    assert not server._pushes.is_busy


def test_cancelled_push_no_longer_counts_as_waiting() -> None:
    server = HeldServer(echo)

    async def run() -> None:
        pushing = asyncio.create_task(push(server, []))
        await reach(lambda: server.writer.taken == 1)
        pushing.cancel()
        await asyncio.wait([pushing])
        server.writer.release()
        await asyncio.sleep(0)

    run_apart(run())
    assert not server._pushes.is_busy


@pytest.mark.parametrize(("exc", "status"), [(RuntimeError("a secret"), 500), (MemoryError(), 503)])
def test_push_that_fails_after_its_wait(
    monkeypatch: pytest.MonkeyPatch, exc: Exception, status: int
) -> None:
    def fail(*_: Any) -> None:
        raise exc

    server = HeldServer(echo)
    server.writer.release()
    monkeypatch.setattr(server.writer, "finish", fail)
    answer = ask_push(server)
    assert answer[0] == status
    assert b"secret" not in answer[2]
    assert answer[1]["X-Request-ID"]
    assert not server._pushes.is_busy


def test_refusal_by_the_writer_is_answered() -> None:
    server = HeldServer(echo)
    server.writer.outcome = Unavailable
    server.writer.release()
    assert ask_push(server)[0] == 503


def test_lack_of_memory_while_a_push_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bool:
        raise MemoryError

    monkeypatch.setattr(Pushes, "decode_at_once", fail)
    answer = ask_push(HeldServer(echo))
    assert answer[0] == 503
    assert answer[1]["Retry-After"] == "1"


def test_failed_wake_up_of_the_event_loop_is_repeated_by_the_next() -> None:
    server = HeldServer(echo)
    settling = server._pushes._settling
    results: list[Any] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", raise_memory_error)
            settling.settle(first, 1)
        await asyncio.sleep(0.02)
        assert not first.done()
        settling.settle(second, 2)
        results.extend(await asyncio.wait_for(asyncio.gather(first, second), 5))

    run_apart(run())
    assert results == [1, 2]


def raise_memory_error(*_: Any) -> None:
    raise MemoryError


def test_refusal_before_the_wait_reaches_no_writer() -> None:
    server = HeldServer(echo)
    headers = [header for header in HEADERS if header[0] != b"host"]
    answer = ask_push(server, headers=[*headers, (b"host", b"rebound.example")])
    assert answer[0] == 400
    assert server.writer.taken == 0
    assert ask_push(server, client=("192.0.2.1", 5))[0] == 403
    for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-port", b"via", b"x-real-ip"):
        assert ask_push(server, headers=[*HEADERS, (name, b"x")])[0] == 403
    assert server.writer.taken == 0
    assert not server._pushes.is_busy


def test_push_with_a_query_or_another_method_goes_to_flask() -> None:
    server = HeldServer(echo)
    assert ask_push(server, query_string=b"a=1")[2] == str(len(BODY)).encode()
    assert ask_push(server, method="PUT")[2] == str(len(BODY)).encode()
    assert server.writer.taken == 0
