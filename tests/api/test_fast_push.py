"""The short way of an ordinary push answers as the long way through Flask does."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from app import create_app
from app.api import fast_push
from app.api.auth import EXPIRES_HEADER
from app.api.factory import close_app
from app.auth.tokens import mint
from app.clock import utc_now
from app.config import Config
from app.database.pool import Database
from app.domain.updates import Update
from app.errors import QueueFull, Unavailable
from app.server.asgi import WebServer
from tests.asgi import ask, piece
from tests.factories import at, make_body
from tests.tokens import FOREIGN_KEYS, KEYS, make_claims, make_token

URL = "/api/v1/telemetry/backup/job-1"
JSON = "application/json"


Answer = tuple[int, dict[str, str], Any]


def answer(client: FlaskClient, body: bytes, **request: Any) -> Answer:
    """Status, headers and body, without what differs from request to request."""
    got = client.post(request.pop("path", URL), data=body, **{"content_type": JSON, **request})
    content = got.get_json()
    for name in ("time", "received_at"):
        content.pop(name, None)
    headers = {name: value for name, value in got.headers.items() if name != "Content-Length"}
    return got.status_code, headers, content


BODIES = pytest.mark.parametrize(
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


@BODIES
def test_both_ways_answer_alike(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    text = json.dumps(body).encode()
    headers = {"X-Request-ID": "mine"}
    fast = answer(client, text, headers=headers)
    monkeypatch.setattr(fast_push, "decode_common_update", lambda *_: None)
    slow = answer(client, text, headers=headers)
    assert_alike(fast, slow, body)


def assert_alike(first: Answer, second: Answer, body: Any) -> None:
    """But for the second being a repeat, where an update is named by its timestamp."""
    if first[0] == 200 and body.get("timestamp"):
        assert not first[2].pop("duplicate") and second[2].pop("duplicate")
        assert first[2].pop("applied") and not second[2].pop("applied")
        first[2].pop("reason"), second[2].pop("reason")
    assert first == second


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=UTF-8"])
def test_ordinary_push_does_not_reach_flask(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(app, "full_dispatch_request", None)
    text = json.dumps(make_body())
    assert client.post(URL, data=text, content_type=content_type).status_code == 200


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
        (URL, "application/json; charset=latin-1", 200),
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


# Without a thread.


def serve(app: Flask) -> WebServer:
    """What stands between the network and the application."""
    return WebServer(
        app,
        app.extensions["hub"].config,
        lambda: None,
        app.extensions["hub_push_gate"].is_full_for,
        app.extensions["hub_fast_push"],
    )


@pytest.fixture
def server(app: Flask) -> WebServer:
    return serve(app)


def push(server: WebServer, text: bytes, path: str = URL, **headers: str) -> Answer:
    """As `answer`, through the web server."""
    sent = {"host": "localhost", "content-type": JSON, "content-length": str(len(text)), **headers}
    status, answered, body = ask(
        server,
        [piece(text, more=False)],
        raw_path=path.encode(),
        headers=[(name.replace("_", "-").encode(), sent[name].encode()) for name in sent],
    )
    content = json.loads(body)
    for name in ("time", "received_at"):
        content.pop(name, None)
    answered.pop("server")
    answered.pop("Content-Length")
    return status, answered, content


@BODIES
def test_without_a_thread_it_is_answered_alike(
    server: WebServer, client: FlaskClient, body: Any
) -> None:
    text = json.dumps(body).encode()
    waited = push(server, text, x_request_id="mine")
    held = answer(client, text, headers={"X-Request-ID": "mine"})
    assert_alike(waited, held, body)


def test_ordinary_push_holds_no_thread(server: WebServer) -> None:
    for body in (make_body(), make_body(status="completed")):
        assert push(server, json.dumps(body).encode())[0] == 200
    other_type = "/api/v1/telemetry/restore/job-1"
    assert push(server, json.dumps(make_body(timestamp=at(-1))).encode(), other_type)[0] == 409
    assert server._threads._started == 0


def test_unusual_and_large_pushes_have_a_thread(server: WebServer) -> None:
    disks = [{"disk_index": n, "error_message": "x" * 1_000} for n in range(9)]
    assert push(server, json.dumps(make_body(disks=disks)).encode())[0] == 200
    assert server._threads._started == 1
    assert push(server, b"no JSON")[0] == 400


def test_push_that_is_not_stored_in_time_is_given_up(
    app: Flask, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = app.extensions["hub"].writer
    is_storing, free = threading.Event(), threading.Event()

    def store(conn: Any, items: Any, late_days: int) -> list[Any]:
        is_storing.set()
        free.wait(10)
        return [Unavailable() for _ in items]

    with monkeypatch.context() as patch:
        patch.setattr(writer, "wait_seconds", 0.2)
        patch.setitem(writer._stores, Update, store)
        text = json.dumps(make_body()).encode()
        for _ in range(2):  # one that is being stored, and one that waits
            status, headers, content = push(server, text)
            assert (status, headers["Retry-After"]) == (503, "1")
            assert "did not answer in time" in content["detail"]
            assert is_storing.is_set()
        assert writer.queued == 0
        free.set()
    assert push(server, text)[0] == 200


def test_full_queue_is_a_problem_without_a_thread_too(
    app: Flask, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(items: Any, when_settled: Any) -> None:
        raise QueueFull

    monkeypatch.setattr(app.extensions["hub"].writer, "begin", refuse)
    status, headers, _ = push(server, json.dumps(make_body()).encode())
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert headers["Retry-After"] == "1" and headers["X-Request-ID"]


@contextmanager
def full_queue(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if as much waited as may wait. The storing thread does not look: nothing wakes it."""
    writer = app.extensions["hub"].writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_queue", [None] * writer.capacity)
        yield


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (URL, make_body()),
        (URL, make_body(unknown=1)),
        ("/api/v1/telemetry/batch", {"updates": [make_body(job_id="a", job_type="replication")]}),
        ("/api/v1/telemetry/snapshot", {"node_id": "n"}),
    ],
    ids=["ordinary", "unusual", "batch", "snapshot"],
)
def test_full_queue_refuses_pushes_before_they_are_decoded(
    app: Flask,
    client: FlaskClient,
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
) -> None:
    """As the application would say it, but without a thread and without a look at the body."""
    with full_queue(app, monkeypatch):
        status, headers, content = push(server, json.dumps(body).encode(), path)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert push(server, b"nonsense", path)[0] == 503
        assert server._threads._started == 0
        got = client.post(path, json=body)
        assert (got.status_code, got.get_json()["detail"]) == (503, content["detail"])
    assert push(server, json.dumps(body).encode(), path)[0] == 200


def test_full_queue_is_no_reason_while_the_database_is_away(
    app: Flask, client: FlaskClient, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.extensions["hub"].writer, "_is_down", True)
    with full_queue(app, monkeypatch):
        status, headers, content = push(server, json.dumps(make_body()).encode())
        got = client.post(URL, json=make_body())
    assert (status, headers["Retry-After"]) == (503, "2")
    assert content["detail"] == got.get_json()["detail"] and "database" in content["detail"]


def test_full_queue_stops_nothing_but_pushes(
    app: Flask, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_queue(app, monkeypatch):
        text = json.dumps({"job_id": "a", "job_type": "replication"}).encode()
        assert push(server, text, "/api/v1/jobs")[0] == 201
        health = ask(server, [], method="GET", raw_path=b"/api/v1/health")
        assert json.loads(health[2])["checks"]["writer"]["status"] == "full"


def test_tokens_are_asked_for_without_a_thread_too(guarded_app: Flask, database: Database) -> None:
    server = serve(guarded_app)
    text = json.dumps(make_body()).encode()
    types = frozenset({"restore"})
    for token, status in (
        ("", 401),
        ("nonsense", 401),
        (mint(make_claims("ingest"), FOREIGN_KEYS), 401),
        (make_token("read"), 403),
        (mint(replace(make_claims("ingest"), job_types=types), KEYS), 403),
    ):
        assert push(server, text, authorization=f"Bearer {token}")[0] == status
    with database.reading() as conn:
        assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (0,)
    ending = replace(make_claims("ingest"), expires_at=utc_now() + timedelta(days=3))
    status, headers, _ = push(server, text, authorization=f"Bearer {mint(ending, KEYS)}")
    assert status == 200 and headers[EXPIRES_HEADER]
    assert server._threads._started == 0


def test_rate_of_a_token_counts_without_a_thread_too(config: Config, key_file: Path) -> None:
    app = create_app(replace(config, token_key_file=key_file, token_rate=1))
    server = serve(app)
    bearer = f"Bearer {make_token('ingest')}"
    try:
        answers = [
            push(server, json.dumps(make_body(timestamp=at(-n))).encode(), authorization=bearer)
            for n in range(4)
        ]
    finally:
        close_app(app)
    assert [status for status, _, _ in answers] == [200, 200, 429, 429]
    assert answers[-1][1]["Retry-After"] == "1" and server._threads._started == 0
