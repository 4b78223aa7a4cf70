"""The ASGI application that a web worker serves.

Every body is read on the event loop. Pushes and charts are answered there
(`app.server.push`, `app.server.history`). Everything else is one call into Flask, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from app import metrics
from app.errors import InvalidInput, MethodUnknown
from app.hub import Hub
from app.logs import request_id
from app.server.answers import PIECE_BYTES, Answers, NotTaken, Send
from app.server.bodies import Bodies, Disconnected, Receive
from app.server.history import ChartServer
from app.server.push import PushServer
from app.server.sockets import limit_unread
from app.server.threads import Threads
from app.server.wsgi import Scope, call_wsgi, make_environ
from app.web import problems
from app.web.content import JSON, bad_body
from app.web.history import find_chart
from app.web.permissions import PUSH, Permission
from app.web.pings import PATH as PING_PATH
from app.web.pings import find_ping, take_token
from app.web.push import Target, find_target
from app.web.request import SAFE_HEADERS, Answer, Request, choose_request_id, complete

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("hub.web")

Call = Callable[[bytes], Awaitable[Answer]]
FindPermission = Callable[[str, str], Permission | None]

QUIET_SECONDS = 1.0  # lets the last answers reach their clients before the process exits
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_BANNER = (b"server", b"")  # without it the web server adds its name


def make_server() -> Server:
    """The application of a web worker, configured from the environment."""
    from app import create_app
    from app.api.context import hub_of
    from app.api.needs import find_permission

    app = create_app()
    return Server(hub_of(app), app, partial(find_permission, app))


class Server:
    """Serves one hub over ASGI; `flask_app` answers everything but pushes and charts."""

    def __init__(
        self,
        hub: Hub,
        flask_app: WSGIApplication,
        find_permission: FindPermission = lambda method, path: PUSH,
    ) -> None:
        """`find_permission`: of the route of `flask_app` for a method and a path; None: no route.

        It is asked before a large body is read.
        """
        config = hub.config
        self._hub = hub
        self._flask_app = flask_app
        self._find_permission = find_permission
        self._bodies = Bodies(config.request_seconds, config.max_batch_bytes)
        self._answers = Answers(config.request_seconds)
        self._threads = Threads(config.threads)
        self._pushes = PushServer(hub, self._threads)
        self._charts = ChartServer(hub, self._threads)
        self._answered_at = 0.0
        self._shutdown_task: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._run_lifespan(receive, send)
        request = read_request(scope)
        request_id.set(request.id)
        query: bytes = scope["query_string"]
        if request.path.startswith(PING_PATH):
            take_token(request)
            push = find_ping(request, query)
        else:
            push = find_target(request.path) if request.method == "POST" and not query else None
        call: Call | None
        if push is not None:
            call, route = partial(self._pushes.store, request, push), push.route
        else:
            call, route = self._find_chart(request, query)
        body, is_reserved = None, False
        try:
            if not (request.headers.get("host", "") and request.method.isupper()):
                _check_head(request, scope["http_version"])
            takes_body = partial(self._takes_body, request, push)
            body = await self._bodies.read(request.headers, receive, takes_body)
            request.began = time.perf_counter()  # a slow sender's body does not count
            if call is None:
                answer = await self._call_flask(scope, request, body.content)
            else:
                answer = complete(await call(body.content), request, route)
            if len(answer.body) > PIECE_BYTES:
                self._prepare_large(answer, request)
                is_reserved = bool(answer.body)
        except Exception as exc:
            answer = complete(problems.answer_failure(_explain(exc)), request, route)
        finally:
            if body is not None and body.reserved:
                self._bodies.release(body)
        if is_reserved:
            await self._send_large(answer, request, receive, send)
        else:
            await _send(answer, send)
        self._answered_at = time.monotonic()

    def _takes_body(self, request: Request, push: Target | None) -> bool:
        """Whether to read a large body. Raises what its request is going to be refused with."""
        permission = (
            push.permission if push else self._find_permission(request.method, request.path)
        )
        if permission is None or not permission.takes_body:
            return False
        job_type = push.job_type if push else None
        self._hub.admission.admit(request, permission, job_type, is_charged=False)
        return True

    def _prepare_large(self, answer: Answer, request: Request) -> None:
        """Raises QueueFull if too many large answers are being sent."""
        if not any(name == "Content-Length" for name, _ in answer.headers):
            answer.headers.append(("Content-Length", str(len(answer.body))))
        if request.method == "HEAD":
            answer.body = b""
        else:
            self._answers.reserve(answer.body)

    async def _send_large(
        self, answer: Answer, request: Request, receive: Receive, send: Send
    ) -> None:
        try:
            await send(_start(answer))
            await self._answers.send(answer.body, receive, send)
        except NotTaken as exc:
            problems.count_refusal(exc)
            logger.debug("the answer to %s was not read", request.path)
        finally:
            self._answers.release(answer.body)

    def _find_chart(self, request: Request, query: bytes) -> tuple[Call | None, str]:
        """What answers a request for a chart, and its label in the metrics; None: Flask."""
        if request.method in ("GET", "HEAD") and (chart := find_chart(request.path, query)):
            return partial(self._charts.answer, request, chart), chart.route
        return None, "unknown"

    async def _call_flask(self, scope: Scope, request: Request, body: bytes) -> Answer:
        environ = make_environ(scope, body)
        environ["HTTP_X_REQUEST_ID"] = request.id  # one id for all that is logged
        call = partial(call_wsgi, self._flask_app, environ)
        is_reading = scope["method"] in _READING
        return await (self._threads.run(call) if is_reading else self._threads.run_limited(call))

    # -- startup and shutdown -----------------------------------------------------------------

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """The only other protocol: WebSockets are switched off."""
        await receive()
        config = self._hub.config
        limiting = limit_unread(config.port, config.request_seconds)
        works = self._bodies.sweep(), limiting, _sample_gauges()
        self._background = [asyncio.create_task(work) for work in works]
        self._handle_sigterm()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self._background:
            task.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _handle_sigterm(self) -> None:
        """Shut down on SIGTERM: the web server waits for open requests without notifying us."""
        if threading.current_thread() is not threading.main_thread():
            return  # embedded in another program, which handles its own signals

        def stop() -> None:
            self._bodies.shorten_deadline()
            self._answers.shorten_deadline()
            self._shutdown_task = self._shutdown_task or asyncio.create_task(self._shut_down())
            signal.raise_signal(signal.SIGINT)  # the web server still handles this one

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    async def _shut_down(self) -> None:
        """Exit once no request is left except those with incomplete headers."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(0.1)
            parts = (self._bodies, self._pushes, self._threads, self._answers)
            is_busy = any(part.is_busy for part in parts)
            quiet_since = time.monotonic() if is_busy else max(quiet_since, self._answered_at)
        self._hub.close()
        os._exit(0)


async def _sample_gauges() -> None:
    while True:
        metrics.sample()
        await asyncio.sleep(metrics.SAMPLE_SECONDS)


def read_request(scope: Scope) -> Request:
    """The request of an ASGI scope. The values of a repeated header are joined."""
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    headers: dict[str, str] = {}
    for name, value in raw:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    if len(headers) < len(raw):
        headers = _join_repeated(raw)
    path: bytes = scope["raw_path"]
    client = scope["client"]
    request = Request(
        scope["method"],
        (unquote_to_bytes(path) if b"%" in path else path).decode(errors="replace"),
        headers,
        client[0] if client else "",
        choose_request_id(headers.get("x-request-id", "")),
    )
    return request


def _join_repeated(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, value in raw:
        name, text = raw_name.decode("latin-1"), value.decode("latin-1")
        if name in headers:
            text = f"{headers[name]}{'; ' if name == 'cookie' else ','}{text}"
        headers[name] = text
    return headers


def _check_head(request: Request, http_version: str) -> None:
    """Refuse what RFC 9110 (9.1) and 9112 (3.2) do not allow."""
    if not request.method.isupper():
        raise MethodUnknown
    if http_version != "1":  # which is HTTP/1.0; the server adds an empty Host if there is none
        raise InvalidInput("Host: is required.")


def _explain(error: Exception) -> Exception:
    if isinstance(error, Disconnected):  # or the chunks of its body are malformed
        return bad_body("Is malformed, or its connection was lost.")
    return error


_ENCODED = {
    (name, value): (name.encode("latin-1"), value.encode("latin-1"))
    for name, value in (*SAFE_HEADERS, ("Content-Type", JSON))
}


async def _send(answer: Answer, send: Send) -> None:
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body})


def _start(answer: Answer) -> dict[str, Any]:
    headers = [
        _ENCODED.get(header) or (header[0].encode("latin-1"), header[1].encode("latin-1"))
        for header in answer.headers
    ]
    headers.append(_NO_BANNER)
    return {"type": "http.response.start", "status": answer.status, "headers": headers}
