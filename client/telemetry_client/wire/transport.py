"""One request to the hub and its whole response, in bounded time. Knows HTTP, not telemetry."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3

from telemetry_client.wire.backoff import parse_retry_after
from telemetry_client.wire.deadline import DeadlineHTTPConnection, DeadlineHTTPSConnection
from telemetry_client.wire.results import CONNECTION_ERROR, TIMEOUT, Unreachable

USER_AGENT = "telemetry-client/0.1.0"
LARGEST_ANSWER_BYTES = 1 << 20  # the hub's own are far smaller; anything may answer in its place
POOLED_CONNECTIONS = 10  # more are opened when needed, and closed after use
_TOKEN_CHARACTERS = frozenset(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class Answer:
    """A complete response. `elapsed_seconds`: from before the request to the last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    elapsed_seconds: float

    @property
    def json(self) -> Any:
        """The body's JSON, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after_seconds(self) -> float | None:
        return parse_retry_after(self.headers.get("Retry-After"), date=self.headers.get("Date"))


class Transport:
    """Pooled connections to one hub. Thread-safe, and usable in a child after a fork.

    A call takes at most `timeout` plus the time to connect (`connect_timeout` for each address of
    the host name; looking the name up takes as long as the system needs).
    Ignores proxies of the environment and redirects: the token goes to one place only.
    """

    def __init__(
        self, url: str, token: str | None, *, timeout: float, connect_timeout: float
    ) -> None:
        parts = _parse_url(url)
        self.url = parts.url.rstrip("/")
        self._base = (parts.path or "").rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.host or "", parts.port
        self._timeout = urllib3.Timeout(connect=min(connect_timeout, timeout), total=timeout)
        self._headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {_checked_token(token)}"
        self._is_closed = False
        self._pool = self._new_pool()
        _transports.add(self)

    def post(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> Answer | Unreachable:
        """Post JSON to a path below the hub's address."""
        extra = {"Content-Type": "application/json", **(headers or {})}
        return self._request("POST", path, body, extra)

    def get(self, path: str) -> Answer | Unreachable:
        """Get a path below the hub's address."""
        return self._request("GET", path, None, {})

    def close(self) -> None:
        """Close the connections that no call is using; later calls return Unreachable."""
        self._is_closed = True
        self._pool.close()

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer | Unreachable:
        if self._is_closed:
            return Unreachable("the client is closed")
        began = time.monotonic()
        response = None
        try:
            response = self._pool.urlopen(
                method,
                self._base + path,
                body,
                {**self._headers, **headers},
                retries=False,  # the drain decides about retries
                redirect=False,
                preload_content=False,
                decode_content=False,  # not asked for, and a small one may unpack to gigabytes
            )
            content = response.read(LARGEST_ANSWER_BYTES + 1)
        except (
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as exc:
            if response is not None:
                response.close()
            return Unreachable(_reason(exc))
        if len(content) > LARGEST_ANSWER_BYTES:
            response.close()
            return Unreachable("the response is too large for a hub", status=response.status)
        if response.length_remaining:  # cut off: not even its status can be trusted
            response.close()
            return Unreachable(CONNECTION_ERROR)
        response.release_conn()
        return Answer(response.status, response.headers, content, time.monotonic() - began)

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        kind = urllib3.HTTPSConnectionPool if self._is_tls else urllib3.HTTPConnectionPool
        pool = kind(
            self._host, self._port, timeout=self._timeout, maxsize=POOLED_CONNECTIONS, block=False
        )
        pool.ConnectionCls = DeadlineHTTPSConnection if self._is_tls else DeadlineHTTPConnection
        return pool

    def _replace_pool(self) -> None:
        """In a forked child: the parent still uses the sockets and may hold the pool's lock.

        The old pool is kept, not closed: closing it could end TLS sessions of the parent.
        """
        self._inherited = self._pool
        self._pool = self._new_pool()


_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


def _replace_pools() -> None:
    for transport in list(_transports):
        transport._replace_pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_pools)


def _parse_url(url: str) -> urllib3.util.Url:
    problem = "the hub's address must look like http://host:port"
    try:
        parts = urllib3.util.parse_url(url.strip())
    except urllib3.exceptions.LocationParseError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise ValueError(f"{problem}, not {url!r}")
    if parts.auth:  # and not shown: it may contain a password
        raise ValueError(f"{problem}, without a user")
    return parts


def _checked_token(token: str) -> str:
    """The token. http.client would refuse an invalid header too, but quote it in the error."""
    token = token.strip()
    if not set(token) <= _TOKEN_CHARACTERS:
        raise ValueError("the token contains characters that are not allowed in a token")
    return token


def _reason(exc: Exception) -> str:
    """Why a request failed. Never the exception's own text: it may quote headers."""
    if isinstance(exc, urllib3.exceptions.NewConnectionError):  # also a subclass of TimeoutError
        return CONNECTION_ERROR
    if isinstance(exc, (urllib3.exceptions.TimeoutError, TimeoutError, socket.timeout)):
        return TIMEOUT
    if isinstance(exc, urllib3.exceptions.SSLError):
        cause = getattr(exc.args[0], "verify_message", None) if exc.args else None
        return f"{CONNECTION_ERROR}: TLS, {cause or 'no secure connection'}"
    return CONNECTION_ERROR
