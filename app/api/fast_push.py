"""Ordinary single pushes, answered before Flask sees them.

A push is nearly all that the hub is asked, and Flask's dispatch costs more than everything else in
it. What is not an ordinary push, by any sign, goes on to Flask and its route, which do the same and
explain what is wrong; `tests/api/test_fast_push.py` holds the two together.

A server that can wait without a thread (`app.api.pending`) has the push read first, by `read`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.api.bodies import JSON
from app.api.context import Hub
from app.api.errors import answer_request_error
from app.api.pending import WHEN_READY, PendingAnswer
from app.api.requests import choose_request_id, count_request
from app.api.telemetry import counting_refusals, receipt_body, require_stored
from app.domain.updates import Update
from app.errors import RequestError
from app.ingest.transaction import Outcome
from app.schemas.decode import decode_common_update
from app.schemas.fields import identifier_problem
from app.schemas.updates import job_type_problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


_UPDATE = "hub.update"
# What `read` takes: everybody else waits meanwhile, and nobody has looked at its token yet. Updates
# with a disk or two have less than 1 KiB, and 8 KiB are read in less than 0.1 ms.
_SMALL_BODY = 8 * 1024
_JSON_TYPES = frozenset({JSON, f"{JSON}; charset=utf-8"})
MOST_DIGITS = 19  # of a length that is one


@dataclass(slots=True)
class _Asked:
    """A push on its way to its answer."""

    update: Update
    environ: WSGIEnvironment
    start_response: StartResponse
    request_id: str
    began: float


class FastPush:
    """WSGI middleware in front of the application's own `wsgi_app`."""

    def __init__(self, next_app: WSGIApplication, hub: Hub, prefix: str) -> None:
        self._next = next_app
        self._writer = hub.writer
        self._largest = hub.config.max_body_bytes
        self._prefix = f"{prefix}/telemetry/"
        self._route = f"{prefix}/telemetry/<job_type:job_type>/<identifier:job_id>"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        update = environ[_UPDATE] if _UPDATE in environ else self._ordinary_update(environ)
        if update is None:
            return self._next(environ, start_response)
        request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        asked = _Asked(update, environ, start_response, request_id, time.perf_counter())
        if WHEN_READY in environ:
            return self._begin(asked)
        return self._answer(asked, lambda: self._writer.submit([update]))

    # -- for a server that waits without a thread ---------------------------------------------

    def is_refused(self, environ: WSGIEnvironment) -> bool:
        """Whether this is a push, of whatever kind, and the queue is full.

        For a server that can ask first: to decode a batch and then refuse it takes the hub a sixth
        of what it takes to store it, and under overload most are refused. Nobody has looked at its
        token yet.
        """
        return (
            self._writer.is_full
            and self._writer.is_accepting  # or it is refused for another reason
            and environ["REQUEST_METHOD"] == "POST"
            and environ["PATH_INFO"].startswith(self._prefix)
        )

    def seems_ordinary(self, environ: WSGIEnvironment) -> bool:
        """Whether this is an ordinary push, by its head."""
        return self._job_of(environ) is not None

    def read(self, environ: WSGIEnvironment) -> bool:
        """Whether this is a small ordinary push; then it has been read, and is answered here."""
        if int(environ["CONTENT_LENGTH"]) > _SMALL_BODY:
            return False
        environ[_UPDATE] = self._ordinary_update(environ)
        return environ[_UPDATE] is not None

    def _begin(self, asked: _Asked) -> Iterable[bytes]:
        try:
            ticket = counting_refusals(
                lambda: self._writer.begin([asked.update], asked.environ[WHEN_READY])
            )
        except RequestError as error:
            return self._refuse(asked, error)
        return PendingAnswer(
            self._writer.wait_seconds,
            lambda: self._answer(asked, lambda: self._writer.finish(ticket)),
        )

    # -- the answer ---------------------------------------------------------------------------

    def _answer(
        self, asked: _Asked, wait_for_outcomes: Callable[[], list[Outcome]]
    ) -> Iterable[bytes]:
        try:
            receipt = require_stored(counting_refusals(wait_for_outcomes)[0])
        except RequestError as error:
            return self._refuse(asked, error)
        body = orjson.dumps(receipt_body(asked.update.job_id, receipt))
        asked.start_response(
            "200 OK",
            [
                ("Content-Type", JSON),
                ("Content-Length", str(len(body))),
                ("X-Request-ID", asked.request_id),
            ],
        )
        self._count(asked, 200)
        return [body]

    def _refuse(self, asked: _Asked, error: RequestError) -> Iterable[bytes]:
        refusal = answer_request_error(error)
        refusal.headers["X-Request-ID"] = asked.request_id
        self._count(asked, refusal.status_code)
        return refusal(asked.environ, asked.start_response)

    def _count(self, asked: _Asked, status: int) -> None:
        count_request("POST", self._route, status, time.perf_counter() - asked.began)

    # -- what is ordinary ---------------------------------------------------------------------

    def _ordinary_update(self, environ: WSGIEnvironment) -> Update | None:
        """The update, or None with the request as it came, its body still to be read."""
        job = self._job_of(environ)
        if job is None:
            return None
        length = int(environ["CONTENT_LENGTH"])
        try:
            body: bytes = environ["wsgi.input"].read(length)
        except OSError:
            body = b""
        # What is cut off may still be JSON: `read_body` refuses it by its Content-Length.
        update = decode_common_update(body, *job) if len(body) == length else None
        if update is None:
            environ["wsgi.input"] = io.BytesIO(body)
        return update

    def _job_of(self, environ: WSGIEnvironment) -> tuple[str, str] | None:
        """The type and id of the job, if the request's head is that of an ordinary push."""
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not path.startswith(self._prefix):
            return None
        job_type, _, job_id = path[len(self._prefix) :].partition("/")
        if not path.isascii() or job_type_problem(job_type) or identifier_problem(job_id):
            return None
        length = environ.get("CONTENT_LENGTH", "")
        if (
            environ.get("CONTENT_TYPE", "").lower() not in _JSON_TYPES
            or "HTTP_CONTENT_ENCODING" in environ
            or environ.get("QUERY_STRING")
            or not length.isdecimal()
            or len(length) > MOST_DIGITS
            or int(length) > self._largest
        ):
            return None
        return job_type, job_id
