"""What a view finds around it: the hub, the request as the hub means it, and whose it is."""

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
    """The hub that an application belongs to."""
    return cast(Hub, app.extensions[EXTENSION])


def current_request() -> Request:
    """The current request; see `app.api.hooks`."""
    return cast(Request, g.request)


def current_admission() -> Admitted:
    """How the current request was admitted."""
    return cast(Admitted, g.admitted)


def current_claims() -> Claims | None:
    """The claims of the current request's token; None on a hub without a key."""
    return current_admission().claims


def to_response(answer: Answer) -> Response:
    """An answer as Flask wants it."""
    return Response(answer.body, answer.status, answer.headers)
