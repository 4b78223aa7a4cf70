"""How views answer: JSON, with an ETag, 304 and gzip."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from flask import Response

from app.api.context import current_request, to_response
from app.clock import isoformat
from app.web.conditional import make_conditional, make_tag
from app.web.request import Answer

CACHE_CONTROL = "no-cache"  # keep it, but ask before using it


def json_response(body: Any, status: int = 200) -> Response:
    """An application/json answer; see `encode_json`."""
    return Response(encode_json(body), status, mimetype="application/json")


def conditional_json(body: Any, *, same_but_for: Any = None) -> Response:
    """As `json_response`, with an ETag; 304 if the client has the same already.

    What counts up in every answer would change every tag. `same_but_for` is the body without that:
    its tag is a weak one, which says that the answers mean the same, not that they are equal.
    """
    answer = Answer(200, encode_json(body), [("Content-Type", "application/json")])
    if same_but_for is None:
        return conditional(answer)
    return conditional(answer, make_tag(encode_json(same_but_for)), is_weak=True)


def conditional(answer: Answer, tag: str | None = None, *, is_weak: bool = False) -> Response:
    """The answer with its ETag, by default a hash of its body; 304 if the client has it already.
    Packed where the client takes that.

    A version of a row would save making the body, but not all that changes an answer changes that
    row: of a chart, old updates are dropped by age, whole chunks at once.
    """
    answer.headers.append(("Cache-Control", CACHE_CONTROL))
    tag = make_tag(answer.body) if tag is None else tag
    return to_response(make_conditional(answer, current_request(), tag, is_weak=is_weak))


def encode_json(body: Any) -> bytes:
    """The text of a JSON answer. Instants become RFC 3339 in UTC with a `Z`; NaN becomes null."""
    return orjson.dumps(body, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return isoformat(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
