"""Converting requests from ASGI to WSGI, and answers back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.server.asgi import read_request
from app.server.wsgi import call_wsgi, make_environ
from tests.asgi import make_scope

SCOPE = make_scope(
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


def test_environ_follows_pep_3333() -> None:
    environ = make_environ(SCOPE, b"body")
    assert environ["PATH_INFO"].encode("latin-1") == b"/a/b/\xc3\xa9\xff"
    assert environ["QUERY_STRING"] == "x=%20"
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["HTTP_X_TWO"] == "a,b"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "\xe9"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == "8082"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.input"].read() == b"body"


def test_chunked_body_gets_a_content_length() -> None:
    environ = make_environ(make_scope(headers=[(b"transfer-encoding", b"chunked")]), b"body")
    assert environ["CONTENT_LENGTH"] == "4"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_request_headers_match_the_environ() -> None:
    """A name with an underscore cannot forge another header."""
    request = read_request(SCOPE)
    assert request.path == "/a/b/é\ufffd"
    assert request.headers.get("x-two", "") == "a,b"
    assert request.headers.get("cookie", "") == "a=1; b=2"
    assert request.headers.get("x-latin", "") == "\xe9"
    assert request.peer == "127.0.0.1"


def test_answer_is_joined_and_its_iterable_closed() -> None:
    class Pieces(list[bytes]):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    pieces = Pieces([b"b", b"c"])

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"a")
        return pieces

    answer = call_wsgi(app, {})
    assert answer.body == b"abc"
    assert pieces.is_closed
