"""The short way of an ordinary push answers as the long way through Flask does."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from app.api import fast_push
from app.errors import QueueFull
from tests.factories import at, make_body

URL = "/api/v1/telemetry/backup/job-1"
JSON = "application/json"


def answer(client: FlaskClient, body: bytes, **request: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body, without what differs from request to request."""
    got = client.post(request.pop("path", URL), data=body, **{"content_type": JSON, **request})
    content = got.get_json()
    for name in ("time", "received_at"):
        content.pop(name, None)
    headers = {name: value for name, value in got.headers.items() if name != "Content-Length"}
    return got.status_code, headers, content


@pytest.mark.parametrize(
    "body",
    [
        make_body(),
        make_body(timestamp=None),
        make_body(disks=[{"disk_index": 0, "bytes_transferred": 1}]),
        make_body(status="completed"),
        make_body(job_id="job-1", job_type="backup", vm_name="vm-1"),
        make_body(progress_percent=170),
        make_body(bytes_transferred=1.0),
        make_body(current_phase="Prüfung 😀"),
        make_body(bytes_transferred=-1),
        make_body(status="asleep"),
        make_body(job_id="other"),
        [],
    ],
)
def test_both_ways_answer_alike(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    text = json.dumps(body).encode()
    headers = {"X-Request-ID": "mine"}
    fast = answer(client, text, headers=headers)
    monkeypatch.setattr(fast_push, "decode_common_update", lambda *_: None)
    slow = answer(client, text, headers=headers)
    if fast[0] == 200 and body.get("timestamp"):
        assert not fast[2].pop("duplicate") and slow[2].pop("duplicate")
        assert fast[2].pop("applied") and not slow[2].pop("applied")
        fast[2].pop("reason"), slow[2].pop("reason")
    assert fast == slow


def test_ordinary_push_does_not_reach_flask(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "full_dispatch_request", None)
    assert client.post(URL, json=make_body()).status_code == 200


@pytest.mark.parametrize("missing", [1, 1000])
def test_body_cut_off_is_refused_though_it_reads_as_json(app: Flask, missing: int) -> None:
    body = json.dumps(make_body()).encode()
    environ = create_environ(URL, method="POST", data=body, content_type=JSON)
    environ["CONTENT_LENGTH"] = str(len(body) + missing)
    answer = Response.from_app(app.wsgi_app, environ)
    assert answer.status_code == 400
    assert json.loads(answer.data)["errors"]["body"][0].startswith("Is cut off")


def test_body_of_a_failing_connection_is_refused(app: Flask) -> None:
    environ = create_environ(URL, method="POST", data=b"{}", content_type=JSON)
    environ["wsgi.input"] = Failing()
    answer = Response.from_app(app.wsgi_app, environ)
    assert answer.status_code == 400
    assert list(json.loads(answer.data)["errors"]) == ["body"]


class Failing(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/api/v1/telemetry/backup/a/b", JSON, 400),
        ("/api/v1/telemetry/Backup/a", JSON, 400),
        ("/api/v1/telemetry/backup/ü", JSON, 200),
        (URL, "application/json; charset=utf-8", 200),
        (URL, "text/plain", 415),
    ],
)
def test_unusual_push_goes_through_flask(
    client: FlaskClient, path: str, content_type: str, status: int
) -> None:
    got = answer(client, json.dumps(make_body()).encode(), path=path, content_type=content_type)
    assert got[0] == status


def test_refusals_of_the_writer_are_problems(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(items: Any) -> None:
        raise QueueFull

    monkeypatch.setattr(app.extensions["hub"].writer, "submit", refuse)
    got = client.post(URL, json=make_body())
    assert (got.status_code, got.mimetype) == (503, "application/problem+json")
    assert got.headers["Retry-After"] == "1" and got.headers["X-Request-ID"]


def test_conflict_is_a_problem_naming_its_field(client: FlaskClient) -> None:
    client.post(URL, json=make_body())
    got = client.post("/api/v1/telemetry/restore/job-1", json=make_body(timestamp=at(-1)))
    assert got.status_code == 409 and list(got.get_json()["errors"]) == ["job_type"]


def test_requests_are_counted_under_their_rule(client: FlaskClient) -> None:
    client.post(URL, json=make_body())
    text = client.get("/api/v1/metrics").get_data(as_text=True)
    rule = 'route="/api/v1/telemetry/<job_type:job_type>/<identifier:job_id>",status="200"'
    assert rule in text
