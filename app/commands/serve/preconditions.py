"""What is checked before the hub starts, so that a mistake gives a sentence and no process dies."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from socket import AddressFamily

from app.auth.keys import read_keys
from app.config import Config
from app.database.addresses import check_addresses
from app.errors import StartError

PORT_WAIT_SECONDS = 3.0  # the workers of a hub that was killed need a moment to end


def check_start(config: Config) -> str:
    """The IP address to listen on, where the port is free. Raises StartError.

    The web server takes an IP address only. It would share a port that another program has
    (SO_REUSEPORT), and each would get some of the requests.
    """
    check_addresses(config)  # a web worker would report it with a traceback, again and again
    family, address = _resolve(config.host)
    _require_safe_address(config)
    _require_certificate(config)
    _wait_for_port(family, address, config)
    return address


def _resolve(host: str) -> tuple[AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as exc:
        raise StartError(
            f"HUB_HOST is {host}, which is neither an IP address nor a known host name: set it to "
            "an address of this machine, such as 127.0.0.1."
        ) from exc
    return found[0], str(found[4][0])


def _require_safe_address(config: Config) -> None:
    if config.token_key_file is not None:
        read_keys(config.token_key_file)
    elif not config.is_loopback:
        raise StartError(
            f"HUB_HOST is {config.host}, which other machines can reach, and without a token key "
            "the hub serves this machine only: make a key (`python -m app token key FILE`) and set "
            "HUB_TOKEN_KEY_FILE, or use 127.0.0.1."
        )


def _require_certificate(config: Config) -> None:
    if config.tls_cert is None or config.tls_key is None:
        return
    for variable, path in (("HUB_TLS_CERT", config.tls_cert), ("HUB_TLS_KEY", config.tls_key)):
        try:
            path.read_bytes()
        except OSError as exc:
            raise StartError(f"{variable}: {path} cannot be read ({exc.strerror}).") from exc
    try:
        # With an empty password OpenSSL does not ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            config.tls_cert, config.tls_key, password=""
        )
    except (ssl.SSLError, ValueError) as exc:
        raise StartError(
            f"HUB_TLS_CERT ({config.tls_cert}) and HUB_TLS_KEY ({config.tls_key}) must be a "
            "certificate and its key, in PEM format and without a password."
        ) from exc


def _wait_for_port(family: AddressFamily, address: str, config: Config) -> None:
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    while True:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, config.port))
            return
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise StartError(_describe(exc, config)) from exc
        time.sleep(0.1)


def _describe(exc: OSError, config: Config) -> str:
    if exc.errno == errno.EADDRINUSE:
        return (
            f"Port {config.port} on {config.host} is in use by another program: stop that one, or "
            "set HUB_PORT to a free port."
        )
    if exc.errno == errno.EACCES:
        return (
            f"HUB_PORT is {config.port}, where this user may not listen: set it to 1024 or higher, "
            "or give the hub the capability CAP_NET_BIND_SERVICE."
        )
    return (
        f"HUB_HOST is {config.host}, where the hub cannot listen ({exc.strerror}): set it to an "
        "address of this machine, such as 127.0.0.1."
    )
