"""The usual charts, answered before Flask sees them.

A chart is to be there in three milliseconds, and Flask's dispatch takes one. The whole run as JSON
is answered here; what asks for more, or may be answered 304, goes on to Flask and its route.
`tests/api/test_fast_chart.py` holds the two together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.api.bodies import JSON
from app.api.compression import is_packable, pack, packed_tag
from app.api.context import Hub
from app.api.errors import answer_request_error
from app.api.history import encode_chart
from app.api.requests import CACHE_CONTROL, choose_request_id, count_request, make_etag
from app.charts.job import read_history
from app.errors import RequestError
from app.schemas.fields import identifier_problem
from app.schemas.history import DEFAULT_POINTS, MAX_POINTS, MIN_POINTS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = "/telemetry/history/"
_POINTS = re.compile(r"points=([0-9]{2,4})", re.ASCII)


class FastChart:
    """WSGI middleware in front of the application's own `wsgi_app`."""

    def __init__(self, next_app: WSGIApplication, hub: Hub, prefix: str) -> None:
        self._next = next_app
        self._database = hub.database
        self._prefix = prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        usual = self._usual_chart(environ)
        if usual is None:
            return self._next(environ, start_response)
        began = time.perf_counter()
        route, job_id, points = usual
        request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            body = encode_chart(read_history(self._database, job_id, points=points))
        except RequestError as error:
            refusal = answer_request_error(error)
            refusal.headers["X-Request-ID"] = request_id
            count_request("GET", route, refusal.status_code, time.perf_counter() - began)
            return refusal(environ, start_response)
        except Exception:  # Flask meets the same, logs it, and answers with a problem
            return self._next(environ, start_response)
        tag, encoding = make_etag(body), []
        if is_packable(body, environ.get("HTTP_ACCEPT_ENCODING", "")):
            body, tag, encoding = pack(body), packed_tag(tag), [("Content-Encoding", "gzip")]
        start_response(
            "200 OK",
            [
                ("Content-Type", JSON),
                ("Content-Length", str(len(body))),
                *encoding,
                ("ETag", f'"{tag}"'),
                ("Cache-Control", CACHE_CONTROL),
                ("Vary", "Accept-Encoding"),
                ("X-Request-ID", request_id),
            ],
        )
        count_request("GET", route, 200, time.perf_counter() - began)
        return [body]

    def _usual_chart(self, environ: WSGIEnvironment) -> tuple[str, str, int] | None:
        """Route, job and points; None for any other request."""
        path: str = environ["PATH_INFO"]
        below = path.removeprefix(self._prefix)
        if (
            environ["REQUEST_METHOD"] != "GET"
            or not below.startswith(_PATH)
            or "HTTP_IF_NONE_MATCH" in environ
            or "HTTP_IF_MATCH" in environ
        ):
            return None
        job_id = below[len(_PATH) :]
        if not path.isascii() or identifier_problem(job_id):
            return None
        query = environ.get("QUERY_STRING", "")
        asked = _POINTS.fullmatch(query)
        points = int(asked[1]) if asked else DEFAULT_POINTS
        if (query and asked is None) or not MIN_POINTS <= points <= MAX_POINTS:
            return None
        return path[: -len(job_id)] + "<identifier:job_id>", job_id, points
