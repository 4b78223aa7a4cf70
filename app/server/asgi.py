"""The ASGI application that a web worker serves.

Every body is read on the event loop. Pushes and charts are answered there
(`app.server.push`, `app.server.history`). Everything else is one call into Flask, in a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from app.hub import Hub
from app.logs import request_id
from app.server.bodies import Bodies, Disconnected, Receive
from app.server.history import ChartServer
from app.server.push import PushServer
from app.server.threads import Threads
from app.server.wsgi import Scope, call_wsgi, make_environ
from app.web import problems
from app.web.content import JSON
from app.web.history import find_chart
from app.web.push import find_target
from app.web.request import SAFE_HEADERS, Answer, Request, choose_request_id, complete

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Send = Callable[[dict[str, Any]], Awaitable[None]]
Call = Callable[[bytes], Awaitable[Answer]]

QUIET_SECONDS = 1.0  # lets the last answers reach their clients before the process exits
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_BANNER = (b"server", b"")  # without it the web server adds its name


def make_server() -> Server:
    """The application of a web worker, configured from the environment."""
    from app import create_app
    from app.api.context import hub_of

    app = create_app()
    return Server(hub_of(app), app)


class Server:
    """Serves one hub over ASGI; `flask_app` answers everything but pushes and charts."""

    def __init__(self, hub: Hub, flask_app: WSGIApplication) -> None:
        config = hub.config
        self._hub = hub
        self._flask_app = flask_app
        self._bodies = Bodies(config.request_seconds, config.max_batch_bytes)
        self._threads = Threads(config.threads)
        self._pushes = PushServer(hub, self._threads)
        self._charts = ChartServer(hub, self._threads)
        self._answered_at = 0.0
        self._shutdown_task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        if scope["type"] != "http":
            return
        request = read_request(scope)
        request_id.set(request.id)
        query: bytes = scope["query_string"]
        push = find_target(request.path) if request.method == "POST" and not query else None
        call: Call | None
        if push is not None:
            call, route = partial(self._pushes.store, request, push), push.route
        else:
            call, route = self._find_chart(request, query)
        body = None
        try:
            body = await self._bodies.read(request.headers, receive)
            request.began = time.perf_counter()  # a slow sender's body does not count
            if call is None:
                answer = await self._call_flask(scope, request, body.content)
            else:
                answer = complete(await call(body.content), request, route)
        except Disconnected:
            return
        except Exception as exc:
            answer = complete(problems.answer_failure(exc), request, route)
        finally:
            if body is not None and body.reserved:
                self._bodies.release(body)
        await _send(answer, send)
        self._answered_at = time.monotonic()

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
        await receive()
        self._sweeper = asyncio.create_task(self._bodies.sweep())
        self._handle_sigterm()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._sweeper.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _handle_sigterm(self) -> None:
        """Shut down on SIGTERM: the web server waits for open requests without notifying us."""
        if threading.current_thread() is not threading.main_thread():
            return  # embedded in another program, which handles its own signals

        def stop() -> None:
            self._bodies.shorten_deadline()
            self._shutdown_task = self._shutdown_task or asyncio.create_task(self._shut_down())
            signal.raise_signal(signal.SIGINT)  # the web server still handles this one

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    async def _shut_down(self) -> None:
        """Exit once no request is left except those with incomplete headers."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(0.1)
            is_busy = self._bodies.is_busy or self._pushes.is_busy or self._threads.is_busy
            quiet_since = time.monotonic() if is_busy else max(quiet_since, self._answered_at)
        self._hub.close()
        os._exit(0)


def read_request(scope: Scope) -> Request:
    """The request of an ASGI scope. The values of a repeated header are joined."""
    headers: dict[str, str] = {}
    for raw_name, value in scope["headers"]:
        name, text = raw_name.decode("latin-1"), value.decode("latin-1")
        if name in headers:
            text = f"{headers[name]}{'; ' if name == 'cookie' else ','}{text}"
        headers[name] = text
    path: bytes = scope["raw_path"]
    client = scope["client"]
    return Request(
        scope["method"],
        (unquote_to_bytes(path) if b"%" in path else path).decode(errors="replace"),
        headers,
        client[0] if client else "",
        choose_request_id(headers.get("x-request-id", "")),
    )


def _encode(header: tuple[str, str]) -> tuple[bytes, bytes]:
    return header[0].encode("latin-1"), header[1].encode("latin-1")


_ENCODED = {header: _encode(header) for header in (*SAFE_HEADERS, ("Content-Type", JSON))}


async def _send(answer: Answer, send: Send) -> None:
    headers = [_ENCODED.get(header) or _encode(header) for header in answer.headers]
    headers.append(_NO_BANNER)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
