"""What messages are sent to in tests: real receivers on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from aiosmtpd.controller import Controller

WAIT_SECONDS = 10.0


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Sink:
    """An HTTP server that keeps what it is sent, and answers with `status` after `delay` s."""

    port: int = 0
    status: int = 200
    delay: float = 0.0
    answer: bytes = b"{}"
    on_request: Callable[[], None] | None = None  # before it answers
    got: list[Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def wait_for(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Wait until it holds; fail if it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


@contextmanager
def http_sink(**settings: Any) -> Iterator[Sink]:
    """A sink on a free port."""
    sink = Sink(**settings)

    class Handler(BaseHTTPRequestHandler):
        def take(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.got.append(Request(self.command, self.path, headers, body))
            if sink.on_request is not None:
                sink.on_request()
            time.sleep(sink.delay)
            self.send_response(sink.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sink.answer)))
            self.end_headers()
            self.wfile.write(sink.answer)

        do_GET = do_POST = do_PUT = take

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """The sender went away."""

    server = Server(("127.0.0.1", 0), Handler)
    sink.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Mailbox:
    def __init__(self) -> None:
        self.got: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.got.append(message)
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """An SMTP server: its port, and the mail that it got."""
    mailbox = _Mailbox()
    with http_sink() as free:  # a port that was free a moment ago
        port = free.port
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port, mailbox.got
    finally:
        controller.stop()
