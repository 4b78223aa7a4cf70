"""What happens around every request: its id, metrics and log line; and how JSON is written."""

from __future__ import annotations

import functools
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
from app.clock import isoformat
from app.logs import request_id

logger = logging.getLogger("hub.requests")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def json_response(body: Any, status: int = 200) -> Response:
    """An application/json answer. Instants become RFC 3339 in UTC with a `Z`; NaN becomes null."""
    text = orjson.dumps(body, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)
    return Response(text, status, mimetype="application/json")


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return isoformat(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def register_request_hooks(app: Flask) -> None:
    """Give every request an id and a place in the metrics. Register it before any other hook."""
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_forget)


def _begin() -> None:
    offered = request.headers.get("X-Request-ID", "")
    g.request_id = offered if _ACCEPTABLE_ID.fullmatch(offered) else uuid.uuid4().hex
    g.began = time.perf_counter()
    request_id.set(g.request_id)


def _finish(response: Response) -> Response:
    if "request_id" not in g:  # a hook that runs before `_begin` has answered
        _begin()
    response.headers["X-Request-ID"] = g.request_id
    seconds = time.perf_counter() - g.began
    method = request.method if request.method in _METHODS else "other"
    # The rule and not the path: a path has the job's id in it.
    route = request.url_rule.rule if request.url_rule else "unknown"
    requests_total, request_seconds = _children(method, route, response.status_code)
    requests_total.inc()
    request_seconds.observe(seconds)
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
