"""What the web server runs: ASGI outside, and inside the plain WSGI application.

Bodies are read on the event loop, where one that dawdles holds no thread, and up to a deadline.
Only a whole body reaches the application, so what is cut off is never stored. Ordinary pushes are
answered on the event loop and wait for their commit there; everything else runs in threads.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from app import create_app, metrics
from app.api.errors import answer_request_error
from app.api.factory import close_app
from app.api.fast_push import MOST_DIGITS, FastPush
from app.api.gate import TooManyPushes
from app.api.headers import with_safe
from app.api.pending import WHEN_READY, PendingAnswer
from app.api.refusals import answer_refusal
from app.api.requests import choose_request_id
from app.config import Config
from app.errors import (
    NO_MEMORY,
    InvalidInput,
    QueueFull,
    RequestError,
    RequestTimeout,
    TooLarge,
    Unavailable,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

logger = logging.getLogger("hub.web")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

SWEEP_SECONDS = 1.0  # how exactly the deadline of a body is kept
STOP_GRACE_SECONDS = 1.0  # for bodies on their way when the hub is told to stop
QUIET_SECONDS = 1.0  # for answers to be on their way, before the process ends
# A commit may settle 2,000 pushes. To answer them takes 0.3 s, and others come meanwhile.
SETTLED_AT_ONCE = 50
SMALL_BODY = 64 * 1024  # always read; larger ones share a budget
LARGE_BODIES = 8  # so many of the largest, all together
_KNOWN_NAMES = 1_000
_NO_BANNER = (b"server", b"")  # without it the web server adds its name
_UNFORESEEN = "The hub failed to answer; the reason is in its log."

_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": False,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


def make_server() -> WebServer:
    """What a web worker serves: the application of its environment's settings."""
    app = create_app()
    return WebServer(
        app,
        app.extensions["hub"].config,
        lambda: close_app(app),
        app.extensions["hub_push_gate"].is_full_for,
        app.extensions["hub_fast_push"],
    )


@dataclass(slots=True)
class _Answer:
    """What the application says, in memory: our answers are all small."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """WSGI's `start_response`."""
        self.status = int(status[:3])
        self.headers = _encode_headers(headers)
        return self._write

    def _write(self, piece: bytes) -> None:
        self.body += piece

    def take(self, pieces: Iterable[bytes]) -> None:
        """The body, of which some may have been written already."""
        rest = b"".join(pieces)
        self.body += rest


class _Gone(Exception):
    """The sender left before its body was whole."""


class WebServer:
    """An ASGI application around a WSGI one.

    `is_full_for` says of a method, before a request costs a thread, that it would be refused there.
    `pushes` knows those that can be answered without one.
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: Config,
        close: Callable[[], None],
        is_full_for: Callable[[str], bool] = lambda method: False,
        pushes: FastPush | None = None,
    ) -> None:
        self._app = app
        self._close = close
        self._pushes = pushes
        self._waiting = 0  # pushes without a thread
        self._most_waiting = config.waiting_pushes
        metrics.WAITING_PUSHES.set_function(lambda: self._waiting)
        self._answered_at = 0.0
        self._settling = _Settling()
        self._is_full_for = is_full_for
        self._leaving: asyncio.Task[None] | None = None
        self._bodies = _Bodies(config.request_seconds, config.max_batch_bytes)
        # Of its own: a read does not wait behind all the pushes that a commit has settled.
        self._threads = _Threads(app, config.threads, _Settling())
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        environ = make_environ(scope)
        reading = None
        try:
            if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
                reading = await self._bodies.read(environ, receive)
            answer = await self._answer(environ)
        except _Gone:
            return
        except Exception as exc:
            answer = _answer_failure(exc, environ)
        finally:
            if reading is not None:
                self._bodies.forget(reading)
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": answer.headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})
        self._answered_at = time.monotonic()

    async def _answer(self, environ: WSGIEnvironment) -> _Answer:
        """The answer to a whole request: one to half of it may be lost with its connection."""
        pushes = self._pushes
        if pushes is not None and pushes.is_refused(environ):
            return _refuse_push(QueueFull, environ)
        if pushes is not None and pushes.seems_ordinary(environ):
            if self._waiting >= self._most_waiting:
                return _refuse_push(TooManyPushes, environ)
            if pushes.read(environ):
                return await self._wait_without_thread(environ)
        if self._is_full_for(environ["REQUEST_METHOD"]):
            return _refuse_push(TooManyPushes, environ)
        return await self._threads.run(environ)

    async def _wait_without_thread(self, environ: WSGIEnvironment) -> _Answer:
        """Run the application here, and wait here if its answer is pending."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        environ[WHEN_READY] = partial(self._settling.settle, ready, None)
        self._waiting += 1
        try:
            answer = _Answer()
            pieces = self._app(environ, answer.start)
            if isinstance(pieces, PendingAnswer):
                timer = loop.call_later(pieces.seconds, _set_result, ready, None)
                try:
                    await ready
                finally:
                    timer.cancel()
            answer.take(pieces)
            return answer
        finally:
            self._waiting -= 1

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._sweeper = asyncio.create_task(self._bodies.sweep())
        self._notice_stop()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._sweeper.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _notice_stop(self) -> None:
        """The web server tells nobody that it stops, and waits for all that is on its way."""
        if threading.current_thread() is not threading.main_thread():
            return  # signals are another's: not run by `serve`

        def stop() -> None:
            self._bodies.hurry()
            self._leaving = self._leaving or asyncio.create_task(self._leave())
            signal.raise_signal(signal.SIGINT)  # which the web server still hears

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    async def _leave(self) -> None:
        """End the process once nobody waits for an answer: what is left are half sent heads."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(0.1)
            is_busy = self._bodies.are_coming or self._waiting or self._threads.are_running
            quiet_since = time.monotonic() if is_busy else max(quiet_since, self._answered_at)
        self._close()
        os._exit(0)


# Bodies, on the event loop.


@dataclass(slots=True, eq=False)
class _Reading:
    task: asyncio.Task[Any]
    began: float
    held: int = 0  # bytes of the budget


class _Bodies:
    """Reads bodies to their end, by a deadline, and all together within a budget of memory."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds = seconds
        self._largest = largest
        self._budget = LARGE_BODIES * largest
        self._readings: set[_Reading] = set()

    async def read(self, environ: WSGIEnvironment, receive: Receive) -> _Reading:
        """Put the body into the environment.

        Raises TooLarge, RequestTimeout, QueueFull, or _Gone when the sender left in the middle.
        """
        length = _declared_length(environ)
        if length > self._largest:
            raise TooLarge(f"body: is larger than {self._largest} bytes.")
        task = asyncio.current_task()
        assert task is not None
        reading = _Reading(task, time.monotonic())
        self._readings.add(reading)
        try:
            body = await self._collect(reading, length, receive)
        except asyncio.CancelledError:
            self.forget(reading)
            if _is_late(reading, self._seconds):
                raise RequestTimeout from None
            raise
        except BaseException:
            self.forget(reading)
            raise
        self._readings.discard(reading)
        environ["wsgi.input"] = io.BytesIO(body)
        if length < 0:  # it came in pieces, and is whole now
            del environ["HTTP_TRANSFER_ENCODING"]
            environ["CONTENT_LENGTH"] = str(len(body))
        return reading

    @property
    def are_coming(self) -> bool:
        """Whether any body is still on its way."""
        return bool(self._readings)

    def forget(self, reading: _Reading) -> None:
        """Give back what a request held. Idempotent."""
        self._readings.discard(reading)
        self._budget += reading.held
        reading.held = 0

    async def sweep(self) -> None:
        """End those that are late, for as long as the hub runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS / 4 if self._seconds < 2 else SWEEP_SECONDS)
            for reading in list(self._readings):
                if _is_late(reading, self._seconds):
                    reading.task.cancel()

    def hurry(self) -> None:
        """The hub stops: wait only a moment for what is on its way."""
        self._seconds = min(self._seconds, STOP_GRACE_SECONDS)

    async def _collect(self, reading: _Reading, length: int, receive: Receive) -> bytes:
        if length == 0:
            return b""
        message = await receive()
        first: bytes = message.get("body", b"")
        if len(first) == length:  # nearly always
            return first
        body = bytearray(first)
        while message["type"] == "http.request":
            if len(body) > self._largest:
                raise TooLarge(f"body: is larger than {self._largest} bytes.")
            if len(body) == length or not message.get("more_body", False):
                return bytes(body)
            self._hold(reading, len(body))
            message = await receive()
            body += message.get("body", b"")
        raise _Gone

    def _hold(self, reading: _Reading, size: int) -> None:
        more = max(0, size - SMALL_BODY) - reading.held
        if more > self._budget:
            raise QueueFull("Too many large bodies are on their way; try again.")
        self._budget -= more
        reading.held += more


def _declared_length(environ: WSGIEnvironment) -> int:
    """The Content-Length; -1 for a body that comes in pieces until it ends."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return -1
    text = environ["CONTENT_LENGTH"]
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise InvalidInput("Content-Length: is no number.")
    return int(text)


def _is_late(reading: _Reading, seconds: float) -> bool:
    return time.monotonic() - reading.began >= seconds


# The application, in threads.


class _Threads:
    """Runs the application on whole requests in at most so many threads, started as needed."""

    def __init__(self, app: WSGIApplication, most: int, settling: _Settling) -> None:
        self._app = app
        self._most = most
        self._settling = settling
        self._started = 0
        self._running = 0
        self._waiting: SimpleQueue[tuple[WSGIEnvironment, asyncio.Future[_Answer]]] = SimpleQueue()

    @property
    def are_running(self) -> bool:
        """Whether anybody waits for an answer."""
        return self._running > 0

    async def run(self, environ: WSGIEnvironment) -> _Answer:
        answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._running += 1
        try:
            if self._running > self._started and self._started < self._most:
                self._start_another()
            self._waiting.put((environ, answered))
            return await answered
        finally:
            self._running -= 1

    def _start_another(self) -> None:
        """Start a thread; where the system gives none, those that run have to do."""
        name = f"request-{self._started + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as exc:
            if self._started == 0:
                raise Unavailable("The hub is short of threads or memory; try again.") from exc
            return
        self._started += 1

    def _work(self) -> None:
        while True:
            environ, answered = self._waiting.get()
            try:
                answer = call_wsgi(self._app, environ)
            except Exception as exc:
                answer = _answer_failure(exc, environ)
            self._settling.settle(answered, answer)
            del environ, answered, answer  # not until the next request comes


class _Settling:
    """Gives futures their results from other threads; the event loop is woken once for many."""

    def __init__(self) -> None:
        self._settled: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_woken = False

    def settle(self, future: asyncio.Future[Any], result: Any) -> None:
        """From any thread; all futures are of one loop."""
        self._settled.append((future, result))
        if self._is_woken:
            return
        self._is_woken = True
        try:
            future.get_loop().call_soon_threadsafe(self._set_results)
        except (RuntimeError, MemoryError):
            # The loop has ended, as does the process; or the next to come wakes it for all.
            self._is_woken = False

    def _set_results(self) -> None:
        self._is_woken = False  # first: what is settled from now on wakes the loop again
        for _ in range(min(len(self._settled), SETTLED_AT_ONCE)):
            _set_result(*self._settled.popleft())
        if self._settled and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._set_results)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def call_wsgi(app: WSGIApplication, environ: WSGIEnvironment) -> _Answer:
    """One request, waited for."""
    answer = _Answer()
    pieces = app(environ, answer.start)
    try:
        answer.take(pieces)
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    return answer


def _answer_failure(exc: Exception, environ: WSGIEnvironment) -> _Answer:
    if isinstance(exc, RequestError):
        return _refuse(exc, environ)
    if isinstance(exc, MemoryError):
        return _refuse(Unavailable(NO_MEMORY), environ)
    logger.exception("unforeseen error", exc_info=exc)
    return _refuse(RequestError(_UNFORESEEN), environ)


def make_environ(scope: Scope) -> WSGIEnvironment:
    """The environment of a request by PEP 3333; its body is still to come."""
    environ = _ENVIRON.copy()
    for name, value in scope["headers"]:
        key = _NAMES.get(name) or _environ_name(name)
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    environ.pop(_DROPPED, None)
    client, server = scope["client"], scope["server"]
    environ["REQUEST_METHOD"] = scope["method"]
    environ["PATH_INFO"] = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope["http_version"] == "1" else "HTTP/1.1"
    environ["wsgi.url_scheme"] = scope["scheme"]
    environ["wsgi.input"] = io.BytesIO()
    return environ


_NAMES: dict[bytes, str] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
}
_DROPPED = "hub.dropped"


def _environ_name(name: bytes) -> str:
    # WSGI writes `-` as `_`: a name that has one already could pass for another header.
    text = name.decode("latin-1")
    key = _DROPPED if "_" in text else f"HTTP_{text.upper().replace('-', '_')}"
    if len(_NAMES) < _KNOWN_NAMES:
        _NAMES[name] = key
    return key


def _encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    encoded.append(_NO_BANNER)
    return encoded


def _refuse(refusal: RequestError, environ: WSGIEnvironment) -> _Answer:
    """The answer to a request that does not reach the application."""
    response = answer_refusal(refusal, environ)
    headers = _encode_headers(with_safe(response.headers.items()))
    return _Answer(response.status_code, headers, response.get_data())


def _refuse_push(reason: type[QueueFull], environ: WSGIEnvironment) -> _Answer:
    """As `_refuse` one push too many, for a tenth of the time: under overload most are that."""
    metrics.REFUSED.labels(reason.__name__).inc()
    request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
    answer = _refusal_of_pushes(reason)
    headers = [*answer.headers, (b"X-Request-ID", request_id.encode())]
    return _Answer(answer.status, headers, answer.body)


_REFUSALS_OF_PUSHES: dict[type[QueueFull], _Answer] = {}


def _refusal_of_pushes(reason: type[QueueFull]) -> _Answer:
    """The same for all of them: everything but the request's id."""
    if reason not in _REFUSALS_OF_PUSHES:
        response = answer_request_error(reason())
        headers = _encode_headers(with_safe(response.headers.items()))
        _REFUSALS_OF_PUSHES[reason] = _Answer(response.status_code, headers, response.get_data())
    return _REFUSALS_OF_PUSHES[reason]
