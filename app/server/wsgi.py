"""Calls Flask, or any WSGI application, with a complete request."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from app.web.request import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Scope = dict[str, Any]

_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": False,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}
_DROPPED = "hub.dropped"


def call_wsgi(app: WSGIApplication, environ: WSGIEnvironment) -> Answer:
    """Call the application and wait for its complete answer."""
    answer = Answer(500)
    written = bytearray()

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        answer.status, answer.headers = int(status[:3]), headers
        return written.extend

    pieces: Iterable[bytes] = app(environ, start_response)
    try:
        body = b"".join(pieces)
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    answer.body = bytes(written) + body if written else body
    return answer


def make_environ(scope: Scope, body: bytes = b"") -> WSGIEnvironment:
    """The PEP 3333 environment of a request, from its ASGI scope and its complete body."""
    environ = _ENVIRON.copy()
    for name, value in scope["headers"]:
        key = _environ_name(name)
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    environ.pop(_DROPPED, None)
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:  # the body is complete
        environ["CONTENT_LENGTH"] = str(len(body))
    client, server = scope["client"], scope["server"]
    environ["REQUEST_METHOD"] = scope["method"]
    environ["PATH_INFO"] = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    environ["REQUEST_URI"] = scope["raw_path"].decode("latin-1")  # in which a %2F is not a slash
    environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    host, port = server or ("localhost", None)  # None: not a TCP socket
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host, str(port or 80)
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope["http_version"] == "1" else "HTTP/1.1"
    environ["wsgi.url_scheme"] = scope["scheme"]
    environ["wsgi.input"] = io.BytesIO(body)
    return environ


@lru_cache(maxsize=1000)  # clients choose the names
def _environ_name(name: bytes) -> str:
    # WSGI writes `-` as `_`: a name that has one already could pass for another header.
    text = name.decode("latin-1")
    if "_" in text:
        return _DROPPED
    key = text.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
