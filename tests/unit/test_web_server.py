"""From ASGI to WSGI: what the application is told of a request, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.api.factory import SPARE_THREADS
from app.api.gate import PushGate
from app.api.headers import SafeHeaders
from app.config import Config
from app.web_server import LARGE_BODIES, SMALL_BODY, WebServer, call_wsgi, make_environ

LARGEST = 1 << 20
Messages = list[dict[str, Any]]


def make_scope(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8082),
        **changes,
    }


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the length of the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", ""))])
    return [str(len(body)).encode()]


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own: in this one the browser tests may have left a loop running."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def ask(server: WebServer, received: Messages, **scope: Any) -> tuple[int, dict[str, str], bytes]:
    """What is answered to a request that arrives in these messages, and then no further."""
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
    return sent[0]["status"], headers, sent[1]["body"]


def make_server(app: Any = echo, **settings: Any) -> WebServer:
    config = Config(request_seconds=1, max_batch_bytes=LARGEST, threads=16, **settings)
    return WebServer(app, config, lambda: None)


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}
CHUNKED = [(b"transfer-encoding", b"chunked")]


def length(size: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(size).encode())]


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


@pytest.mark.parametrize("text", [b"5,5", b"x", b"\xb2"])
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


def test_a_second_without_a_commit_refuses_nobody_of_500() -> None:
    """The embedded engine stands still for so long while it refreshes a rollup."""
    free = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        free.wait(10)
        return echo(environ, start_response)

    config = Config()
    gate = PushGate(app, config.threads - SPARE_THREADS)
    server = WebServer(gate, config, lambda: None, gate.is_full_for)
    statuses: list[int] = []

    async def push() -> None:
        async def receive() -> dict[str, Any]:
            return piece(b"abc", more=False)

        async def send(message: dict[str, Any]) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        await server(make_scope(headers=length(3)), receive, send)

    async def run() -> None:
        pushes = [asyncio.create_task(push()) for _ in range(500)]
        await asyncio.sleep(0.2)
        free.set()
        await asyncio.gather(*pushes)

    run_apart(run())
    assert statuses == [200] * 500


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
