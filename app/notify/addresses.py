"""Addresses of destinations: `webhook+https://…`, `alertmanager+http://…`, any address of Apprise
(https://appriseit.com/services/), or `file:/path` for a file that holds one of these.

They hold secrets: no message of an error has a part of one.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.errors import HubError

LONGEST_ADDRESS = 4_000
FILE = "file:"
WEBHOOK, ALERTMANAGER = "webhook", "alertmanager"
SECRET_PREFIX = "whsec_"  # https://www.standardwebhooks.com
SHORTEST_SECRET, LONGEST_SECRET = 24, 64  # bytes
_SCHEME = re.compile(r"([a-z][a-z0-9.-]*)(?:\+(https?))?://.+", re.I | re.S)


class AddressInvalid(HubError):
    """The address is not one that the hub knows."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpAddress:
    """Where a webhook or an Alertmanager is. `secret`: the key that signs; None: not signed."""

    url: str
    secret: bytes | None = None


def service_of(address: str) -> str:
    """The kind of service, which is shown: `webhook`, `ntfy`, `mailto`… Raises AddressInvalid."""
    if address.startswith(FILE):
        return "file"
    found = _SCHEME.fullmatch(address.strip())
    if found is None:
        raise AddressInvalid("Must be an address such as ntfys://ntfy.sh/topic or file:/path.")
    return found[1].lower()


def check_address(address: str) -> str:
    """The service of an address that can be used. Raises AddressInvalid."""
    if len(address) > LONGEST_ADDRESS:
        raise AddressInvalid(f"Must be at most {LONGEST_ADDRESS} characters long.")
    service = service_of(address)
    if service == "file":
        if not address.removeprefix(FILE).startswith("/"):
            raise AddressInvalid("file: must be followed by an absolute path.")
    elif service in (WEBHOOK, ALERTMANAGER):
        parse_http(address)
    else:
        make_apprise(address)
    return service


def with_secret(address: str) -> tuple[str, str | None]:
    """The address of a webhook with a secret, and that secret if it is new."""
    if service_of(address) != WEBHOOK or urlsplit(address).fragment:
        return address, None
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    return f"{address.removesuffix('#')}#{secret}", secret


def read_address(address: str) -> str:
    """The address itself, of a file its first line. Raises AddressInvalid."""
    if not address.startswith(FILE):
        return address
    path = Path(address.removeprefix(FILE))
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(LONGEST_ADDRESS + 1).splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not a text"
        raise AddressInvalid(f"The file of the address cannot be read ({reason}).") from None
    found = next((line.strip() for line in lines if line.strip()), "")
    if not found or found.startswith(FILE):
        raise AddressInvalid("The file of the address holds none.")
    return found


def parse_http(address: str) -> HttpAddress:
    """Of `webhook+https://host#whsec_…` or `alertmanager+http://host`. Raises AddressInvalid."""
    found = _SCHEME.fullmatch(address.strip())
    try:
        parts = urlsplit(address.strip())
        port = parts.port  # checks it
    except ValueError:
        raise AddressInvalid("The address is not a URL.") from None
    if found is None or found[2] is None or not parts.hostname or port == 0:
        raise AddressInvalid("Must be such as webhook+https://example.org/hook.")
    url = urlunsplit((found[2].lower(), parts.netloc, parts.path, parts.query, ""))
    return HttpAddress(url, _decode(parts.fragment) if parts.fragment else None)


def _decode(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise AddressInvalid(
            f"The secret after # must be {SECRET_PREFIX} and {SHORTEST_SECRET} to {LONGEST_SECRET} "
            "bytes in base64; leave it out, and the hub makes one."
        )
    return key


def make_apprise(address: str) -> Any:
    """The service of Apprise for an address. Raises AddressInvalid."""
    from app.notify.apprise_services import make_service  # takes 0.4 s and 30 MB: few need it

    service = make_service(address)
    if service is None:
        raise AddressInvalid(
            "It is not an address of a service that Apprise knows, or lacks a part."
        )
    return service
