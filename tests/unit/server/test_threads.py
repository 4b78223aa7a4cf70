"""Calls in threads, and what happens when none is free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from app.errors import TooManyPushes
from app.server.threads import Threads
from tests.asgi import ask, length, piece, reach, run_apart
from tests.unit.server.held import HeldServer, echo


def make_server(app: Any = echo) -> HeldServer:
    return HeldServer(app, threads=16)


def test_calls_wait_for_a_free_thread() -> None:
    free, running = threading.Event(), []

    def call() -> None:
        running.append(threading.get_ident())
        free.wait(10)

    threads = Threads(16)

    async def run() -> None:
        calls = [asyncio.create_task(threads.run(call)) for _ in range(40)]
        await reach(lambda: len(running) == 16)
        await asyncio.sleep(0.05)
        assert len(running) == 16
        free.set()
        await asyncio.gather(*calls)

    run_apart(run())
    assert len(running) == 40
    assert len(set(running)) <= 16


@pytest.mark.parametrize("error", [ValueError, StopIteration])
def test_error_of_a_call_reaches_its_caller_and_no_other(error: type[Exception]) -> None:
    def fail() -> None:
        raise error

    threads = Threads(16)

    async def run() -> None:
        failing = asyncio.create_task(threads.run(fail))
        assert await asyncio.wait_for(threads.run(lambda: 1), 30) == 1
        with pytest.raises((error, RuntimeError)):  # a coroutine raises no StopIteration
            await asyncio.wait_for(failing, 30)

    run_apart(run())
    assert not threads.is_busy


def test_calls_that_write_leave_threads_to_reads() -> None:
    free = threading.Event()
    threads = Threads(16)
    most = 16 - 16 * 3 // 4

    async def run() -> None:
        writing = [
            asyncio.create_task(threads.run_limited(lambda: free.wait(10))) for _ in range(most)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyPushes):
            await threads.run_limited(lambda: None)
        assert await threads.run(lambda: "read") == "read"
        free.set()
        await asyncio.gather(*writing)
        assert await threads.run_limited(lambda: "written") == "written"  # a place is free again

    run_apart(run())


def test_write_is_refused_when_no_thread_is_left_for_writes() -> None:
    server = make_server()
    server._threads._most_writing = 0
    headers = [*length(3), (b"x-request-id", b"mine")]
    status, answered, body = ask(server, [piece(b"abc")], headers=headers)
    assert (status, answered["Retry-After"], answered["X-Request-ID"]) == (503, "1", "mine")
    assert b"waiting for their commit" in body
    assert server._threads._started == 0
    assert ask(server, [], method="GET")[0] == 200


def test_request_is_refused_if_no_thread_starts_and_the_next_one_retries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("request-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    server = make_server()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        status, headers, _ = ask(server, [])
        assert (status, headers["Retry-After"]) == (503, "1")
    assert not server._threads.is_busy
    assert ask(server, [])[0] == 200


@pytest.mark.parametrize(("exc", "status"), [(RuntimeError("a secret"), 500), (MemoryError(), 503)])
def test_application_that_fails(exc: Exception, status: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise exc

    answer = ask(make_server(app), [], method="GET")
    assert answer[0] == status
    assert b"secret" not in answer[2]
    assert answer[1]["X-Request-ID"]
