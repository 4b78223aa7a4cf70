"""A request and its answer, independent of the server."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app import metrics

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# They restrict what a browser may do with an answer. Pages override what they need.
SAFE_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


Headers = Mapping[str, str]  # of a request; names are in lower case


@dataclass(slots=True)
class Request:
    """A request without its body. `peer` is the address of the client.

    `path` is decoded, without the query. `began` is a `time.perf_counter` value. `answer_headers`
    are added to its answer, whatever that is.
    """

    method: str
    path: str
    headers: Headers
    peer: str
    id: str
    began: float = field(default_factory=time.perf_counter)
    answer_headers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Answer:
    """A complete answer, in memory."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


def choose_request_id(offered: str) -> str:
    """The client's X-Request-ID if it is valid, else a new one."""
    if offered and _VALID_ID.fullmatch(offered):
        return offered
    return f"{random.getrandbits(128):032x}"  # not a secret; uuid4 would ask the system


def complete(answer: Answer, request: Request, route: str) -> Answer:
    """Add the headers that every answer has, and count it by its route."""
    answer.headers += (("X-Request-ID", request.id), *SAFE_HEADERS, *request.answer_headers)
    count_answer(request, route, answer.status)
    return answer


def count_answer(request: Request, route: str, status: int) -> None:
    """Count an answered request. Unknown methods share one time series."""
    method = request.method if request.method in _METHODS else "other"
    metrics.count_request(method, route, status, time.perf_counter() - request.began)
