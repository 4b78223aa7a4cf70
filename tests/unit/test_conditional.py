"""Which answers a client may have already."""

from __future__ import annotations

import pytest

from app.web.conditional import make_conditional
from app.web.request import Answer, Request


def answer_to(method: str = "GET", *, is_weak: bool = False, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, "/", named, "127.0.0.1", "id")
    answer = Answer(200, b"body", [("Content-Type", "text/plain"), ("X-Kept", "1")])
    return make_conditional(answer, request, "tag", is_weak=is_weak)


def test_answer_has_its_tag() -> None:
    assert dict(answer_to().headers)["ETag"] == '"tag"'
    assert dict(answer_to(is_weak=True).headers)["ETag"] == 'W/"tag"'
    assert answer_to().body == b"body"


@pytest.mark.parametrize("held", ['"tag"', 'W/"tag"', '"other", "tag"', "*", '"tag-gzip"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_held_answer_is_304(method: str, held: str) -> None:
    answer = answer_to(method, if_none_match=held)
    assert (answer.status, answer.body) == (304, b"")
    assert "Content-Type" not in dict(answer.headers)
    assert dict(answer.headers)["X-Kept"] == "1"


@pytest.mark.parametrize("held", ['"other"', ""])
def test_other_answer_is_sent(held: str) -> None:
    assert answer_to(if_none_match=held).status == 200


@pytest.mark.parametrize(
    ("expected", "status"), [('"tag"', 200), ("*", 200), ('"other"', 412), ('W/"tag"', 412)]
)
def test_if_match(expected: str, status: int) -> None:
    answer = answer_to(if_match=expected)
    assert answer.status == status
    if status == 412:
        assert dict(answer.headers)["Content-Type"] == "application/problem+json"


def test_weak_tag_matches_no_if_match() -> None:
    assert answer_to(is_weak=True, if_match='"tag"').status == 412
    assert answer_to(is_weak=True, if_match="*").status == 200


def test_other_methods_are_unconditional() -> None:
    assert answer_to("POST", if_none_match='"tag"', if_match='"other"').status == 200
