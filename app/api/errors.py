"""Every failure as application/problem+json (RFC 9457); the one place that writes that shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app.errors import NO_MEMORY, HubError, RequestError, TooManyUpdates, Unavailable
from app.schemas.errors import flatten

logger = logging.getLogger("hub.api")

_WHERE = {"json", "query", "path", "headers", "form", "files", "cookies", "query_and_headers"}


def problem(
    status: int,
    detail: str,
    *,
    errors: Mapping[str, list[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem+json answer. `errors` maps a field's path (`disks.0.status`) to its reasons."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    response = Response(orjson.dumps(body), status, mimetype="application/problem+json")
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def describe(errors: Mapping[str, list[str]]) -> str:
    """The first reason as a sentence that names its field."""
    field, reasons = next(iter(errors.items()))
    return f"{field}: {reasons[0]}"


def register_error_handlers(app: Flask) -> None:
    """Answer our own errors, HTTP errors and anything unforeseen as problem+json."""
    app.register_error_handler(RequestError, answer_request_error)
    app.register_error_handler(HTTPException, answer_http_exception)
    app.register_error_handler(Exception, _answer_unforeseen)


def answer_request_error(error: Exception) -> Response:
    """The answer to one of our own errors."""
    assert isinstance(error, RequestError)
    headers = {}
    if isinstance(error, (Unavailable, TooManyUpdates)):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return problem(error.status, str(error), errors=getattr(error, "errors", None), headers=headers)


def answer_http_exception(error: Exception) -> Response:
    """The answer to an error of HTTP: no such path, method or media type, or a bad argument."""
    assert isinstance(error, HTTPException)
    status = error.code or 500
    if status < 400:  # a redirect is an HTTPException too
        return Response(status=404) if error.response is None else error.response  # type: ignore[return-value]
    messages = getattr(error, "data", {}).get("messages")
    if messages:
        if isinstance(messages, Mapping) and set(messages) <= _WHERE:
            messages = {key: value for part in messages.values() for key, value in part.items()}
        errors = flatten(messages)
        return problem(400, describe(errors), errors=errors)
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    details = {
        404: f"There is nothing at {request.path}.",
        405: f"{request.path} does not take {request.method}.",
    }
    return problem(
        status, details.get(status, error.description or "The request failed."), headers=headers
    )


def _answer_unforeseen(error: Exception) -> Response:
    if isinstance(error, MemoryError):  # it would be taken later: the sender must not give up
        return answer_request_error(Unavailable(NO_MEMORY))
    if isinstance(error, HubError):  # a StartError cannot happen here; say no more than needed
        logger.error("hub error in a request", exc_info=error)
    else:
        logger.exception("unforeseen error", exc_info=error)
    return problem(500, "The hub failed to answer; the reason is in its log.")
