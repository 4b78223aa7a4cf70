"""What can become of a push, and what each response of the hub means for it.

An outage never uses up one of an entry's tries; a refused payload is never sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Union

CONNECTION_ERROR = "connection_error"
TIMEOUT = "timeout"

# This payload will never be accepted, whenever it is sent.
REFUSING = frozenset({400, 409, 413, 415, 422})
# The hub, or what stands before it, cannot accept anything now: a token being rotated, a wrong
# route while a proxy is set up, too many requests, a restart.
OUTAGE = frozenset({401, 402, 403, 404, 408, 425, 429, 502, 503, 504})

_LONGEST_REASON = 500  # characters; reasons are logged and kept in the queue


@dataclass(frozen=True)
class Rejection:
    """One item of a batch that was not accepted."""

    index: int
    reason: str
    # Whether fields of the item are to blame. Otherwise the hub failed to store it, which may pass,
    # or the token does not allow it: pushed alone, it gets a status that says which.
    names_fields: bool = True


@dataclass(frozen=True)
class Accepted:
    """The hub has stored it, except what is `rejected` (batches only).

    `not_applied`: why one of them, a new one, did not change its job.
    """

    duplicates: int = 0
    rejected: tuple[Rejection, ...] = ()
    not_applied: str | None = None


@dataclass(frozen=True)
class Refused:
    """This payload will never be accepted; `reason` is the hub's and names fields."""

    status: int
    reason: str


@dataclass(frozen=True)
class Unreachable:
    """Nothing is known to be stored: send it again later. `status` of the response, if any."""

    reason: str
    retry_after_seconds: float | None = None
    spends_try: bool = False
    status: int | None = None


RESULTS = (Accepted, Refused, Unreachable)
Result = Union[Accepted, Refused, Unreachable]


def judge_failure(
    status: int, answer: Any, retry_after_seconds: float | None = None
) -> Refused | Unreachable:
    """What a status other than 200 means. `answer`: the body's JSON, None if it is not JSON."""
    reason = describe_problem(status, answer)
    if status in REFUSING:
        return Refused(status, reason)
    # Redirects are not followed: one is a login page or a wrong address, never the hub.
    spends_try = status not in OUTAGE and not 300 <= status < 400
    return Unreachable(reason, retry_after_seconds, spends_try, status)


def judge_push(status: int, answer: Any, retry_after_seconds: float | None = None) -> Result:
    """What the response to one pushed update means."""
    if status != 200:
        return judge_failure(status, answer, retry_after_seconds)
    if isinstance(answer, Mapping) and answer.get("accepted") is True:
        is_repeat = answer.get("duplicate") is True
        reason = None
        if answer.get("applied") is False and not is_repeat:
            reason = _one_line(str(answer.get("reason") or "no reason was given"))
        return Accepted(duplicates=int(is_repeat), not_applied=reason)
    return not_the_hub(status)


def judge_batch(
    status: int, answer: Any, count: int, retry_after_seconds: float | None = None
) -> Result:
    """What the response to a batch of `count` items means."""
    if status != 200:
        return judge_failure(status, answer, retry_after_seconds)
    try:
        accepted, duplicates = answer["accepted"], answer["duplicates"]
        rejected = tuple(_rejection(item, count) for item in answer["rejected"])
        is_whole = accepted + duplicates + len(rejected) == count
    except (KeyError, TypeError, ValueError):
        return not_the_hub(status)
    if not is_whole:
        return not_the_hub(status)
    return Accepted(duplicates, rejected, _first_reason(answer.get("not_applied")))


def _first_reason(not_applied: Any) -> str | None:
    """The reason of the first item that changed nothing; older hubs do not list them."""
    if not isinstance(not_applied, list) or not not_applied:
        return None
    first = not_applied[0]
    return _one_line(str(first.get("reason"))) if isinstance(first, Mapping) else None


def not_the_hub(status: int) -> Unreachable:
    """Half a response, or the page of a captive portal: it acknowledges nothing."""
    return Unreachable("the response is not from a hub", status=status)


def describe_problem(status: int, answer: Any) -> str:
    """The hub's reasons by field, or else its detail or the status; one line."""
    if isinstance(answer, Mapping):
        errors = answer.get("errors")
        if isinstance(errors, Mapping) and errors:
            return describe_errors(errors)
        detail = answer.get("detail") or answer.get("title")
        if isinstance(detail, str) and detail:
            return _one_line(detail)
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def describe_errors(errors: Mapping[Any, Any]) -> str:
    """`{field: [reason]}` as a sentence."""
    parts = []
    for field, reasons in errors.items():
        reasons = reasons if isinstance(reasons, list) else [reasons]
        parts.append(f"{field}: {' '.join(str(reason) for reason in reasons)}")
    return _one_line("; ".join(parts))


def _rejection(item: Mapping[str, Any], count: int) -> Rejection:
    index, errors = item["index"], item["errors"]
    if not isinstance(index, int) or not 0 <= index < count or not isinstance(errors, Mapping):
        raise ValueError("not a rejection")
    # If `job_type` alone is rejected, the token may be to blame.
    blames_item = set(errors) not in ({"body"}, {"job_type"})
    return Rejection(index, describe_errors(errors), names_fields=blames_item)


def _one_line(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text[:_LONGEST_REASON])
    return line.strip()
