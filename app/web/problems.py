"""Builds every error response as application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson

from app import metrics
from app.errors import NO_MEMORY, RequestError, Unavailable
from app.web.request import Answer

logger = logging.getLogger("hub.web")

PROBLEM_JSON = "application/problem+json"
# Marks a problem as the hub's: senders give a payload up only for such an answer. A proxy's answer
# with the same status must not have this prefix.
PROBLEM_TYPE = "urn:telemetry-hub:problem:"
_UNEXPECTED = "Internal error; the reason is in the hub's log."


def problem(
    status: int,
    detail: str,
    *,
    errors: Mapping[str, list[str]] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Answer:
    """One problem. `errors` maps a field's path (`disks.0.status`) to the reasons."""
    title = HTTPStatus(status).phrase
    body: dict[str, Any] = {
        "type": PROBLEM_TYPE + title.lower().replace(" ", "-"),
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    return Answer(status, orjson.dumps(body), [("Content-Type", PROBLEM_JSON), *headers])


def describe(errors: Mapping[str, list[str]]) -> str:
    """The first field and its first reason."""
    field, reasons = next(iter(errors.items()))
    return f"{field}: {reasons[0]}"


def refuse(error: RequestError) -> Answer:
    """The answer to a RequestError, counted by its class."""
    count_refusal(error)
    headers = [*error.headers]
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    return problem(error.status, str(error), errors=error.errors, headers=headers)


def count_refusal(error: RequestError) -> None:
    """Count a refusal that is answered in another form."""
    metrics.REFUSED.labels(type(error).__name__).inc()


def answer_failure(error: Exception) -> Answer:
    """The answer to any exception. Details of unexpected ones are only logged."""
    if isinstance(error, RequestError):
        return refuse(error)
    if isinstance(error, MemoryError):  # the sender should retry, not drop the update
        return refuse(Unavailable(NO_MEMORY))
    logger.error("unexpected error", exc_info=error)
    return problem(500, _UNEXPECTED)
