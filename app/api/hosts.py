"""Which names the hub answers to.

A page on another site can give its own name this machine's address, and then the browser takes the
hub for that site (DNS rebinding). What it cannot change is the name in the Host header.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from app.api.refusals import answer_refusal
from app.config import Config
from app.errors import InvalidInput

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANY = "*"
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^\[\]:@/,\s]+))(:[0-9]*)?", re.A)


class HostGate:
    """WSGI middleware: 400 to requests for names that are not the hub's, except at `open_path`.

    Load balancers ask for health by whatever address, and it tells nothing that is secret.
    """

    def __init__(self, next_app: WSGIApplication, allowed: frozenset[str], open_path: str) -> None:
        self._next = next_app
        self._open_path = open_path
        self._is_ours: Callable[[str], bool] = lru_cache(maxsize=256)(
            lambda host: is_allowed(host, allowed)
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        if self._is_ours(host) or environ["PATH_INFO"] == self._open_path:
            return self._next(environ, start_response)
        refusal = InvalidInput(
            "Host: is no name of this hub; HUB_ALLOWED_HOSTS lists those it answers to."
        )
        return answer_refusal(refusal, environ)(environ, start_response)


def allowed_hosts(config: Config) -> frozenset[str]:
    """The names besides those of this machine; `*` for any.

    With a key for tokens any name will do unless some are listed: a browser keeps the sign-in to
    the name that it was made for, and without it there is nothing to be had.
    """
    if config.allowed_hosts is None:
        return frozenset({ANY if config.token_key_file is not None else config.host.lower()})
    listed = (name.strip().lower() for name in config.allowed_hosts.split(","))
    return frozenset({config.host.lower(), *filter(None, listed)})


def is_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Whether a Host header names the hub. Browsers always send one; who sends none is none."""
    if not host or ANY in allowed:
        return True
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found["address"] or found["name"].removesuffix(".")
    return name in allowed or name == "localhost" or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
