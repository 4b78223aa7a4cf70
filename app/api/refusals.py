"""Answers to requests that do not reach the application: as its own, with everything they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response

from app import metrics
from app.api.errors import answer_request_error
from app.api.requests import choose_request_id
from app.errors import RequestError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def answer_refusal(refusal: RequestError, environ: WSGIEnvironment) -> Response:
    """The problem, with the request's id; counted among the refusals."""
    metrics.REFUSED.labels(type(refusal).__name__).inc()
    response = answer_request_error(refusal)
    response.headers["X-Request-ID"] = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
    return response
