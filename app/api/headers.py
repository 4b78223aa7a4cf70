"""Headers of every answer that tell a browser what it must not do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What is no page needs nothing and belongs into no frame. Pages say what they need themselves.
SAFE = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


class SafeHeaders:
    """WSGI middleware, outermost: adds what an answer does not say itself."""

    def __init__(self, next_app: WSGIApplication) -> None:
        self._next = next_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[..., object]:
            return start_response(status, with_safe(headers), *more)

        return self._next(environ, start)


def with_safe(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers, and those of SAFE that are not among them."""
    said = list(headers)
    return said + _missing(tuple([name for name, _ in said]))


@lru_cache(maxsize=256)  # pushes are all alike, and this is done for each
def _missing(names: tuple[str, ...]) -> list[tuple[str, str]]:
    said = {name.lower() for name in names}
    return [header for header in SAFE if header[0].lower() not in said]
