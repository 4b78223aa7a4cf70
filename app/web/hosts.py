"""The Host names that the hub accepts.

Protects against DNS rebinding: another site can point its own name at this machine, and the browser
then treats the hub as part of that site. The page cannot change the Host header.
"""

from __future__ import annotations

import re

from app.config import Config, is_loopback

ANY = "*"
ANY_HOST = frozenset({ANY})
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^\[\]:@/,\s]+))(:[0-9]*)?", re.A)


def allowed_hosts(config: Config) -> frozenset[str]:
    """The names allowed besides those of this machine; `*` for any.

    With a token key any name is allowed unless HUB_ALLOWED_HOSTS is set: a browser sends the
    sign-in cookie only to the name that set it, and without a token there is nothing to read.
    """
    if config.allowed_hosts is None:
        return frozenset({ANY if config.token_key_file is not None else config.host.lower()})
    listed = (name.strip().lower() for name in config.allowed_hosts.split(","))
    return frozenset({config.host.lower(), *filter(None, listed)})


def is_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Whether this Host header is allowed. So is an empty one: browsers always send a name.

    Several, joined by a comma, are not one name (RFC 9112, 3.2).
    """
    if not host:
        return True
    found = _HOST.fullmatch(host.lower())
    if found is None or ANY in allowed:
        return found is not None
    name = found["address"] or found["name"].removesuffix(".")
    return name in allowed or name == "localhost" or is_loopback(name)


def is_local(address: str) -> bool:
    """Whether a peer's address is this machine's. It is empty over a Unix socket."""
    return not address or is_loopback(address)
