"""Ordinary single pushes, answered before Flask sees them.

A push is nearly all that the hub is asked, and Flask's dispatch costs more than everything else in
it. What is not an ordinary push, by any sign, goes on to Flask and its route, which do the same and
explain what is wrong; `tests/api/test_fast_push.py` holds the two together.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from app.api.bodies import JSON
from app.api.context import Hub
from app.api.errors import answer_request_error
from app.api.requests import choose_request_id, count_request
from app.api.telemetry import receipt_body, require_stored, submit_to
from app.domain.updates import Update
from app.errors import RequestError
from app.schemas.decode import decode_common_update
from app.schemas.fields import identifier_problem
from app.schemas.updates import job_type_problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class FastPush:
    """WSGI middleware in front of the application's own `wsgi_app`."""

    def __init__(self, next_app: WSGIApplication, hub: Hub, prefix: str) -> None:
        self._next = next_app
        self._writer = hub.writer
        self._largest = hub.config.max_body_bytes
        self._prefix = f"{prefix}/telemetry/"
        self._route = f"{prefix}/telemetry/<job_type:job_type>/<identifier:job_id>"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        update = self._ordinary_update(environ)
        if update is None:
            return self._next(environ, start_response)
        began = time.perf_counter()
        request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            receipt = require_stored(submit_to(self._writer, [update])[0])
        except RequestError as error:
            refusal = answer_request_error(error)
            refusal.headers["X-Request-ID"] = request_id
            self._count(refusal.status_code, began)
            return refusal(environ, start_response)
        body = orjson.dumps(receipt_body(update.job_id, receipt))
        start_response(
            "200 OK",
            [
                ("Content-Type", JSON),
                ("Content-Length", str(len(body))),
                ("X-Request-ID", request_id),
            ],
        )
        self._count(200, began)
        return [body]

    def _ordinary_update(self, environ: WSGIEnvironment) -> Update | None:
        """The update, or None with the request as it came, its body still to be read."""
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not path.startswith(self._prefix):
            return None
        job_type, _, job_id = path[len(self._prefix) :].partition("/")
        if not path.isascii() or job_type_problem(job_type) or identifier_problem(job_id):
            return None
        length = environ.get("CONTENT_LENGTH", "")
        if (
            environ.get("CONTENT_TYPE") != JSON
            or "HTTP_CONTENT_ENCODING" in environ
            or environ.get("QUERY_STRING")
            or not length.isdecimal()
            or int(length) > self._largest
        ):
            return None
        try:
            body: bytes = environ["wsgi.input"].read(int(length))
        except OSError:
            body = b""
        # What is cut off may still be JSON: `read_body` refuses it by its Content-Length.
        is_whole = len(body) == int(length)
        update = decode_common_update(body, job_type, job_id) if is_whole else None
        if update is None:
            environ["wsgi.input"] = io.BytesIO(body)
        return update

    def _count(self, status: int, began: float) -> None:
        count_request("POST", self._route, status, time.perf_counter() - began)
