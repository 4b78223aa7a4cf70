"""Who may come in: one rule for every route, and the check of it before anything is done.

A small push may have been decoded by then (`app.api.fast_push`), and no more. The check sits
outside of the application, so that the short ways of pushes and charts are behind it as well. A
route without a rule stops the start.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_cookie
from werkzeug.routing import Map

from app import metrics
from app.api.browsers import is_beside_api, wants_page
from app.api.errors import answer_request_error
from app.api.requests import METHODS, choose_request_id, count_request
from app.auth.guard import Guard
from app.auth.scopes import SNAPSHOTS, Claims, Scope
from app.clock import isoformat
from app.domain.updates import Update
from app.errors import Forbidden, RequestError, StartError, Unauthorized
from app.schemas.decode import Rejected

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("hub.auth")

COOKIE = "hub_token"
EXPIRES_HEADER = "Token-Expires"  # in answers to a token that ends in less than 14 days
REALM = 'Bearer realm="telemetry-hub"'


# The rules.


@dataclass(frozen=True)
class Rule:
    """What a route asks for: a scope, or with None any token; nothing if `is_open`.

    `is_page`: a browser that is not signed in is sent to the sign-in page. `job_type`: what a push
    there counts as; without it the path's own counts, or the view asks `require_job_type`.
    """

    scope: Scope | None
    is_open: bool = False
    is_page: bool = False
    job_type: str | None = None


OPEN = Rule(None, is_open=True)
READ = Rule(Scope.READ)
PAGE = Rule(Scope.READ, is_page=True)
PUSH = Rule(Scope.INGEST)
PUSH_SNAPSHOT = Rule(Scope.INGEST, job_type=SNAPSHOTS)
ANY = Rule(None)  # of what is no route, and of OPTIONS

RULES = {
    "telemetry.push_update": PUSH,
    "telemetry.push_batch": PUSH,
    "registration.register_job": PUSH,
    "registration.complete_job": PUSH,
    "snapshots.push_snapshots": PUSH_SNAPSHOT,
    "snapshots_unversioned.push_snapshots": PUSH_SNAPSHOT,
    "history.get_history": READ,
    "history_unprefixed.get_history": READ,
    "jobs.list_jobs": READ,
    "jobs.summarise_jobs": READ,
    "jobs.read_job": READ,
    "jobs.list_events": READ,
    "jobs.list_machines": READ,
    "nodes.list_nodes": READ,
    "nodes.read_node": READ,
    "nodes.list_events": READ,
    "nodes.read_history": READ,
    "service.read_metrics": READ,
    "service.read_openapi": READ,
    "docs.show_docs": PAGE,
    "dashboard.show_page": PAGE,
    # For load balancers, which have no token.
    "service.read_health": OPEN,
    # The way in. These say nothing but what the asker has said of itself.
    "session.read_session": OPEN,
    "signin.show_form": OPEN,
    "signin.sign_in": OPEN,
    "signin.send_style": OPEN,
    "signin.sign_out": OPEN,
    # Files that everybody can have from where the hub comes from; no data is in them.
    "docs.send_asset": OPEN,
    "dashboard.send_file": OPEN,
}


def check_rules(url_map: Map) -> None:
    """Raise StartError for a route without a rule, or with one that cannot be right.

    A browser sends its cookie along with whatever a page makes it send. The cookie is good for
    reading only, so nothing that changes anything may ask for no more than that.
    """
    for route in url_map.iter_rules():
        rule = RULES.get(route.endpoint)
        if rule is None:
            raise StartError(f"The route {route.rule} ({route.endpoint}) has no rule in RULES.")
        changes = (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if rule.scope is Scope.READ and changes:
            raise StartError(f"The route {route.rule} takes {min(changes)} of whoever may read.")


# The check.


@dataclass(frozen=True, slots=True)
class _Route:
    """What a request asks for, as far as its rule is concerned."""

    name: str | None  # the endpoint; None for what is no route
    path: str
    rule: Rule
    job_type: str | None = None


class TokenGate:
    """WSGI middleware, outermost: lets through who may, with the claims in the environment."""

    def __init__(self, next_app: WSGIApplication, url_map: Map, guard: Guard) -> None:
        self._next = next_app
        self._guard = guard
        self._adapter = url_map.bind("hub")
        # Finding a route takes 11 µs, a push in all a few hundred; few jobs are live at a time.
        self._find_again = lru_cache(maxsize=8192)(self._find)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        find = self._find_again if len(path) < 400 else self._find
        route = find(method, path)
        try:
            claims = self._admit(environ, method, route)
        except RequestError as refusal:
            response = _answer_refusal(refusal, route, environ)
            self._count(environ, route, response, began)
            return response(environ, start_response)
        environ["hub.claims"] = claims
        environ["hub.route"] = route.name
        if claims is not None and self._guard.ends_soon(claims):
            return self._next(environ, _announcing(start_response, claims))
        return self._next(environ, start_response)

    def _count(
        self, environ: WSGIEnvironment, route: _Route, response: Response, began: float
    ) -> None:
        method = environ["REQUEST_METHOD"]
        known = method if method in METHODS else "other"  # a made-up one is no series of its own
        count_request(known, route.path, response.status_code, time.perf_counter() - began)

    def _find(self, method: str, path: str) -> _Route:
        """As Flask will find it, from the same map; `_require_checked_route` holds it to that."""
        try:
            # The path as its bytes say, which WSGI hands on as Latin-1.
            text = path.encode("latin-1").decode(errors="replace")
            found, values = self._adapter.match(text, method, return_rule=True)
        except (HTTPException, UnicodeError):
            return _Route(None, "unknown", ANY)
        rule = RULES[found.endpoint]
        job_type = rule.job_type or values.get("job_type")
        if method == "OPTIONS" and not rule.is_open:
            rule, job_type = ANY, None
        return _Route(found.endpoint, found.rule, rule, job_type)

    def _admit(self, environ: WSGIEnvironment, method: str, route: _Route) -> Claims | None:
        """The claims of whoever asks; None without a token where none is needed.

        Raises Unauthorized and Forbidden.
        """
        if route.rule.is_open:
            try:
                return self._identify(environ, method)
            except Unauthorized as exc:
                environ["hub.refusal"] = str(exc)  # for whom it may concern
                return None
        claims = self._identify(environ, method)
        needed = route.rule.scope
        if needed is not None and not claims.may(needed):
            raise Forbidden(f"This needs a token of scope {needed}; this one's is {claims.scope}.")
        if needed is Scope.INGEST and route.job_type is not None:
            _require_type(claims, route.job_type)
        return claims

    def _identify(self, environ: WSGIEnvironment, method: str) -> Claims:
        """Whose token came along. A browser's cookie lets it read, whatever else its token may."""
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._guard.identify(token.strip())
        cookie = read_cookie(environ)
        if cookie is None:
            raise Unauthorized
        if method not in ("GET", "HEAD"):
            raise Unauthorized(
                "Being signed in is for reading: send a token as `Authorization: Bearer <token>`."
            )
        claims = self._guard.identify(cookie)
        return replace(claims, scope=Scope.READ) if claims.may(Scope.READ) else claims


class LoopbackGate:
    """WSGI middleware, outermost, of a hub that has no key: it serves its own machine only."""

    def __init__(self, next_app: WSGIApplication) -> None:
        self._next = next_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _is_local(environ.get("REMOTE_ADDR", "")):
            return self._next(environ, start_response)
        refusal = Forbidden("This hub has no key for tokens, so it serves its own machine only.")
        return _problem(refusal, environ)(environ, start_response)


def guard_app(app: Flask, guard: Guard | None) -> None:
    """Put the check before everything the application does. Raises StartError; see check_rules."""
    check_rules(app.url_map)
    app.extensions["hub_guard"] = guard
    if guard is None:
        app.wsgi_app = LoopbackGate(app.wsgi_app)  # type: ignore[method-assign]
        return
    app.before_request(_require_checked_route)
    app.wsgi_app = TokenGate(app.wsgi_app, app.url_map, guard)  # type: ignore[method-assign]


def _require_checked_route() -> None:
    """What runs is what was checked; two ways of reading a path would be a way around the check."""
    if request.endpoint is not None and request.environ.get("hub.route") != request.endpoint:
        logger.error("%s was not checked", request.endpoint)
        raise Unauthorized


@lru_cache(maxsize=1024)
def _is_local(address: str) -> bool:
    """Without an address it came by a socket of this machine's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return not address
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


# What a refusal looks like.


def _answer_refusal(refusal: RequestError, route: _Route, environ: WSGIEnvironment) -> Response:
    is_page = route.rule.is_page or (route.name is None and is_beside_api(environ["PATH_INFO"]))
    if isinstance(refusal, Unauthorized) and is_page and wants_page(environ):
        response = Response(status=302, headers={"Location": _way_in(environ)})
    else:
        response = _problem(refusal, environ)
        response.headers["WWW-Authenticate"] = _challenge(refusal, route)
    response.headers["Cache-Control"] = "no-store"
    return response


def _problem(refusal: RequestError, environ: WSGIEnvironment) -> Response:
    metrics.REFUSED.labels(type(refusal).__name__).inc()
    response = answer_request_error(refusal)
    response.headers["X-Request-ID"] = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
    return response


def _challenge(refusal: RequestError, route: _Route) -> str:
    """RFC 6750, section 3: which token is asked for, and what is wrong with the one that came."""
    if isinstance(refusal, Forbidden):
        scope = f', scope="{route.rule.scope}"' if route.rule.scope else ""
        return f'{REALM}, error="insufficient_scope"{scope}'
    if str(refusal) == str(Unauthorized()):
        return REALM
    return f'{REALM}, error="invalid_token"'


def _way_in(environ: WSGIEnvironment) -> str:
    """The sign-in page, which leads back here. Relative, as a proxy may move the hub."""
    path: str = environ["PATH_INFO"]
    here = quote(path.encode("latin-1"))
    if query := environ.get("QUERY_STRING", ""):
        here += f"?{quote(query.encode('latin-1'), safe='%=&+,:;/?@!$*()')}"
    up = "../" * (path.count("/") - 1) or "./"
    return f"{up}sign-in?{urlencode({'next': here})}"


def _announcing(start_response: StartResponse, claims: Claims) -> StartResponse:
    """Say in the answer when the token ends."""
    header = (EXPIRES_HEADER, isoformat(claims.expires_at))

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[..., object]:
        return start_response(status, [*headers, header], *more)

    return start


def read_cookie(environ: WSGIEnvironment) -> str | None:
    """The token that the browser was given when it signed in."""
    cookies = environ.get("HTTP_COOKIE", "")
    return parse_cookie(cookies).get(COOKIE) if COOKIE in cookies else None


# What the views ask. They run behind the check; without a key everything is allowed.


def current_claims() -> Claims | None:
    """Whose token came with the current request; None on a hub without a key."""
    claims: Claims | None = request.environ.get("hub.claims")
    return claims


def is_limited() -> bool:
    """Whether the current token may push some types of jobs only."""
    claims = current_claims()
    return claims is not None and bool(claims.job_types)


def require_job_type(job_type: str) -> None:
    """Raise Forbidden unless the current token may push jobs of this type."""
    claims = current_claims()
    if claims is not None:
        _require_type(claims, job_type)


def refuse_other_types(items: Sequence[Update | Rejected]) -> Sequence[Update | Rejected]:
    """A batch in which updates of jobs that the current token may not push are refused ones.

    Raises Forbidden when none is left that it may: then the token is the wrong one, and its sender
    keeps the batch until it has the right one.
    """
    claims = current_claims()
    if claims is None or not claims.job_types:
        return items
    updates = [item for item in items if isinstance(item, Update)]
    if updates and not any(claims.may_push(update.job_type) for update in updates):
        raise Forbidden(_limit(claims))
    refused: Rejected = {"job_type": [_limit(claims)]}
    return [
        refused if isinstance(item, Update) and not claims.may_push(item.job_type) else item
        for item in items
    ]


def _require_type(claims: Claims, job_type: str) -> None:
    if not claims.may_push(job_type):
        raise Forbidden(_limit(claims))


def _limit(claims: Claims) -> str:
    return f"This token may push only jobs of type {' or '.join(sorted(claims.job_types))}."
