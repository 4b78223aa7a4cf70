"""Which names the hub answers to.

A page on another site can give its own name this machine's address, and then the browser takes the
hub for that site (DNS rebinding). What the page cannot change is the name in the Host header.
"""

from __future__ import annotations

import ipaddress
import re

from app.config import Config

ANY = "*"
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^\[\]:@/,\s]+))(:[0-9]*)?", re.A)


def allowed_hosts(config: Config) -> frozenset[str]:
    """The names besides those of this machine; `*` for any.

    With a key for tokens any name is allowed unless some are listed: a browser keeps the sign-in to
    the name that it was made for, and without it there is nothing to get.
    """
    if config.allowed_hosts is None:
        return frozenset({ANY if config.token_key_file is not None else config.host.lower()})
    listed = (name.strip().lower() for name in config.allowed_hosts.split(","))
    return frozenset({config.host.lower(), *filter(None, listed)})


def is_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Whether a Host header names the hub. Browsers always send one; without one it is allowed."""
    if not host or ANY in allowed:
        return True
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found["address"] or found["name"].removesuffix(".")
    return name in allowed or name == "localhost" or _is_loopback(name)


def is_local(address: str) -> bool:
    """Whether the address of a peer is this machine's. One without an address came by a socket."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return not address
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
