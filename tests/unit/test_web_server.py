"""From ASGI to WSGI: what the application is told of a request, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import pytest

from app.api.auth import LoopbackGate
from app.api.gate import PushGate
from app.api.headers import SafeHeaders
from app.api.hosts import HostGate
from app.api.pending import WHEN_READY, PendingAnswer
from app.config import Config
from app.server.asgi import LARGE_BODIES, SMALL_BODY, WebServer, call_wsgi, make_environ
from tests.asgi import Messages, ask, length, make_scope, piece, run_apart

LARGEST = 1 << 20


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the length of the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", ""))])
    return [str(len(body)).encode()]


def make_server(app: Any = echo, **settings: Any) -> WebServer:
    config = Config(request_seconds=1, max_batch_bytes=LARGEST, threads=16, **settings)
    return WebServer(app, config, lambda: None)


GONE = {"type": "http.disconnect"}
CHUNKED = [(b"transfer-encoding", b"chunked")]


def test_environment_is_that_of_wsgi() -> None:
    environ = make_environ(
        make_scope(
            raw_path=b"/a%2Fb/%C3%A9%ff",
            query_string=b"x=%20",
            headers=[
                (b"content-type", b"application/json"),
                (b"x-two", b"a"),
                (b"x-two", b"b"),
                (b"cookie", b"a=1"),
                (b"cookie", b"b=2"),
                (b"x_two", b"forged"),
                (b"x-latin", b"\xe9"),
            ],
        )
    )
    assert environ["PATH_INFO"].encode("latin-1") == b"/a/b/\xc3\xa9\xff"
    assert environ["QUERY_STRING"] == "x=%20"
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["HTTP_X_TWO"] == "a,b" and environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "\xe9"
    assert environ["REMOTE_ADDR"] == "127.0.0.1" and environ["SERVER_PORT"] == "8082"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"


@pytest.mark.parametrize("headers", [length(6), CHUNKED])
def test_body_in_pieces_arrives_whole(headers: list[tuple[bytes, bytes]]) -> None:
    received = [piece(b"abc"), piece(b"def"), piece(b"", more=False)]
    status, answered, body = ask(make_server(), received, headers=headers)
    assert (status, answered["X-Length"], body) == (200, "6", b"6")


@pytest.mark.parametrize("headers", [length(6), CHUNKED])
def test_cut_off_body_never_reaches_the_application(headers: list[tuple[bytes, bytes]]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise AssertionError("it was called")

    assert ask(make_server(app), [piece(b"abc"), GONE], headers=headers)[0] == 0


@pytest.mark.parametrize(
    ("headers", "received"),
    [(length(LARGEST + 1), []), (CHUNKED, [piece(b"x" * (LARGEST // 2))] * 3)],
)
def test_too_large_a_body_is_not_read(headers: Any, received: Messages) -> None:
    status, answered, _ = ask(make_server(), [*received], headers=headers)
    assert status == 413 and answered["X-Request-ID"]
    assert answered["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("text", [b"5,5", b"x", b"\xb2", b"0" * 5_000 + b"3"])
def test_bad_length_is_refused(text: bytes) -> None:
    assert ask(make_server(), [], headers=[(b"content-length", text)])[0] == 400


def test_late_body_is_refused_and_forgotten() -> None:
    server = make_server()
    status, answered, body = ask(server, [piece(b"abc")], headers=length(6))
    assert status == 408 and answered["Content-Type"] == "application/problem+json"
    assert b"took too long" in body and not server._bodies.are_coming


def test_large_bodies_share_a_budget_that_comes_back() -> None:
    server = make_server()
    received = [piece(b"x" * (LARGEST // 2))]
    for _ in range(3 * LARGE_BODIES):  # each is late, and gives back what it held
        server._bodies._seconds = 0
        assert ask(server, [*received], headers=length(LARGEST))[0] == 408
    server._bodies._budget = LARGEST // 4
    server._bodies._seconds = 60
    assert ask(server, [*received], headers=length(LARGEST))[0] == 503
    assert server._bodies._budget == LARGEST // 4
    small = piece(b"x" * SMALL_BODY)
    assert ask(server, [small, piece(b"y")], headers=length(SMALL_BODY + 1))[0] == 200


def test_application_that_fails_is_a_500() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("a secret")

    status, _, body = ask(make_server(app), [], method="GET")
    assert status == 500 and b"secret" not in body


def test_answer_is_joined_and_closed() -> None:
    class Pieces(list[bytes]):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    pieces = Pieces([b"b", b"c"])

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"a")
        return pieces

    answer = call_wsgi(app, {})
    assert answer.body == b"abc" and pieces.is_closed


def test_requests_beyond_the_threads_wait_for_one() -> None:
    free, running = threading.Event(), []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        running.append(threading.get_ident())
        free.wait(10)
        start_response("200 OK", [])
        return []

    server = make_server(app)

    async def run() -> None:
        asked = [asyncio.create_task(server._threads.run({})) for _ in range(40)]
        while len(running) < 16:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(running) == 16
        free.set()
        await asyncio.gather(*asked)

    run_apart(run())
    assert len(running) == 40 and len(set(running)) <= 16


def test_push_beyond_the_gate_is_refused_without_a_thread() -> None:
    """And as the gate itself would refuse it."""
    gate = PushGate(echo, 0)
    early = WebServer(echo, Config(), lambda: None, gate.is_full_for)
    late = WebServer(SafeHeaders(gate), Config(), lambda: None)
    headers = [*length(3), (b"x-request-id", b"mine")]
    answers = [ask(server, [piece(b"abc")], headers=headers) for server in (early, late)]
    assert answers[0] == answers[1]
    status, answered, body = answers[0]
    assert (status, answered["Retry-After"], answered["X-Request-ID"]) == (503, "1", "mine")
    assert b"waiting for their commit" in body
    assert early._threads._started == 0
    assert ask(early, [], method="GET")[0] == 200


def test_push_that_the_gate_has_room_for_reaches_the_application() -> None:
    gate = PushGate(echo, 1)
    server = WebServer(gate, Config(), lambda: None, gate.is_full_for)
    for _ in range(3):  # each gives its place back
        assert ask(server, [piece(b"abc")], headers=length(3))[0] == 200


# Without a thread.


class Waiting:
    """An application whose POSTs are answered once `settle` is called, and what the server asks of
    it first: see `FastPush`."""

    def __init__(self, seconds: float = 10) -> None:
        self._seconds = seconds
        self.ready: list[Callable[[], object]] = []
        self.answer = echo

    def is_refused(self, environ: dict[str, Any]) -> bool:
        return False

    def seems_ordinary(self, environ: dict[str, Any]) -> bool:
        return bool(environ["REQUEST_METHOD"] == "POST")

    def read(self, environ: dict[str, Any]) -> bool:
        return True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if WHEN_READY not in environ:
            return echo(environ, start_response)
        self.ready.append(environ[WHEN_READY])
        return PendingAnswer(self._seconds, partial(self.answer, environ, start_response))

    def settle(self) -> None:
        for ready in self.ready:
            ready()


def make_waiting_server(app: Waiting, **config: Any) -> WebServer:
    """It behind everything that stands before it in the hub as well."""
    gate = PushGate(app, 0)
    chain = SafeHeaders(HostGate(LoopbackGate(gate), frozenset(), "/health"))
    return WebServer(chain, Config(**config), lambda: None, gate.is_full_for, cast(Any, app))


async def push(
    server: WebServer, statuses: list[int], sent: Messages | None = None, **scope: Any
) -> None:
    async def receive() -> dict[str, Any]:
        return piece(b"abc", more=False)

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])
        if sent is not None:
            sent.append(message)

    await server(make_scope(**{"headers": length(3), **scope}), receive, send)


async def reach(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


def test_two_seconds_without_a_commit_hold_no_thread_and_refuse_nobody() -> None:
    """The embedded engine may stand still for so long; at 500 updates a second."""
    app = Waiting()
    server = make_waiting_server(app)
    statuses: list[int] = []

    async def run() -> None:
        pushes = [asyncio.create_task(push(server, statuses)) for _ in range(1_000)]
        await reach(lambda: len(app.ready) == 1_000)
        assert not statuses and server._waiting == 1_000
        settling = threading.Thread(target=app.settle)
        settling.start()
        await asyncio.gather(*pushes)
        settling.join()

    run_apart(run())
    assert statuses == [200] * 1_000
    assert server._threads._started == 0 and server._waiting == 0


def test_no_more_wait_than_are_allowed() -> None:
    """The others are refused as the gate before the threads would do it."""
    app = Waiting()
    server = make_waiting_server(app, waiting_pushes=1)
    gated = WebServer(SafeHeaders(PushGate(echo, 0)), Config(), lambda: None)
    headers = [*length(3), (b"x-request-id", b"mine")]
    statuses: list[int] = []
    refused: list[Any] = []

    async def run() -> None:
        first = asyncio.create_task(push(server, statuses))
        await reach(lambda: bool(app.ready))
        for other in (server, gated):
            sent: Messages = []
            await push(other, [], sent, headers=headers)
            sent[0]["headers"].sort()
            refused.append(sent)
        app.settle()
        await first
        second = asyncio.create_task(push(server, statuses))
        await reach(lambda: len(app.ready) == 2)
        app.settle()
        await second

    run_apart(run())
    assert statuses == [200, 200]
    assert refused[0] == refused[1] and refused[0][0]["status"] == 503
    assert (b"Retry-After", b"1") in refused[0][0]["headers"]


def test_answer_that_waited_is_the_one_a_thread_would_have_given() -> None:
    app = Waiting(seconds=0)
    waited = ask(make_waiting_server(app), [piece(b"abc")], headers=length(3))
    in_thread = ask(make_server(SafeHeaders(app)), [piece(b"abc")], headers=length(3))
    assert waited == in_thread
    assert waited[1]["X-Content-Type-Options"] == "nosniff"
    assert len(app.ready) == 1


def test_wait_without_a_thread_is_bounded() -> None:
    app = Waiting(seconds=0.05)
    assert ask(make_waiting_server(app), [piece(b"abc")], headers=length(3))[0] == 200
    app.settle()  # too late, which is nobody's harm


def test_wait_that_is_cancelled_gives_its_place_back() -> None:
    app = Waiting()
    server = make_waiting_server(app)

    async def run() -> None:
        pushing = asyncio.create_task(push(server, []))
        await reach(lambda: bool(app.ready))
        pushing.cancel()
        await asyncio.wait([pushing])
        app.settle()
        await asyncio.sleep(0)

    run_apart(run())
    assert server._waiting == 0


@pytest.mark.parametrize(("exc", "status"), [(RuntimeError("a secret"), 500), (MemoryError(), 503)])
def test_answer_that_fails_after_its_wait(
    monkeypatch: pytest.MonkeyPatch, exc: Exception, status: int
) -> None:
    def fail(*_: Any) -> Iterable[bytes]:
        raise exc

    app = Waiting(seconds=0)
    monkeypatch.setattr(app, "answer", fail)
    server = make_waiting_server(app)
    answer = ask(server, [piece(b"abc")], headers=length(3))
    assert answer[0] == status and b"secret" not in answer[2]
    assert answer[1]["X-Request-ID"] and server._waiting == 0


def test_lack_of_memory_while_a_push_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bool:
        raise MemoryError

    app = Waiting()
    monkeypatch.setattr(app, "read", fail)
    answer = ask(make_waiting_server(app), [piece(b"abc")], headers=length(3))
    assert answer[0] == 503 and answer[1]["Retry-After"] == "1"


def test_lost_call_of_the_event_loop_is_made_up_for_by_the_next() -> None:
    app = Waiting()
    server = make_waiting_server(app)
    statuses: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe
        pushes = [asyncio.create_task(push(server, statuses)) for _ in range(2)]
        await reach(lambda: len(app.ready) == 2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", fail_for_want_of_memory)
            app.ready[0]()
        assert loop.call_soon_threadsafe == call
        await asyncio.sleep(0.02)
        assert not statuses
        app.ready[1]()
        await asyncio.wait_for(asyncio.gather(*pushes), 5)

    run_apart(run())
    assert statuses == [200, 200]


def fail_for_want_of_memory(*_: Any) -> None:
    raise MemoryError


def test_refusal_before_the_wait_is_answered_at_once() -> None:
    app = Waiting()
    headers = [*length(3), (b"host", b"rebound.example")]
    server = make_waiting_server(app)
    assert ask(server, [piece(b"abc")], headers=headers)[0] == 400
    assert not app.ready and server._waiting == 0


# Trouble.


def test_without_a_thread_a_request_is_refused_and_the_next_one_tries_again(
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
    assert not server._threads.are_running
    assert ask(server, [])[0] == 200


def test_lack_of_memory_is_for_the_sender_to_try_again() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise MemoryError

    assert ask(make_server(app), [])[0] == 503
