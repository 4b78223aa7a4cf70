"""One request to the hub and its whole answer, within a bounded time. Knows HTTP, not telemetry."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from telemetry_client.backoff import parse_retry_after
from telemetry_client.results import CONNECTION_ERROR, TIMEOUT, Unreachable

USER_AGENT = "telemetry-client/0.1.0"
LARGEST_ANSWER_BYTES = 1 << 20  # the hub's own are far below; anything may answer instead of it
POOLED_CONNECTIONS = 10  # more are opened when needed, and closed after use
_SAFE_TOKEN = frozenset(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole. `elapsed_seconds`: from before the request to its last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    elapsed_seconds: float

    @property
    def json(self) -> Any:
        """What the body says, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after_seconds(self) -> float | None:
        return parse_retry_after(self.headers.get("Retry-After"), date=self.headers.get("Date"))


class Transport:
    """Pooled connections to one hub; thread-safe, and usable in a child after a fork.

    A call takes at most `timeout` and the time to connect (`connect_timeout` for each address that
    the host's name has; a look-up of the name is the system's and takes what that takes).
    No proxy of the environment is used and no redirect followed: the token goes to one place only.
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
        """Post JSON below the hub's address."""
        extra = {"Content-Type": "application/json", **(headers or {})}
        return self._request("POST", path, body, extra)

    def get(self, path: str) -> Answer | Unreachable:
        return self._request("GET", path, None, {})

    def close(self) -> None:
        """Close the connections that no call is using; a later call is answered Unreachable."""
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
                retries=False,  # ours to decide, see `drain`
                redirect=False,
                preload_content=False,
                decode_content=False,  # none was asked for, and a small one may unpack to gigabytes
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
            return Unreachable("the answer is larger than any of the hub's", status=response.status)
        if response.length_remaining:  # cut off: not even its status is to be trusted
            response.close()
            return Unreachable(CONNECTION_ERROR)
        response.release_conn()
        return Answer(response.status, response.headers, content, time.monotonic() - began)

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        kind = urllib3.HTTPSConnectionPool if self._is_tls else urllib3.HTTPConnectionPool
        pool = kind(
            self._host, self._port, timeout=self._timeout, maxsize=POOLED_CONNECTIONS, block=False
        )
        pool.ConnectionCls = _TimedHTTPS if self._is_tls else _TimedHTTP
        return pool

    def _start_anew(self) -> None:
        """In a forked child: the parent goes on with the sockets and may hold the pool's lock.

        The old pool is kept, not closed: closing could say goodbye in the parent's name.
        """
        self._inherited = self._pool
        self._pool = self._new_pool()


_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


def _start_all_anew() -> None:
    for transport in list(_transports):
        transport._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_anew)


class _TimedResponse(http.client.HTTPResponse):
    """An answer that has to be here, whole, before the socket's timeout has passed once.

    A socket's timeout is one of each read: an answer of a byte a second would never meet it.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()  # of its buffer
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedHTTP(HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPS(HTTPSConnection):
    response_class = _TimedResponse


def _parse_url(url: str) -> urllib3.util.Url:
    problem = "must look like http://host:port"
    try:
        parts = urllib3.util.parse_url(url.strip())
    except urllib3.exceptions.LocationParseError:
        raise ValueError(f"the hub's address {problem}") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise ValueError(f"the hub's address {problem}, and is {url!r}")
    if parts.auth:  # and not shown: it may hold a password
        raise ValueError(f"the hub's address {problem}, without a user")
    return parts


def _checked_token(token: str) -> str:
    """The token; http.client would refuse what is no header, and quote it while it does."""
    token = token.strip()
    if not set(token) <= _SAFE_TOKEN:
        raise ValueError("the token contains characters that no token has")
    return token


def _reason(exc: Exception) -> str:
    """What a failed request is called. Never the exception's own text: it may quote headers."""
    if isinstance(exc, urllib3.exceptions.NewConnectionError):  # also a TimeoutError by descent
        return CONNECTION_ERROR
    if isinstance(exc, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return TIMEOUT
    if isinstance(exc, urllib3.exceptions.SSLError):
        cause = getattr(exc.args[0], "verify_message", None) if exc.args else None
        return f"{CONNECTION_ERROR}: TLS, {cause or 'no secure connection'}"
    return CONNECTION_ERROR
