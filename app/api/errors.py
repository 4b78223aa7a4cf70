"""Turns exceptions into problem+json, or into a redirect to the sign-in page for browsers."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app.api.browsers import can_be_page, wants_page, way_to_root
from app.api.context import current_request, to_response
from app.api.hooks import current_permission
from app.errors import RequestError, Unauthorized
from app.schemas.errors import flatten
from app.web.problems import answer_failure, count_refusal, describe, problem

_WHERE = {"json", "query", "path", "headers", "form", "files", "cookies", "query_and_headers"}


def register_error_handlers(app: Flask) -> None:
    """Answer RequestErrors, HTTP errors and unexpected exceptions as problem+json."""
    app.register_error_handler(Unauthorized, _answer_unauthorized)
    app.register_error_handler(RequestError, _answer)
    app.register_error_handler(HTTPException, answer_http_exception)
    app.register_error_handler(Exception, _answer)


def answer_http_exception(error: Exception) -> Response:
    """The answer to an HTTP error: unknown path, wrong method or media type, bad argument."""
    assert isinstance(error, HTTPException)
    status = error.code or 500
    if status < 400:  # a redirect is an HTTPException too
        return Response(status=404) if error.response is None else error.response  # type: ignore[return-value]
    messages = getattr(error, "data", {}).get("messages")
    if messages:
        if isinstance(messages, Mapping) and set(messages) <= _WHERE:
            messages = {key: value for part in messages.values() for key, value in part.items()}
        errors = flatten(messages)
        return to_response(problem(400, describe(errors), errors=errors))
    headers = [header for header in error.get_headers() if header[0] != "Content-Type"]
    path = current_request().path  # without the token of a ping
    details = {
        404: f"There is nothing at {path}.",
        405: f"{path} does not allow {request.method}.",
    }
    detail = details.get(status, error.description or "The request failed.")
    return to_response(problem(status, detail, headers=headers))


def _answer(error: Exception) -> Response:
    return to_response(answer_failure(error))


def _answer_unauthorized(error: Exception) -> Response:
    """Redirect browser navigation to the sign-in page."""
    is_route = request.endpoint is not None
    is_page = (
        current_permission().is_page if is_route else can_be_page(request.environ["PATH_INFO"])
    )
    if not is_page or not wants_page(request.environ):
        return _answer(error)
    assert isinstance(error, Unauthorized)
    count_refusal(error)
    headers = {"Location": _sign_in_path(), "Cache-Control": "no-store"}
    return Response(status=302, headers=headers)


def _sign_in_path() -> str:
    """The sign-in page, which leads back here. Relative, as a proxy may add a path prefix."""
    path: str = request.environ["REQUEST_URI"].partition("?")[0]
    here = quote(path.encode("latin-1"), safe="%/:@!$&'()*+,;=~")
    if query := request.environ.get("QUERY_STRING", ""):
        here += f"?{quote(query.encode('latin-1'), safe='%=&+,:;/?@!$*()')}"
    up = way_to_root(request.environ) or "./"
    return f"{up}sign-in?{urlencode({'next': here})}"
