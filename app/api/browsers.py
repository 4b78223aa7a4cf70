"""Tells browser navigation from API requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_NO_PAGES = ("/api/", "/telemetry/", "/static/")
_DEEPEST = 20  # slashes in a path; the page refers to its files by as many "../"


def wants_page(environ: WSGIEnvironment) -> bool:
    """Whether a browser navigates to this address, as opposed to a program or a page's script."""
    return environ["REQUEST_METHOD"] in ("GET", "HEAD") and "text/html" in environ.get(
        "HTTP_ACCEPT", ""
    )


def way_to_root(environ: WSGIEnvironment) -> str:
    """The relative address of the hub's root, as a browser resolves it: a %2F is not a slash."""
    path: str = environ["REQUEST_URI"].partition("?")[0]
    return "../" * (path.count("/") - 1)


def can_be_page(path: str) -> bool:
    """Whether browsers get a page at this path, or the "not found" page."""
    # After signing in, a path with `//` could redirect to another host.
    is_plain = "//" not in path and path.count("/") <= _DEEPEST
    return is_plain and not f"{path}/".startswith(_NO_PAGES)
