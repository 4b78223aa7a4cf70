"""Request bodies: several gzip members, truncated, in pieces; and invalid queries."""

from __future__ import annotations

import gzip
import io
import json
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse, create_environ
from werkzeug.wrappers import Response

from app.api.needs import find_permission
from app.errors import InvalidInput, TooLarge
from app.web.content import gunzip
from app.web.permissions import OPEN, PUSH, PUSH_SNAPSHOT, READ, Permission
from tests.factories import make_body

BATCH = "/api/v1/telemetry/batch"
NDJSON = "application/x-ndjson"
JOBS = "/api/v1/jobs"
LIMIT = 1 << 20


def line(number: int) -> bytes:
    return json.dumps(make_body(job_id=f"job-{number}", job_type="backup")).encode() + b"\n"


def post_gzip(client: FlaskClient, body: bytes) -> TestResponse:
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    return client.post(BATCH, data=body, headers=headers)


def refused_body(answer: Any) -> str:
    assert answer.status_code == 400, answer.data
    errors = json.loads(answer.data)["errors"]
    assert list(errors) == ["body"]
    return str(errors["body"][0])


# Gzip.


def test_all_members_of_gzip_are_read(client: FlaskClient) -> None:
    answer = post_gzip(client, b"".join(gzip.compress(line(number)) for number in range(3)))
    assert (answer.status_code, answer.get_json()["accepted"]) == (200, 3)


@pytest.mark.parametrize(
    "rest",
    [b"garbage", b"\0", b"\x1f", gzip.compress(line(1))[:-1], gzip.compress(line(1))[:12], line(1)],
    # gzip adds the time, and test processes that share the work must agree on the ids.
    ids=["garbage", "zero", "half a header", "truncated", "a header", "not compressed"],
)
def test_trailing_data_that_is_not_gzip_is_refused(client: FlaskClient, rest: bytes) -> None:
    assert "gzip" in refused_body(post_gzip(client, gzip.compress(line(0)) + rest))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, LIMIT])
def test_gzip_of_any_size_up_to_the_limit(size: int) -> None:
    text = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    compressed = gzip.compress(text[: size // 3]) + gzip.compress(text[size // 3 :], 0)
    assert gunzip(compressed, LIMIT) == text


def test_limit_applies_to_all_members_together() -> None:
    compressed = gzip.compress(b" " * (LIMIT // 2)) * 2
    assert len(gunzip(compressed, LIMIT)) == LIMIT
    with pytest.raises(TooLarge, match="after decompression"):
        gunzip(compressed + gzip.compress(b" "), LIMIT)


def test_many_tiny_members_take_linear_time() -> None:
    empty = gzip.compress(b"")
    began = time.perf_counter()
    assert gunzip(empty * 400_000, LIMIT) == b""  # 8 MB; many minutes if quadratic
    assert time.perf_counter() - began < 20


def test_empty_body_is_not_gzip() -> None:
    with pytest.raises(InvalidInput):
        gunzip(b"", LIMIT)


# Truncated.


class Pieces(io.RawIOBase):
    """A body that arrives a few bytes at a time, and may fail at its end."""

    def __init__(self, body: bytes, *, fails: bool = False) -> None:
        self._body = io.BytesIO(body)
        self._fails = fails

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._body.read(min(size, 7))
        if not piece and self._fails:
            raise OSError("the chunk's end is missing")
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def push(app: Flask, body: io.RawIOBase, length: int | None, *, terminated: bool) -> Response:
    environ = create_environ(BATCH, method="POST", content_type=NDJSON)
    environ["wsgi.input"] = body
    environ.pop("CONTENT_LENGTH", None)
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    if terminated:  # as under Granian
        environ["wsgi.input_terminated"] = True
    return Response.from_app(app.wsgi_app, environ)


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_body_shorter_than_its_length_is_refused(app: Flask, terminated: bool, fails: bool) -> None:
    body = Pieces(line(0), fails=fails)
    answer = push(app, body, len(line(0)) + len(line(1)), terminated=terminated)
    assert refused_body(answer).startswith("Is truncated")


@pytest.mark.parametrize("terminated", [False, True])
def test_body_in_pieces_is_read_to_its_end(app: Flask, terminated: bool) -> None:
    body = line(0) + line(1)
    answer = push(app, Pieces(body, fails=True), len(body), terminated=terminated)
    assert answer.status_code == 200, answer.data


def test_body_without_a_length_is_read_to_its_end(app: Flask) -> None:
    answer = push(app, Pieces(line(0) + line(1)), None, terminated=True)
    assert (answer.status_code, json.loads(answer.data)["accepted"]) == (200, 2)


def test_body_without_a_length_that_fails_is_refused(app: Flask) -> None:
    answer = push(app, Pieces(line(0), fails=True), None, terminated=True)
    assert refused_body(answer).startswith("Is truncated")


# Queries.


@pytest.mark.parametrize(
    "query", ["vm_name=%ff", "vm_name=%C3", "%ff=1", "vm_name=%ED%A0%80", "vm_name=\xff"]
)
def test_query_that_is_not_utf_8_is_refused(app: Flask, query: str) -> None:
    environ = create_environ(JOBS)
    environ["QUERY_STRING"] = query
    answer = Response.from_app(app.wsgi_app, environ)
    assert answer.status_code == 400
    assert list(json.loads(answer.data)["errors"]) == ["query"]


@pytest.mark.parametrize("query", ["vm_name=%C3%A4", "vm_name=100%", "vm_name=%zz", "", "&&"])
def test_other_queries_reach_their_route(client: FlaskClient, query: str) -> None:
    answer = client.get(f"{JOBS}?{query}")
    assert answer.status_code == 200, answer.data


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("POST", "/api/v1/jobs", PUSH),
        ("POST", "/api/v1/jobs/a/complete", PUSH),
        ("POST", "/api/v1/telemetry/batch", PUSH),
        ("POST", "/api/v1/telemetry/Backup/x/y", PUSH),
        ("POST", "/api/telemetry/snapshot", PUSH_SNAPSHOT),
        ("GET", "/api/v1/jobs/a", READ),
        ("POST", "/sign-in", OPEN),
        ("POST", "/nothing", None),
        ("PUT", "/api/v1/jobs", None),
        ("FROB", "/api/v1/jobs", None),
        ("POST", "", None),
        ("POST", "/api/v1/jobs/\ufffd\n/complete", PUSH),
    ],
)
def test_permission_of_a_route_is_known_before_its_body(
    app: Flask, method: str, path: str, permission: Permission | None
) -> None:
    assert find_permission(app, method, path) == permission
    assert (permission is not None and permission.takes_body) == (
        permission in (PUSH, PUSH_SNAPSHOT)
    )
