"""A request and its answer, whichever server they came by."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

from app import metrics

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# A random part for each process, and a number for each request: 1 µs cheaper than a random id.
_PROCESS = secrets.token_hex(8)
_NUMBERS = itertools.count(1)

# They tell a browser what it must not do with an answer. Pages override what they need.
SAFE_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


class Headers(Protocol):
    """The headers of a request."""

    def get(self, name: str, default: str, /) -> str:
        """The value of a header, by its name in lower case."""


@dataclass(slots=True)
class Request:
    """What is known of a request before its body. `peer` is the address of the other end.

    `path` is decoded, without the query. `began` is by `time.perf_counter`.
    """

    method: str
    path: str
    headers: Headers
    peer: str
    id: str
    began: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class Answer:
    """What the hub answers: all of it, in memory."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


def choose_request_id(offered: str) -> str:
    """The client's own X-Request-ID where it is acceptable, else a new one."""
    if offered and _ACCEPTABLE_ID.fullmatch(offered):
        return offered
    return f"{_PROCESS}{next(_NUMBERS):016x}"


def complete(answer: Answer, request: Request, route: str) -> Answer:
    """Add what every answer has, and count it under the rule of its route."""
    answer.headers += (("X-Request-ID", request.id), *SAFE_HEADERS)
    count_answer(request, route, answer.status)
    return answer


def count_answer(request: Request, route: str, status: int) -> None:
    """Count an answered request. A made-up method is not a time series of its own."""
    method = request.method if request.method in _METHODS else "other"
    metrics.count_request(method, route, status, time.perf_counter() - request.began)
