"""Signing in to the dashboard: the form, its cookie, and the session.

The cookie is the token itself, HttpOnly and SameSite=Strict. It only allows reading
(`app.web.admission`), so no page can use it to change anything.
"""

from __future__ import annotations

import html
import logging
from datetime import timedelta
from typing import Any, cast
from urllib.parse import quote, urlsplit

import flask
from flask import Response, redirect, request
from flask_smorest import Blueprint

from app.api.answers import json_response
from app.api.context import current_admission, current_claims, current_request, hub
from app.api.files import TYPES, read_file, send
from app.api.needs import needs
from app.auth.scopes import Claims, Scope
from app.clock import utc_now
from app.config import ROOT
from app.errors import Forbidden, RequestError
from app.schemas.session import SessionSchema
from app.web.admission import COOKIE, read_cookie, read_header_token
from app.web.permissions import OPEN
from app.web.problems import count_refusal

logger = logging.getLogger("hub.auth")

blueprint = Blueprint("session", __name__, description="The session of a token or cookie.")
pages = flask.Blueprint("signin", __name__)

# A cookie outlives its token, so that the form can say that the token has expired.
_KEPT_LONGER = timedelta(days=1)
LARGEST_FORM = 16 * 1024
_STATIC = ROOT / "app" / "static" / "signin"
_POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


@blueprint.route("/session")
@blueprint.doc(security=[])
@blueprint.response(200, SessionSchema)
@needs(OPEN)
def read_session() -> Response:
    """Describe the token or cookie of the request. Always 200."""
    claims = current_claims()
    body: dict[str, Any] = {
        "required": hub().admission.guard is not None,
        "signed_in": claims is not None,
        "by_cookie": claims is not None and _uses_cookie(),
        "token_id": claims and claims.token_id,
        "name": claims and claims.name,
        "scope": claims and claims.scope,
        "job_types": sorted(claims.job_types) if claims else [],
        "expires_at": claims and claims.expires_at,
        "problem": current_admission().refusal if _has_token() else None,
    }
    # Never compressed: it mixes secrets with text that the client sent (`make_conditional`).
    response = json_response(body)
    response.headers["Cache-Control"] = "no-store"
    return response


@pages.route("/sign-in")
@needs(OPEN)
def show_form() -> Response:
    """The form, or a redirect to `next` if the browser is already signed in."""
    wanted = own_path(request.args.get("next", ""))
    claims = current_claims()
    if hub().admission.guard is None or (
        claims is not None and _uses_cookie() and claims.may(Scope.READ)
    ):
        return _redirect(wanted)
    response = _form(wanted, _end_of_session())
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # Browsers do not send the cookie when they follow a link on another site. Reload from this
        # page: then they send it.
        response.headers["Refresh"] = f"0; url=./sign-in?next={quote(wanted, safe='')}"
    return response


@pages.route("/sign-in", methods=["POST"])
@needs(OPEN)
def sign_in() -> Response:
    """Check the token and set it as a cookie; show the form again if it cannot read."""
    request.max_content_length = LARGEST_FORM
    guard = hub().admission.guard
    wanted = own_path(request.form.get("next", ""))
    if guard is None:
        return _redirect(wanted)
    token = request.form.get("token", "").strip()
    try:
        _require_same_origin()
        claims = _require_reader(guard.identify(token))
    except RequestError as refusal:
        count_refusal(refusal)
        return _refuse(wanted, refusal)
    logger.info("signed in", extra={"token_id": claims.token_id, "token_name": claims.name})
    response = _redirect(wanted)
    kept_until = claims.expires_at + _KEPT_LONGER
    response.set_cookie(
        COOKIE,
        token,
        expires=kept_until,
        max_age=max(0, int((kept_until - utc_now()).total_seconds())),
        httponly=True,
        samesite="Strict",
        secure=_is_secure(),
    )
    return response


@pages.route("/sign-out", methods=["POST"])
@needs(OPEN)
def sign_out() -> Response:
    """Delete the cookie. Browsers send it from the hub's own pages only."""
    response = _redirect("/sign-in")
    if read_cookie(current_request()) is not None:
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=_is_secure())
    return response


@pages.route("/sign-in/style.css")
@needs(OPEN)
def send_style() -> Response:
    """The form's style sheet."""
    return send(read_file(_STATIC / "style.css"), TYPES[".css"])


def own_path(text: str) -> str:
    """The path if it leads to a page of the hub, else `/`.

    Rejects what a browser could take for another site's address: `//host`, and anything with a
    backslash, a tab or a line break.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    is_own = text.startswith("/") and not text.startswith("//") and not parts.netloc
    return text if is_own and text.isprintable() and "\\" not in text else "/"


def _redirect(path: str) -> Response:
    """Redirect to a path of the hub. Relative, as a proxy may add a path prefix."""
    response = cast(Response, redirect(f".{path}", 303))
    response.headers["Cache-Control"] = "no-store"
    return response


def _end_of_session() -> str:
    """Why the browser's cookie is not accepted any more; "" without one."""
    refusal = current_admission().refusal
    if refusal is None or not _uses_cookie():
        return ""
    return f"You are not signed in any more. {refusal}"


def _refuse(wanted: str, refusal: RequestError) -> Response:
    response = _form(wanted, str(refusal))
    response.status_code = refusal.status
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="telemetry-hub"'
    return response


def _form(wanted: str, problem: str) -> Response:
    """The form, with a sentence above it unless that is empty."""
    page = (_STATIC / "index.html").read_text(encoding="utf-8")
    sentence = f'<p id="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    page = page.replace("{problem}", sentence).replace("{next}", html.escape(wanted))
    page = page.replace("{described}", " problem" if problem else "")
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # With no-referrer a browser would send the form with `Origin: null`.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
    return response


def _require_same_origin() -> None:
    """Raise Forbidden for a form sent from another site (login CSRF)."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:  # browsers send it over https and to localhost
        is_own = site in ("same-origin", "none")
    else:
        is_own = origin is None or _host_of(origin) == request.host
    if not is_own:
        raise Forbidden("This form was sent from another site; sign in here.")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # not sent by a browser
        return ""


def _require_reader(claims: Claims) -> Claims:
    if not claims.may(Scope.READ):
        raise Forbidden("This token can only push; sign in with one that can read.")
    return claims


def _uses_cookie() -> bool:
    asked = current_request()
    return read_header_token(asked) is None and read_cookie(asked) is not None


def _has_token() -> bool:
    asked = current_request()
    return read_header_token(asked) is not None or read_cookie(asked) is not None


def _is_secure() -> bool:
    """Whether the browser uses TLS, to the hub or to a proxy in front of it."""
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.is_secure or forwarded == "https"
