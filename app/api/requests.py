"""What happens around every request: its id, metrics and log line; and how JSON is written."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import time
import uuid
from datetime import datetime
from typing import Any

import orjson
from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram

from app import metrics
from app.api.compression import pack_and_make_conditional
from app.clock import isoformat
from app.logs import request_id

logger = logging.getLogger("hub.requests")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

CACHE_CONTROL = "no-cache"  # keep it, but ask before using it


def json_response(body: Any, status: int = 200) -> Response:
    """An application/json answer. Instants become RFC 3339 in UTC with a `Z`; NaN becomes null."""
    return Response(encode_json(body), status, mimetype="application/json")


def conditional_json(body: Any, *, same_but_for: Any = None) -> Response:
    """As `json_response`, with an ETag; 304 if the client has the same already.

    What counts up in every answer would change every tag. `same_but_for` is the body without that:
    its tag is a weak one, which says that the answers mean the same, not that they are.
    """
    response = json_response(body)
    if same_but_for is not None:
        response.set_etag(make_etag(encode_json(same_but_for)), weak=True)
    return make_conditional(response)


def make_conditional(response: Response) -> Response:
    """The response with its ETag, a hash of its body unless it has one; 304 if the client has it.
    Packed where the client takes that.

    A version of a row would save making the body, but not all that changes an answer changes that
    row: of a chart, old updates are dropped by age, whole chunks at once.
    """
    if "ETag" not in response.headers:
        response.set_etag(make_etag(response.get_data()))
    response.headers["Cache-Control"] = CACHE_CONTROL
    return pack_and_make_conditional(response)


def make_etag(body: bytes) -> str:
    """The ETag of an answer by its bytes, without its quotes."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def encode_json(body: Any) -> bytes:
    """The text of a JSON answer; see `json_response`."""
    return orjson.dumps(body, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return isoformat(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def register_request_hooks(app: Flask) -> None:
    """Give every request an id and a place in the metrics. Register it before any other hook."""
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_forget)


def choose_request_id(offered: str) -> str:
    """The client's own X-Request-ID where it is acceptable, else a new one."""
    return offered if _ACCEPTABLE_ID.fullmatch(offered) else uuid.uuid4().hex


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request. `route` is the rule; a path would have the job's id in it."""
    requests_total, request_seconds = _children(method, route, status)
    requests_total.inc()
    request_seconds.observe(seconds)


def _begin() -> None:
    g.request_id = choose_request_id(request.headers.get("X-Request-ID", ""))
    g.began = time.perf_counter()
    request_id.set(g.request_id)


def _finish(response: Response) -> Response:
    if "request_id" not in g:  # a hook that runs before `_begin` has answered
        _begin()
    response.headers["X-Request-ID"] = g.request_id
    seconds = time.perf_counter() - g.began
    method = request.method if request.method in METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "unknown"
    count_request(method, route, response.status_code, seconds)
    # At full load ingest answers thousands a second: no line for each, at any level.
    if logger.isEnabledFor(logging.DEBUG) and not _is_ingest(method, route):
        logger.debug(
            "%s %s %d", method, request.path, response.status_code, extra={"seconds": seconds}
        )
    return response


def _forget(error: BaseException | None) -> None:
    request_id.set("")


def _is_ingest(method: str, route: str) -> bool:
    return method == "POST" and "/telemetry/" in route


@functools.lru_cache(maxsize=1024)  # looking a child up by its labels costs more than counting
def _children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return (
        metrics.REQUESTS.labels(method, route, str(status)),
        metrics.REQUEST_SECONDS.labels(method, route),
    )
