"""What a response means: only the hub decides about a payload."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import RequestError, Unavailable
from app.web.problems import answer_failure, problem
from telemetry_client import Accepted, Refused, Unreachable
from telemetry_client.wire.results import NotApplied
from telemetry_client.wire.transport import Answer
from telemetry_client.wire.verdicts import is_problem, judge_batch, judge_failure, judge_push

PROBLEM_JSON = "application/problem+json"


def make_answer(
    status: int, body: Any, *, media_type: str = "application/json", **headers: str
) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-").title(): text for name, text in headers.items()}
    return Answer(status, {"Content-Type": media_type, **names}, content, 0.01)


def make_problem(status: int, detail: str = "No.", **members: Any) -> Answer:
    """As the hub makes it."""
    made = problem(status, detail, errors=members.pop("errors", None))
    body = {**json.loads(made.body), **members}
    return make_answer(status, body, media_type=dict(made.headers)["Content-Type"])


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_refusal_of_the_hub_is_final_and_names_fields(status: int) -> None:
    errors = {"disks.0.status": ["Is odd.", "Truly."], "error": ["No."]}
    result = judge_failure(make_problem(status, errors=errors))
    assert result == Refused(status, "disks.0.status: Is odd. Truly.; error: No.")


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500, 501, 405])
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"<html><title>Bad</title></html>", "text/html"),
        (b"", ""),
        ({"error": "Bad"}, "application/json"),
        # Another program's problem, with a type of its own or with members of its own.
        ({"type": "https://example.org/bad", "title": "Bad", "detail": "Bad."}, PROBLEM_JSON),
        (
            {"type": "about:blank", "title": "Bad", "detail": "Bad.", "instance": "/api"},
            PROBLEM_JSON,
        ),
        ([], PROBLEM_JSON),
        (b"{", PROBLEM_JSON),
    ],
)
def test_an_answer_without_the_hubs_marks_is_an_outage(
    status: int, body: Any, media_type: str
) -> None:
    if isinstance(body, dict):
        body = {**body, "status": status}
    answer = make_answer(status, body, media_type=media_type)
    for result in (judge_push(answer), judge_batch(answer, 2)):
        assert isinstance(result, Unreachable)
        assert (result.spends_try, result.is_from_hub, result.status) == (False, False, status)


def test_a_problem_of_another_status_than_its_response_is_not_the_hubs() -> None:
    body = json.loads(make_problem(400).body)
    assert not is_problem(make_answer(502, body, media_type=PROBLEM_JSON))


def test_an_older_hubs_problem_is_a_verdict() -> None:
    """It has no type of its own."""
    body = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "status: No."}
    for more in ({}, {"errors": {"status": ["No."]}}):
        answer = make_answer(400, {**body, **more}, media_type=f"{PROBLEM_JSON}; charset=utf-8")
        assert judge_push(answer) == Refused(400, "status: No.")


@pytest.mark.parametrize("kind", RequestError.__subclasses__())
def test_every_refusal_of_the_hub_has_its_marks(kind: type[RequestError]) -> None:
    made = answer_failure(kind())
    assert is_problem(Answer(made.status, dict(made.headers), made.body, 0.01))


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 425, 429, 502, 503, 504])
def test_an_outage_spends_no_try(status: int) -> None:
    result = judge_failure(make_problem(status))
    assert result == Unreachable("No.", status=status, is_from_hub=True)


@pytest.mark.parametrize("status", [500, 501, 405, 418, 505])
def test_any_other_failure_of_the_hub_spends_a_try(status: int) -> None:
    result = judge_failure(make_problem(status, "The hub failed."))
    assert result == Unreachable(
        "The hub failed.", spends_try=True, status=status, is_from_hub=True
    )


def test_the_hub_says_when_to_come_back() -> None:
    made = answer_failure(Unavailable())
    result = judge_failure(Answer(made.status, dict(made.headers), made.body, 0.01))
    assert isinstance(result, Unreachable)
    assert result.retry_after_seconds == 1.0


def test_a_proxy_that_says_when_to_come_back_is_believed() -> None:
    answer = make_answer(
        503, b"<title>Maintenance</title>", media_type="text/html", retry_after="9"
    )
    result = judge_push(answer)
    assert isinstance(result, Unreachable)
    assert result.retry_after_seconds == 9.0


@pytest.mark.parametrize(
    "body",
    [None, [], "accepted", {}, {"accepted": False}, {"accepted": 1}, {"ok": True}, b"<html>"],
)
def test_a_200_that_is_not_the_hubs_acknowledges_nothing(body: Any) -> None:
    result = judge_push(make_answer(200, body))
    assert isinstance(result, Unreachable)
    assert (result.spends_try, result.status) == (False, 200)


def test_a_push_that_changed_nothing_says_why() -> None:
    receipt = {"accepted": True, "duplicate": False, "applied": False, "reason": "It is old."}
    unapplied = (NotApplied(0, "It is old."),)
    assert judge_push(make_answer(200, receipt)) == Accepted(not_applied=unapplied)
    assert judge_push(make_answer(200, {**receipt, "run": 7})) == Accepted(
        not_applied=unapplied, run=7
    )
    repeat = {**receipt, "duplicate": True}
    assert judge_push(make_answer(200, repeat)) == Accepted(duplicates=1)


def test_a_batch_says_which_items_changed_nothing() -> None:
    receipt = {"accepted": 3, "duplicates": 0, "rejected": []}
    items = [{"index": 0, "reason": "It is old."}, {"index": 2, "reason": None}, {"index": 3}]
    assert judge_batch(make_answer(200, {**receipt, "not_applied": items}), 3) == Accepted(
        not_applied=(NotApplied(0, "It is old."), NotApplied(2, "no reason was given"))
    )
    assert judge_batch(make_answer(200, receipt), 3) == Accepted(), "older hubs do not list them"


@pytest.mark.parametrize(
    "body",
    [
        None,
        {"accepted": 3},
        {"accepted": 2, "duplicates": 0, "rejected": []},  # and the third?
        {"accepted": "3", "duplicates": 0, "rejected": []},
        {"accepted": 2, "duplicates": 0, "rejected": [{"index": 3, "errors": {}}]},
        {"accepted": 2, "duplicates": 0, "rejected": [{"index": 0}]},
        {"accepted": 2, "duplicates": 0, "rejected": 1},
    ],
)
def test_a_batch_is_acknowledged_whole_or_not(body: Any) -> None:
    result = judge_batch(make_answer(200, body), 3)
    assert isinstance(result, Unreachable)
    assert not result.spends_try


def test_a_reason_is_one_line_of_bounded_length() -> None:
    errors = {"error": ["a\nb\x1b[31m" + "x" * 10_000]}
    result = judge_failure(make_problem(400, errors=errors))
    assert isinstance(result, Refused)
    assert result.reason.startswith("error: a b [31m")
    assert len(result.reason) <= 500
