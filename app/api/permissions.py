"""The permission of each route, beside the route. A route without one stops the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

from app.auth.scopes import Scope
from app.errors import StartError
from app.web.admission import Permission

View = TypeVar("View", bound=Callable[..., Any])

_ATTRIBUTE = "permission"


def needs(permission: Permission) -> Callable[[View], View]:
    """Decorate a view, below its route, with what a request there needs."""

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, permission)
        return view

    return mark


def permission_of(view: Callable[..., Any]) -> Permission | None:
    """What `needs` has said of a view."""
    return getattr(view, _ATTRIBUTE, None)


def check_permissions(app: Flask) -> None:
    """Raise StartError for a route without a permission, or with one that cannot be right.

    A browser sends its cookie along with whatever a page makes it send. The cookie is good for
    reading only, so a route that changes anything must ask for more than that.
    """
    for route in app.url_map.iter_rules():
        permission = permission_of(app.view_functions[route.endpoint])
        if permission is None:
            raise StartError(f"The route {route.rule} ({route.endpoint}) has no permission.")
        changes = (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if permission.scope is Scope.READ and changes:
            raise StartError(f"The route {route.rule} allows {min(changes)} to whoever may read.")
