"""Which requests are those of a person with a browser, who is to see a page and no JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Below these are no pages, whoever asks.
_NO_PAGES = ("/api/", "/telemetry/", "/static/")
_DEEPEST = 20  # parts of a path; a page finds its files from there by as many "../"


def wants_page(environ: WSGIEnvironment) -> bool:
    """Whether a browser goes to this address, rather than a program or a script of a page."""
    return environ["REQUEST_METHOD"] in ("GET", "HEAD") and "text/html" in environ.get(
        "HTTP_ACCEPT", ""
    )


def is_beside_api(path: str) -> bool:
    """Whether a page could be at this path, so that a browser is told there that none is."""
    # A path with an empty part could be taken for another host's address on the way back.
    is_plain = "//" not in path and path.count("/") <= _DEEPEST
    return is_plain and not f"{path}/".startswith(_NO_PAGES)
