"""JSON responses for views, with ETag, 304 and gzip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from app.api.context import current_request, to_response
from app.web.conditional import CACHE_CONTROL, make_compressed, make_conditional, make_tag
from app.web.content import encode_json
from app.web.request import Answer
from app.web.tables import csv_answer, encode_csv


def json_response(body: Any, status: int = 200) -> Response:
    """An application/json response; see `encode_json`."""
    return Response(encode_json(body), status, mimetype="application/json")


def conditional_json(body: Any, *, etag_body: Any = None) -> Response:
    """As `json_response`, with an ETag; 304 if the client has the current version.

    `etag_body` is the body without values that change in every response, such as ages. The tag is
    then weak: it identifies equivalent responses, not equal ones.
    """
    answer = Answer(200, encode_json(body), [("Content-Type", "application/json")])
    if etag_body is None:
        return conditional(answer)
    return conditional(answer, make_tag(encode_json(etag_body)), is_weak=True)


def conditional(answer: Answer, tag: str | None = None, *, is_weak: bool = False) -> Response:
    """The answer with its ETag, by default a hash of its body; 304 if the client has it already.
    Compressed if the client accepts that.

    The version of a row would not do as a tag, although it would save building the body: a chart
    also changes when old updates are dropped, which does not touch the job's row.
    """
    answer.headers.append(("Cache-Control", CACHE_CONTROL))
    tag = make_tag(answer.body) if tag is None else tag
    return to_response(make_conditional(answer, current_request(), tag, is_weak=is_weak))


def compressed(answer: Answer) -> Response:
    """The answer, compressed if the client accepts that, without an ETag."""
    return to_response(make_compressed(answer, current_request()))


def table(
    name: str,
    query: Mapping[str, Any],
    fields: Iterable[str],
    items: Sequence[Mapping[str, Any]],
    cursor: str | None,
    *,
    etag_items: Any = None,
) -> Response:
    """A page of a list, as JSON or as CSV: with a column for each field, saved as `name`.

    `etag_items`: see `etag_body` of `conditional_json`.
    """
    if query["format"] == "json":
        etag_body = None if etag_items is None else [etag_items, cursor]
        return conditional_json({"items": items, "next_cursor": cursor}, etag_body=etag_body)
    answer = csv_answer(name, encode_csv(fields, items))
    if cursor is not None:
        following = urlencode({**request.args, "cursor": cursor})
        answer.headers.append(("Link", f'<?{following}>; rel="next"'))
    if etag_items is None:
        return conditional(answer)
    return conditional(answer, make_tag(encode_json(["csv", etag_items, cursor])), is_weak=True)
