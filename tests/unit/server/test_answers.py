"""Large answers: in pieces, within a deadline and a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from app import metrics
from app.errors import QueueFull
from app.server.answers import BUDGET_BYTES, HELD_BYTES, PIECE_BYTES, Answers
from tests.asgi import Messages, make_scope, reach, run_apart
from tests.unit.server.held import HeldServer

LARGE = bytes(range(256)) * 1_000  # 16 pieces


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [LARGE]


def make_server(**settings: Any) -> HeldServer:
    return HeldServer(app, threads=16, **settings)


class Client:
    """Takes so many pieces, or all, and then none; it disconnects if it is told to."""

    def __init__(self, takes: int | None = None) -> None:
        self.sent: Messages = []
        self.leave = asyncio.Event()
        self._takes = takes

    async def receive(self) -> dict[str, Any]:
        if not self.sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self._takes is not None and len(self.sent) > self._takes:
            await asyncio.sleep(60)
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


def get(server: HeldServer, client: Client, method: str = "GET") -> Any:
    return server(make_scope(method=method), client.receive, client.send)


def test_large_answer_is_sent_in_pieces() -> None:
    async def run() -> None:
        client, server = Client(), make_server()
        await get(server, client)
        assert client.body == LARGE
        assert max(len(message["body"]) for message in client.sent[1:]) <= PIECE_BYTES
        assert [message["more_body"] for message in client.sent[1:]] == [True] * 15 + [False]
        assert (b"Content-Length", str(len(LARGE)).encode()) in client.sent[0]["headers"]
        assert not server._answers.is_busy
        assert server._answers._left == BUDGET_BYTES

    run_apart(run())


def test_head_of_a_large_answer_has_its_length_and_no_body() -> None:
    async def run() -> None:
        client = Client()
        await get(make_server(), client, method="HEAD")
        assert client.body == b""
        assert (b"Content-Length", str(len(LARGE)).encode()) in client.sent[0]["headers"]

    run_apart(run())


def test_answer_that_is_not_read_is_given_up() -> None:
    before = metrics.REFUSED.labels("NotTaken")._value.get()

    async def run() -> None:
        client, server = Client(takes=4), make_server(request_seconds=1)
        await asyncio.wait_for(get(server, client), 30)
        assert client.body == LARGE[: 4 * PIECE_BYTES]  # shorter than its length: it is cut
        assert not server._answers.is_busy
        assert server._answers._left == BUDGET_BYTES

    run_apart(run())
    assert metrics.REFUSED.labels("NotTaken")._value.get() == before + 1


def test_answer_ends_with_its_connection() -> None:
    async def run() -> None:
        client, server = Client(takes=4), make_server(request_seconds=60)
        answering = asyncio.create_task(get(server, client))
        await reach(lambda: len(client.sent) == 5)
        client.leave.set()
        client._takes = None
        await asyncio.sleep(0.01)
        answering.cancel()  # the web server's send would return here
        await asyncio.wait([answering])
        assert server._answers._left == BUDGET_BYTES

    run_apart(run())


def test_no_piece_is_sent_after_a_disconnect() -> None:
    async def run() -> None:
        client, answers = Client(), Answers(60)
        client.sent.append({"type": "http.response.start"})
        client.leave.set()
        body = bytes(100 * PIECE_BYTES)
        answers.reserve(body)

        async def send(message: dict[str, Any]) -> None:
            await client.send(message)
            await asyncio.sleep(0)

        await answers.send(body, client.receive, send)
        assert len(client.sent) < 10

    run_apart(run())


def test_answers_share_a_budget_and_what_they_share_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.server.answers.BUDGET_BYTES", 10 * HELD_BYTES + 5_000_000)
    answers = Answers(60)
    shared, own = bytes(5_000_000), bytes(5_000_001)
    for _ in range(10):
        answers.reserve(shared)
    with pytest.raises(QueueFull):
        answers.reserve(shared)
    for _ in range(10):
        answers.release(shared)
    with pytest.raises(QueueFull, match="large answers"):
        for _ in range(2):
            answers.reserve(own)
            own = bytes(own) + b"x"
    assert answers.is_busy


def test_answer_beyond_the_budget_is_a_503() -> None:
    async def run() -> None:
        client, server = Client(), make_server()
        server._answers._left = HELD_BYTES
        await get(server, client)
        assert client.sent[0]["status"] == 503
        assert (b"Retry-After", b"1") in client.sent[0]["headers"]
        assert b"large answers" in client.body
        assert server._answers._left == HELD_BYTES
        assert not server._answers.is_busy

    run_apart(run())
