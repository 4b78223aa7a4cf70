"""What each response to a push means.

Only the hub decides about a payload: a refused one is never sent again, and a failed one uses up a
try. Everything else that may answer at its address (a proxy's page, a redirect, a login page) is an
outage, whatever its status, and uses up nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from telemetry_client.wire.results import (
    Accepted,
    NotApplied,
    Refused,
    Rejection,
    Result,
    Unreachable,
)
from telemetry_client.wire.transport import Answer

# This payload will never be accepted, whenever it is sent.
REFUSING = frozenset({400, 409, 413, 415, 422})
# The hub cannot accept anything now: a token being rotated, a wrong route, too many requests, a
# restart.
OUTAGE = frozenset({401, 402, 403, 404, 408, 425, 429, 502, 503, 504})

NOT_THE_HUB = "the response is not from a hub"

# The marks of a hub's problem (RFC 9457). Older hubs had no type of their own: theirs are known by
# their members, to which other programs add some, such as `instance`.
_PROBLEM_JSON = "application/problem+json"
_PROBLEM_TYPE = "urn:telemetry-hub:problem:"
_OLD_PROBLEM_TYPE = "about:blank"
_OLD_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "errors"})

_LONGEST_REASON = 500  # characters; reasons are logged and kept in the queue
_LONGEST_TITLE = 80
_PAGE_TITLE = re.compile(rb"<title[^>]*>([^<]+)</title", re.IGNORECASE)


def judge_push(answer: Answer) -> Result:
    """What the response to one pushed update means."""
    receipt = answer.json if answer.status == HTTPStatus.OK else None
    if not isinstance(receipt, Mapping) or receipt.get("accepted") is not True:
        return judge_failure(answer)
    is_repeat = receipt.get("duplicate") is True
    is_unapplied = receipt.get("applied") is False and not is_repeat
    run = receipt.get("run")
    return Accepted(
        duplicates=int(is_repeat),
        not_applied=_not_applied([{**receipt, "index": 0}], 1) if is_unapplied else (),
        run=run if isinstance(run, int) else None,
    )


def judge_batch(answer: Answer, count: int) -> Result:
    """What the response to a batch of `count` items means."""
    if answer.status != HTTPStatus.OK:
        return judge_failure(answer)
    receipt = answer.json
    try:
        accepted, duplicates = receipt["accepted"], receipt["duplicates"]
        rejected = tuple(_rejection(item, count) for item in receipt["rejected"])
        is_whole = accepted + duplicates + len(rejected) == count
    except (KeyError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        return _foreign(answer)
    return Accepted(duplicates, rejected, _not_applied(receipt.get("not_applied"), count))


def judge_failure(answer: Answer) -> Refused | Unreachable:
    """What a response means that is not a receipt."""
    if not is_problem(answer):
        return _foreign(answer)
    reason = describe_problem(answer.status, answer.json)
    if answer.status in REFUSING:
        return Refused(answer.status, reason)
    return Unreachable(
        reason,
        answer.retry_after_seconds,
        spends_try=answer.status not in OUTAGE,
        status=answer.status,
        is_from_hub=True,
    )


def is_problem(answer: Answer) -> bool:
    """Whether it has the marks of a problem that a hub reports."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = answer.json if media_type == _PROBLEM_JSON else None
    if not isinstance(body, Mapping) or body.get("status") != answer.status:
        return False
    kind = body.get("type")
    if kind == _OLD_PROBLEM_TYPE:
        return _OLD_PROBLEM_MEMBERS >= body.keys() >= {"title", "detail"}
    return isinstance(kind, str) and kind.startswith(_PROBLEM_TYPE)


def describe_foreign(answer: Answer) -> str:
    """What answered in place of the hub: its status, program, and page or redirect."""
    parts = [_phrase(answer.status)]
    if program := answer.headers.get("Server"):
        parts[0] += f" of {program}"
    if 300 <= answer.status < 400:
        parts.append(f"a redirect to {_without_secrets(answer.headers.get('Location', ''))}")
    elif title := _PAGE_TITLE.search(answer.body):
        text = " ".join(title[1].decode("utf-8", "replace").split())
        parts.append(f"the page {text[:_LONGEST_TITLE]!r}")
    elif kind := answer.headers.get("Content-Type", "").partition(";")[0]:
        parts.append(kind)
    return _one_line(", ".join(parts))


def describe_problem(status: int, answer: Any) -> str:
    """The hub's reasons by field, or else its detail or the status; one line."""
    if isinstance(answer, Mapping):
        errors = answer.get("errors")
        if isinstance(errors, Mapping) and errors:
            return describe_errors(errors)
        detail = answer.get("detail") or answer.get("title")
        if isinstance(detail, str) and detail:
            return _one_line(detail)
    return _phrase(status)


def describe_errors(errors: Mapping[Any, Any]) -> str:
    """`{field: [reason]}` as a sentence."""
    parts = []
    for field, reasons in errors.items():
        reasons = reasons if isinstance(reasons, list) else [reasons]
        parts.append(f"{field}: {' '.join(str(reason) for reason in reasons)}")
    return _one_line("; ".join(parts))


def _foreign(answer: Answer) -> Unreachable:
    """It acknowledges nothing, and decides nothing."""
    return Unreachable(
        f"{NOT_THE_HUB}: {describe_foreign(answer)}",
        answer.retry_after_seconds,
        status=answer.status,
    )


def _not_applied(items: Any, count: int) -> tuple[NotApplied, ...]:
    """The items that changed nothing; older hubs do not list them."""
    return tuple(
        NotApplied(item["index"], _one_line(str(item.get("reason") or "no reason was given")))
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, Mapping) and item.get("index") in range(count)
    )


def _rejection(item: Mapping[str, Any], count: int) -> Rejection:
    index, errors = item["index"], item["errors"]
    if not isinstance(index, int) or not 0 <= index < count or not isinstance(errors, Mapping):
        raise ValueError("not a rejection")
    # If `job_type` alone is rejected, the token may be to blame.
    blames_item = set(errors) not in ({"body"}, {"job_type"})
    return Rejection(index, describe_errors(errors), names_fields=blames_item)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def _without_secrets(address: str) -> str:
    """An address without user, password, query and fragment: a login's may contain secrets."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an invalid address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path or "nowhere"


def _one_line(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text[:_LONGEST_REASON])
    return line.strip()
