"""A hub that misbehaves to order: a real socket server which answers as the hub does, or passes on
to a real one, and fails each request with some probability in any of ten ways. Says what it took.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import random
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FAULTS = ("reset", "timeout", "500", "502", "503", "429", "401", "half", "garbage", "400")
# On request only, by `next_faults`: "dribble" (a byte now and then), "dribble_headers" (the same,
# and never to an end), "redirect", "portal" (200 and a login page), "page400" (a proxy's page with
# this or another status), "huge".
# With these the request may have been taken, and the sender cannot know.
SILENT = frozenset({"reset", "timeout", "half", "garbage", "dribble"})

Predicate = Callable[[dict[str, Any]], bool]


def never(_: dict[str, Any]) -> bool:
    return False


@dataclass
class Request:
    """What was asked, as it came."""

    method: str
    path: str
    headers: dict[str, str]  # lower case
    raw: bytes = field(repr=False)
    fault: str | None = None

    @property
    def json(self) -> Any:
        is_packed = self.headers.get("content-encoding") == "gzip"
        return json.loads(gzip.decompress(self.raw) if is_packed else self.raw)

    @property
    def items(self) -> list[dict[str, Any]]:
        """The updates or snapshots in it."""
        body = self.json
        for key in ("updates", "snapshots"):
            if isinstance(body, dict) and isinstance(body.get(key), list):
                return list(body[key])
        return [body]


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class FaultyHub:
    """Starts in its context. Every attribute may be changed while it runs.

    `target`: the URL of a real hub to pass on to; else it answers by itself. `probability`: of a
    fault at each push, drawn from `faults`. `next_faults`: these come first, None for none.
    `slow_seconds`: before each answer. A predicate says which payloads are `poison` (400; in a
    batch rejected alone), `whole_poison` (400, the whole batch with it), `crash` (500, likewise),
    `broken` (500; in a batch rejected alone, without a field), `blocked` (a proxy's page, 400). A
    proxy also refuses bodies of more than `largest_body` bytes (413).
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        probability: float = 0.0,
        faults: Iterable[str] = FAULTS,
        seed: int = 0,
        token: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.target = target
        self.probability = probability
        self.faults = tuple(faults)
        self.token = token
        self.certificate = certificate  # with its key: the hub then speaks TLS, as `localhost`
        self.next_faults: deque[str | None] = deque()
        self.fault_of_all: str | None = None  # of every request, a GET too
        self.slow_seconds = 0.0
        self.hold_seconds = 30.0  # of a "timeout"
        self.dribble_seconds = 0.1
        self.retry_after = "1"
        self.poison: Predicate = never
        self.whole_poison: Predicate = never
        self.crash: Predicate = never
        self.broken: Predicate = never
        self.blocked: Predicate = never
        self.largest_body: int | None = None
        self.requests: list[Request] = []
        self.accepted: list[dict[str, Any]] = []  # in the order in which they came; no repeats
        self.duplicates = 0
        self.port = 0
        self._known: set[str] = set()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FaultyHub:
        self.come_up()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.go_down()

    @property
    def url(self) -> str:
        if self.certificate is not None:
            return f"https://localhost:{self.port}"
        return f"http://127.0.0.1:{self.port}"

    @property
    def pushes(self) -> list[Request]:
        """Every POST, those that failed too."""
        return [request for request in self.requests if request.method == "POST"]

    def come_up(self) -> None:
        """Listen, on the same port as before."""
        self._ending = threading.Event()
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def go_down(self) -> None:
        """Refuse connections from now on; those open are cut."""
        if self._server is None or self._thread is None:
            return
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.close_all()
        self._server = None

    # What a request meets. Called by its thread.

    def choose_fault(self, request: Request) -> str | None:
        with self._lock:
            self.requests.append(request)
            request.fault = self.fault_of_all
            if request.method == "POST":
                if self.next_faults:
                    request.fault = self.next_faults.popleft()
                elif self._dice.random() < self.probability:
                    request.fault = self._dice.choice(self.faults)
            return request.fault

    def flips_heads(self) -> bool:
        with self._lock:
            return self._dice.random() < 0.5

    def wait(self, seconds: float) -> None:
        self._ending.wait(seconds)

    def answer(self, request: Request) -> Answer:
        """As the hub would."""
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return _problem(401, "A token is needed.")
        if self.target is not None:
            return self._pass_on(self.target, request)
        path = urlsplit(request.path).path
        if request.method == "GET" and path.endswith("/health"):
            return _json({"status": "ok", "version": "0", "checks": {}})
        if request.method != "POST" or "/telemetry/" not in path:
            return _problem(404, f"There is nothing at {path}.")
        try:
            items = request.items
        except (ValueError, OSError):
            return _problem(400, "body: Is not JSON.", {"body": ["Is not JSON."]})
        if self.largest_body is not None and len(request.raw) > self.largest_body:
            return _page(413, "413 Request Entity Too Large")
        if any(map(self.blocked, items)):
            return _page(400, "Request blocked")
        return self._take(request, path, items)

    def _take(self, request: Request, path: str, items: list[dict[str, Any]]) -> Answer:
        is_batch = path.endswith(("/batch", "/snapshot"))
        if any(map(self.whole_poison, items)):
            return _problem(400, "body: is poison.", {"body": ["Is poison."]})
        if any(map(self.crash, items)):
            return _problem(500, "Internal error; the reason is in the hub's log.")
        if is_batch:
            return self._take_batch(items, is_one=isinstance(request.json.get("node_id"), str))
        job_type, job_id = path.split("/telemetry/")[1].split("/", 1)
        item = {**items[0], "job_type": job_type, "job_id": unquote(job_id)}
        if errors := self._errors(item):
            status = 500 if "body" in errors else 400
            return _problem(status, next(iter(errors.values()))[0], errors)
        is_new = self._store(item)
        return _json(
            {"job_id": item["job_id"], "status": item.get("status"), "accepted": True}
            | {"duplicate": not is_new, "applied": is_new, "reason": None}
        )

    def _take_batch(self, items: list[dict[str, Any]], *, is_one: bool) -> Answer:
        rejected: list[dict[str, Any]] = []
        new = old = 0
        for index, item in enumerate(items):
            if errors := self._errors(item):
                rejected.append({"index": index, "errors": errors})
            elif self._store(item):
                new += 1
            else:
                old += 1
        if is_one and rejected:
            return _problem(400, "timestamp: is poison.", rejected[0]["errors"])
        return _json({"accepted": new, "duplicates": old, "rejected": rejected})

    def _errors(self, item: dict[str, Any]) -> dict[str, list[str]]:
        if self.poison(item):
            return {"timestamp": ["Is poison."]}
        if self.broken(item):
            return {"body": ["The update could not be stored; the reason is in the hub's log."]}
        return {}

    def _store(self, item: dict[str, Any]) -> bool:
        key = json.dumps(item, sort_keys=True)
        with self._lock:
            if key in self._known:
                self.duplicates += 1
                return False
            self._known.add(key)
            self.accepted.append(item)
            return True

    def _pass_on(self, target: str, request: Request) -> Answer:
        parts = urlsplit(target)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        skipped = ("host", "connection", "content-length")
        headers = {name: text for name, text in request.headers.items() if name not in skipped}
        try:
            connection.request(request.method, request.path, request.raw or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return _problem(502, "The hub behind is away.")
        finally:
            connection.close()
        if answer.status == 200 and request.method == "POST":
            self._note_passed(request, body)
        kept = ("content-type", "retry-after")
        return Answer(
            answer.status, body, {k: v for k, v in answer.getheaders() if k.lower() in kept}
        )

    def _note_passed(self, request: Request, body: bytes) -> None:
        rejected = {item["index"] for item in json.loads(body).get("rejected", [])}
        for index, item in enumerate(request.items):
            if index not in rejected:
                self._store(item)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, hub: FaultyHub, port: int) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        if hub.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(hub.certificate)
            # Each thread does its handshake at its first read: a failure stops only that thread.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders hang up: that is normal."""

    def close_all(self) -> None:
        self.server_close()
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _handle(self) -> None:
        hub = self.server.hub
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, raw)
        fault = hub.choose_fault(request)
        hub.wait(hub.slow_seconds)
        if fault is None:
            self._send(hub.answer(request))
            return
        taken = hub.answer(request) if fault in SILENT and hub.flips_heads() else None
        self._fail(fault, taken or _json({"accepted": True}))

    def _fail(self, fault: str, answer: Answer) -> None:
        hub = self.server.hub
        if fault == "timeout":
            hub.wait(hub.hold_seconds)
            self._hang_up()
        elif fault == "reset":
            self._reset()
        elif fault == "half":
            self._send(answer, length=len(answer.body) // 2)
        elif fault in ("dribble", "dribble_headers"):
            self._dribble(answer, in_headers=fault == "dribble_headers")
        else:
            self._send(self._failure(fault))

    def _failure(self, fault: str) -> Answer:
        if fault == "garbage":
            return Answer(200, b'{"accepted": tru\xff\x00<html>')
        if fault == "portal":
            return _page(200, "Sign in")
        if fault == "redirect":
            secrets = "user:hunter2@sso.example.org/login?state=s3cret"
            return Answer(302, b"", {"Location": f"https://{secrets}"})
        if fault == "huge":
            return Answer(200, b" " * (2 << 20))
        if fault.startswith("page"):
            return _page(int(fault.removeprefix("page")), "An error of a proxy")
        answer = _problem(int(fault), "Injected.")
        if fault in ("503", "429"):
            answer.headers["Retry-After"] = self.server.hub.retry_after
        return answer

    def _send(self, answer: Answer, length: int | None = None) -> None:
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers}
        headers["Content-Length"] = str(len(answer.body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[:length])
        if length is not None:
            self._hang_up()

    def _dribble(self, answer: Answer, *, in_headers: bool) -> None:
        hub = self.server.hub
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer.body)}\r\n\r\n".encode()
        text = b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 10_000 if in_headers else answer.body
        if not in_headers:
            self.wfile.write(head)
        for byte in text:
            self.wfile.write(bytes([byte]))
            hub.wait(hub.dribble_seconds)
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()


def _json(body: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(body).encode())


def _page(status: int, title: str) -> Answer:
    """What a proxy answers in the hub's place."""
    page = f"<html><head><title>{title}</title></head><body>…</body></html>"
    return Answer(status, page.encode(), {"Content-Type": "text/html"})


def _problem(status: int, detail: str, errors: Mapping[str, list[str]] | None = None) -> Answer:
    kind = f"urn:telemetry-hub:problem:{status}"
    body: dict[str, Any] = {"type": kind, "title": "Failed", "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/problem+json"})
