"""Declares the permission of each route. The hub does not start if a route has none."""

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
    """Decorate a view, below its route, with the permission that requests need."""

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, permission)
        return view

    return mark


def permission_of(view: Callable[..., Any]) -> Permission | None:
    """The permission of a view; None without `needs`."""
    return getattr(view, _ATTRIBUTE, None)


def check_permissions(app: Flask) -> None:
    """Raise StartError for a route without a permission, or that allows changes with read scope.

    A browser adds its cookie to requests that other pages make it send. The cookie only allows
    reading, so a route that changes anything must require more.
    """
    for route in app.url_map.iter_rules():
        permission = permission_of(app.view_functions[route.endpoint])
        if permission is None:
            raise StartError(f"The route {route.rule} ({route.endpoint}) has no permission.")
        changes = (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if permission.scope is Scope.READ and changes:
            raise StartError(f"The route {route.rule} allows {min(changes)} with read scope.")
