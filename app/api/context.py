"""The context of a view: the hub, the current request, and how it was admitted."""

from __future__ import annotations

from typing import cast

from flask import Flask, Response, current_app, g

from app.auth.scopes import Claims
from app.hub import Hub
from app.web.admission import Admitted
from app.web.request import Answer, Request

EXTENSION = "hub"


def hub() -> Hub:
    """The hub that serves the current request."""
    return hub_of(current_app)


def hub_of(app: Flask) -> Hub:
    """The hub of an application."""
    return cast(Hub, app.extensions[EXTENSION])


def current_request() -> Request:
    """The current request; see `app.api.hooks`."""
    return cast(Request, g.request)


def current_admission() -> Admitted:
    """How the current request was admitted."""
    return cast(Admitted, g.admitted)


def current_claims() -> Claims | None:
    """The claims of the current request's token; None without a valid token."""
    return current_admission().claims


def to_response(answer: Answer) -> Response:
    """The Flask response for an answer."""
    return Response(answer.body, answer.status, answer.headers)
