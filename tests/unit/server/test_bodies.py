"""Bodies on the event loop: complete, in time, within their budget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from app.server.bodies import LARGE_BODIES, UNBUDGETED_BYTES
from tests.asgi import Messages, ask, length, piece
from tests.unit.server.held import PUSH, HeldServer, echo

LARGEST = 1 << 20
DISCONNECT = {"type": "http.disconnect"}
CHUNKED = [(b"transfer-encoding", b"chunked")]


def make_server(app: Any = echo) -> HeldServer:
    return HeldServer(app, request_seconds=1, max_batch_bytes=LARGEST, threads=16)


@pytest.mark.parametrize("headers", [length(6), CHUNKED])
def test_body_in_pieces_is_read_completely(headers: list[tuple[bytes, bytes]]) -> None:
    received = [piece(b"abc"), piece(b"def"), piece(b"", more=False)]
    status, answered, body = ask(make_server(), received, headers=headers)
    assert (status, answered["X-Length"], body) == (200, "6", b"6")


@pytest.mark.parametrize("headers", [length(6), CHUNKED])
def test_truncated_body_never_reaches_the_application(headers: list[tuple[bytes, bytes]]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise AssertionError("the application was called")

    assert ask(make_server(app), [piece(b"abc"), DISCONNECT], headers=headers)[0] == 0


@pytest.mark.parametrize("headers", [length(100), CHUNKED])
def test_truncated_push_never_reaches_the_writer(headers: list[tuple[bytes, bytes]]) -> None:
    server = make_server()
    whole = b'{"status": "running"}'
    assert ask(server, [piece(whole), DISCONNECT], headers=headers, raw_path=PUSH)[0] == 0
    assert server.writer.taken == 0


@pytest.mark.parametrize(
    ("headers", "received"),
    [(length(LARGEST + 1), []), (CHUNKED, [piece(b"x" * (LARGEST // 2))] * 3)],
)
@pytest.mark.parametrize("path", [b"/a", PUSH])
def test_body_over_the_limit_is_refused(headers: Any, received: Messages, path: bytes) -> None:
    status, answered, _ = ask(make_server(), [*received], headers=headers, raw_path=path)
    assert status == 413
    assert answered["X-Request-ID"]
    assert answered["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("text", [b"5,5", b"x", b"\xb2", b"0" * 5_000 + b"3"])
def test_bad_length_is_refused(text: bytes) -> None:
    assert ask(make_server(), [], headers=[(b"content-length", text)])[0] == 400


def test_late_body_is_refused_and_released() -> None:
    server = make_server()
    status, answered, body = ask(server, [piece(b"abc")], headers=length(6))
    assert status == 408
    assert answered["Content-Type"] == "application/problem+json"
    assert b"took too long" in body
    assert not server._bodies.is_busy


def test_large_bodies_share_a_budget_and_return_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.bodies.SWEEP_SECONDS", 0.02)
    server = make_server()
    received = [piece(b"x" * (LARGEST // 2))]
    for _ in range(3 * LARGE_BODIES):  # each is late, and returns its share
        server._bodies._seconds = 0
        assert ask(server, [*received], headers=length(LARGEST))[0] == 408
    server._bodies._budget = LARGEST // 4
    server._bodies._seconds = 60
    assert ask(server, [*received], headers=length(LARGEST))[0] == 503
    assert server._bodies._budget == LARGEST // 4
    small = piece(b"x" * UNBUDGETED_BYTES)
    assert ask(server, [small, piece(b"y")], headers=length(UNBUDGETED_BYTES + 1))[0] == 200
    assert server._bodies._budget == LARGEST // 4
