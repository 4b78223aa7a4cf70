"""Bodies on the event loop: complete, in time, within their budget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from app.auth.guard import Guard
from app.server.bodies import LARGE_BODIES, UNBUDGETED_BYTES
from app.web.permissions import OPEN, READ, Permission
from tests.asgi import Messages, ask, length, piece
from tests.tokens import KEYS, bearer, make_token
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

    status, answered, body = ask(make_server(app), [piece(b"abc"), DISCONNECT], headers=headers)
    # Malformed chunks look the same, and their client waits for an answer.
    assert (status, answered["Content-Type"]) == (400, "application/problem+json")
    assert b"malformed" in body


@pytest.mark.parametrize("headers", [length(100), CHUNKED])
def test_truncated_push_never_reaches_the_writer(headers: list[tuple[bytes, bytes]]) -> None:
    server = make_server()
    whole = b'{"status": "running"}'
    assert ask(server, [piece(whole), DISCONNECT], headers=headers, raw_path=PUSH)[0] == 400
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


# Large bodies: who may send one is asked before it is read.

LARGE = UNBUDGETED_BYTES + 1
BATCH = b"/api/v1/telemetry/batch"
JSON = [(b"content-type", b"application/json")]


def large_pieces() -> Messages:
    """A large body that would be valid JSON."""
    return [piece(b" " * UNBUDGETED_BYTES), piece(b" "), piece(b'{"updates":[]}', more=False)]


def authorization(scope: str) -> list[tuple[bytes, bytes]]:
    return [*JSON, (b"authorization", bearer(make_token(scope))["Authorization"].encode())]


@pytest.mark.parametrize("path", [PUSH, BATCH, b"/api/v1/jobs", b"/a"])
@pytest.mark.parametrize(
    ("headers", "status"), [(JSON, 401), (authorization("read"), 403)], ids=["no token", "reader"]
)
def test_large_body_is_not_read_for_those_who_may_not_push(
    path: bytes, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    server = HeldServer(echo, guard=Guard(KEYS), max_batch_bytes=LARGEST)
    received = large_pieces()
    answer = ask(server, received, headers=[*headers, *length(LARGE)], raw_path=path)
    assert answer[0] == status
    assert received == large_pieces(), "it was read"
    answer = ask(server, received, headers=[*headers, *CHUNKED], raw_path=path)
    assert answer[0] == status
    assert received == large_pieces()[2:], "it was read to its end"
    assert server._bodies._budget == LARGE_BODIES * LARGEST
    assert not server._bodies.is_busy


@pytest.mark.parametrize("headers", [length(UNBUDGETED_BYTES + 15), CHUNKED])
def test_large_body_is_read_for_those_who_may_push_and_counts_once(
    headers: list[tuple[bytes, bytes]],
) -> None:
    server = HeldServer(echo, guard=Guard(KEYS), max_batch_bytes=LARGEST, token_rate=1)
    for status in (200, 200, 429):  # the burst is of two
        headers_of_push = [*authorization("ingest"), *headers]
        answer = ask(server, large_pieces(), headers=headers_of_push, raw_path=BATCH)
        assert answer[0] == status


@pytest.mark.parametrize("permission", [None, OPEN, READ])
@pytest.mark.parametrize("is_guarded", [False, True])
def test_large_body_is_not_read_for_a_route_that_takes_none(
    permission: Permission | None, is_guarded: bool
) -> None:
    """Nor for a path without a route: Flask answers without it."""
    asked: list[tuple[str, str]] = []

    def find_permission(method: str, path: str) -> Permission | None:
        asked.append((method, path))
        return permission

    guard = Guard(KEYS) if is_guarded else None
    server = HeldServer(echo, guard=guard, find_permission=find_permission)
    received = large_pieces()
    assert ask(server, received, headers=length(LARGE))[2] == b"0"
    assert received == large_pieces(), "it was read"
    assert asked == [("POST", "/a")]
    assert ask(server, received, headers=CHUNKED)[2] == b"0"
    assert received == large_pieces()[2:], "it was read to its end"
    assert not server._bodies.is_busy


def test_small_body_is_read_whoever_sends_it() -> None:
    server = HeldServer(echo, guard=Guard(KEYS), find_permission=lambda *_: None)
    assert ask(server, [piece(b"abc", more=False)], headers=length(3))[2] == b"3"


# Heads that RFC 9110 and 9112 do not allow.


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip", b"chunked, chunked", b"identity", b"x"]
)
@pytest.mark.parametrize("path", [PUSH, b"/a"])
def test_other_transfer_codings_are_not_implemented(coding: bytes, path: bytes) -> None:
    headers = [(b"transfer-encoding", coding)]
    assert ask(make_server(), [piece(b"{}", more=False)], headers=headers, raw_path=path)[0] == 501


@pytest.mark.parametrize("path", [PUSH, b"/a"])
@pytest.mark.parametrize("method", ["post", "Post", "get", "gET"])
def test_methods_are_in_upper_case(path: bytes, method: str) -> None:
    assert ask(make_server(), [], method=method, raw_path=path)[0] == 501


@pytest.mark.parametrize("path", [PUSH, b"/a", b"/api/v1/health", b"/telemetry/history/j"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_has_one_host(path: bytes, method: str) -> None:
    none = [(b"host", b"")]  # as the web server passes on a request without one
    status, _, body = ask(make_server(), [], method=method, raw_path=path, headers=none)
    assert (status, b"Host: is required" in body) == (400, True)
    old = {"headers": none, "http_version": "1"}
    if path == b"/a":
        assert ask(make_server(), [], method=method, raw_path=path, **old)[0] == 200
