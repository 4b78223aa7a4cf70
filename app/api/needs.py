"""Marks each view with its permission, and checks that every route has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask
from werkzeug.exceptions import HTTPException

from app.auth.scopes import Scope
from app.errors import StartError
from app.web.permissions import Permission

View = TypeVar("View", bound=Callable[..., Any])


def needs(permission: Permission) -> Callable[[View], View]:
    """Decorate a view, below its route, with the permission that requests need."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return mark


def permission_of(view: Callable[..., Any]) -> Permission | None:
    """The permission of a view; None without `needs`."""
    return getattr(view, "permission", None)


def find_permission(app: Flask, method: str, path: str) -> Permission | None:
    """The permission of the route for a method and a path; None if there is no route."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
    except HTTPException:
        return None
    return permission_of(app.view_functions[endpoint])


def takes_query(view: Callable[..., Any]) -> bool:
    """Whether a view has a schema for its query, which checks the names of parameters."""
    arguments = getattr(view, "_apidoc", {}).get("arguments", {})
    return any(each["in"] == "query" for each in arguments.get("parameters", ()))


def check_permissions(app: Flask) -> None:
    """Raise StartError if a route has no permission, or if reading suffices to change something.

    A browser adds its cookie to requests that other pages make it send. The cookie only allows
    reading, so a route that changes anything must require more.
    """
    for route in app.url_map.iter_rules():
        permission = permission_of(app.view_functions[route.endpoint])
        if permission is None:
            raise StartError(f"The route {route.rule} ({route.endpoint}) has no permission.")
        changes = (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        may_change = permission.is_open or permission.scope in (Scope.INGEST, Scope.ADMIN)
        if changes and not may_change:
            raise StartError(
                f"The route {route.rule} allows {min(changes)} without ingest or admin scope."
            )
