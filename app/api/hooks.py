"""Hooks around every request that Flask answers: request id, admission, metrics, log line."""

from __future__ import annotations

import logging
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, current_app, g, request
from flask_smorest import Blueprint

from app.api.context import hub
from app.api.needs import permission_of, takes_query
from app.auth.scopes import Scope
from app.errors import InvalidInput, NotFound
from app.logs import request_id
from app.schemas.queries import unknown_parameter
from app.web.admission import Admitted
from app.web.permissions import ANY_TOKEN, Permission
from app.web.pings import PATH as PATH_OF_PINGS
from app.web.pings import take_token
from app.web.request import SAFE_HEADERS, Headers, Request, choose_request_id, count_answer

logger = logging.getLogger("hub.requests")


def register_hooks(app: Flask) -> None:
    """Admit every request before its view, and complete every answer."""
    app.before_request(_begin)
    app.before_request(_admit)
    app.before_request(_refuse_other_path)
    app.before_request(_refuse_broken_path)
    app.before_request(_check_query)
    app.after_request(_complete)
    app.teardown_request(_clear_request_id)


def current_permission() -> Permission:
    """The permission of the current request's view; any token if there is no route."""
    if request.endpoint is None:
        return ANY_TOKEN
    permission = permission_of(current_app.view_functions[request.endpoint])
    assert permission is not None  # see check_permissions
    if request.method == "OPTIONS" and not permission.is_open:
        return ANY_TOKEN
    return permission


def lower_case_headers() -> Headers:
    """The current request's headers, as `Request` has them."""
    return {name.lower(): value for name, value in request.headers.items()}


def _begin() -> None:
    g.request = Request(
        request.method,
        request.path,
        lower_case_headers(),
        request.remote_addr or "",
        choose_request_id(request.headers.get("x-request-id", "")),
    )
    take_token(g.request)
    g.admitted = Admitted()
    request_id.set(g.request.id)


def _admit() -> None:
    job_type = (request.view_args or {}).get("job_type")
    permission = current_permission()
    g.admitted = hub().admission.admit(g.request, permission, job_type)


def _refuse_other_path() -> None:
    """Routing takes `//jobs` for `/jobs`, which is another path (RFC 3986, 6.2.2)."""
    path: str = request.environ["PATH_INFO"]
    if path.startswith("//"):
        raise NotFound(f"There is nothing at {path}.")


def _refuse_broken_path() -> None:
    """Otherwise views would see replacement characters for bytes that are not UTF-8."""
    for name, variable, unquote in (
        ("path", "PATH_INFO", bytes),  # which is unquoted already
        ("query", "QUERY_STRING", unquote_to_bytes),
    ):
        raw: str = request.environ.get(variable, "")
        try:
            unquote(raw.encode("latin-1")).decode()
        except UnicodeError as exc:
            reason = "Must be UTF-8."
            raise InvalidInput(f"{name}: {reason}", {name: [reason]}) from exc


def _check_query() -> None:
    """Refuse parameters that are given twice, and any of a route of the API that takes none.

    Only of reads: an update is not refused for a parameter that it does not need. Routes with a
    schema for their query refuse unknown parameters themselves.
    """
    if request.endpoint is None or request.method not in ("GET", "HEAD") or not request.args:
        return
    if not isinstance(current_app.blueprints.get(request.blueprint or ""), Blueprint):
        return  # a page
    if current_permission().scope is Scope.INGEST:
        return  # a ping
    if takes_query(current_app.view_functions[request.endpoint]):
        names = [name for name, values in request.args.lists() if len(values) > 1]
        reason = "Is given more than once."
    else:
        names, reason = list(request.args), unknown_parameter(())
    if names:
        raise InvalidInput(f"{names[0]}: {reason}", {name: [reason] for name in names})


def _complete(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request.id
    for name, value in SAFE_HEADERS:
        response.headers.setdefault(name, value)
    response.headers.extend(g.request.answer_headers)
    route = request.url_rule.rule if request.url_rule else "unknown"
    count_answer(g.request, route, response.status_code)
    # Pushes are not logged at any level: there are thousands a second at full load, and a mistyped
    # token in the path of a ping does not look like one.
    path: str = g.request.path
    is_push = "/telemetry/" in route or path.startswith(PATH_OF_PINGS)
    if logger.isEnabledFor(logging.DEBUG) and not is_push:
        logger.debug("%s %s %d", request.method, path, response.status_code)
    return response


def _clear_request_id(error: BaseException | None) -> None:
    request_id.set("")
