"""The web server and Flask's route give the same answers to a push."""

from __future__ import annotations

import gzip
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from app import create_app
from app.api.context import hub_of
from app.api.factory import close_app
from app.auth.tokens import mint
from app.clock import utc_now
from app.config import Config
from app.database.pool import Database
from app.domain.updates import Update
from app.errors import QueueFull, Unavailable
from app.logs import request_id
from app.server.asgi import Server
from app.web.admission import EXPIRES_HEADER
from app.web.push import _find_target
from tests.asgi import ask, piece
from tests.factories import at, make_body
from tests.tokens import FOREIGN_KEYS, KEYS, make_claims, make_token

URL = "/api/v1/telemetry/backup/job-1"
BATCH = "/api/v1/telemetry/batch"
JSON = "application/json"

Answer = tuple[int, dict[str, str], Any]
Push = Callable[..., Answer]  # of an application: a body or its text, a path, headers


def push_to_flask(app: Flask, body: Any, path: str = URL, **headers: str) -> Answer:
    """Status, headers and content of the answer of Flask's route."""
    got = app.test_client(use_cookies=False).post(
        path, data=as_text(body), headers=named({"content_type": JSON, **headers})
    )
    return got.status_code, without_length(dict(got.headers)), comparable(got.get_json())


def push_to_server(app: Flask, body: Any, path: str = URL, **headers: str) -> Answer:
    """The same from the web server, which answers small and common pushes without a thread."""
    return push_over(Server(hub_of(app), app), body, path, **headers)


def push_over(server: Server, body: Any, path: str = URL, **headers: str) -> Answer:
    text = as_text(body)
    sent = {"host": "localhost", "content_length": str(len(text)), "content_type": JSON, **headers}
    status, answered, content = ask(
        server,
        [piece(text, more=False)],
        raw_path=path.encode(),
        headers=[(name.lower().encode(), value.encode()) for name, value in named(sent).items()],
    )
    assert answered.pop("server") == ""
    return status, without_length(answered), comparable(json.loads(content))


def as_text(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def without_length(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Content-Length"}


def comparable(content: dict[str, Any]) -> dict[str, Any]:
    """The content without what differs between requests."""
    return {name: content[name] for name in content if name not in ("time", "received_at")}


WAYS = {"server": push_to_server, "flask": push_to_flask}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def push(request: pytest.FixtureRequest) -> Push:
    """Each of the two ways."""
    way: Push = request.param
    return way


@pytest.fixture
def server(app: Flask) -> Server:
    return Server(hub_of(app), app)


@contextmanager
def full_queue(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the queue look full."""
    with monkeypatch.context() as patch:
        patch.setattr(hub_of(app).writer._queue, "capacity", 0)
        yield


EACH_BODY = pytest.mark.parametrize(
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
        make_body(unknown=1),
        [],
    ],
)


@EACH_BODY
def test_both_ways_give_the_same_answer(app: Flask, body: Any) -> None:
    first = push_to_server(app, body, x_request_id="mine")
    second = push_to_flask(app, body, x_request_id="mine")
    if first[0] == 200 and body.get("timestamp"):  # with a timestamp the second is a duplicate
        assert not first[2].pop("duplicate")
        assert second[2].pop("duplicate")
        assert first[2].pop("applied")
        assert not second[2].pop("applied")
        first[2].pop("reason"), second[2].pop("reason")
    assert first == second


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/telemetry/backup/a/b", 400),
        ("/api/v1/telemetry/Backup/a", 400),
        ("/api/v1/telemetry/backup/.", 400),
        ("/api/v1/telemetry/history/a", 405),
        ("/api/v1/telemetry/backup", 404),
    ],
)
def test_both_ways_refuse_a_bad_path_alike(app: Flask, path: str, status: int) -> None:
    answers = [way(app, make_body(), path, x_request_id="mine") for way in WAYS.values()]
    assert answers[0] == answers[1]
    assert answers[0][0] == status


class TestEitherWay:
    """What holds for both ways."""

    @pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
    def test_update_is_stored_before_the_answer(
        self, app: Flask, database: Database, push: Push, status: str
    ) -> None:
        got = push(app, make_body(status=status))
        assert (got[0], got[2]["accepted"], got[2]["status"]) == (200, True, status)
        with database.reading() as conn:
            assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (1,)

    @pytest.mark.parametrize(
        ("path", "content_type", "status"),
        [
            ("/api/v1/telemetry/backup/%C3%BC", JSON, 200),
            (URL, "application/json; charset=UTF-8", 200),
            (URL, "application/json; charset=latin-1", 200),
            (URL, "text/plain", 415),
            (URL, "", 415),
        ],
    )
    def test_content_types_and_encoded_ids(
        self, app: Flask, push: Push, path: str, content_type: str, status: int
    ) -> None:
        assert push(app, make_body(), path, content_type=content_type)[0] == status

    def test_compressed_update(self, app: Flask, push: Push) -> None:
        compressed = gzip.compress(as_text(make_body()))
        assert push(app, compressed, content_encoding="gzip")[0] == 200
        assert push(app, compressed[:-9], content_encoding="gzip")[0] == 400
        assert push(app, compressed, content_encoding="br")[0] == 415

    def test_batch(self, app: Flask, push: Push) -> None:
        good = {**make_body(), "job_type": "backup", "job_id": "a"}
        got = push(app, {"updates": [good, {"status": "asleep"}, good]}, BATCH)
        assert (got[0], got[2]["accepted"], got[2]["duplicates"]) == (200, 1, 1)
        assert [each["index"] for each in got[2]["rejected"]] == [1]

    def test_batch_without_a_valid_update(self, app: Flask, push: Push) -> None:
        got = push(app, {"updates": [{"status": "asleep"}]}, BATCH)
        assert (got[0], got[2]["accepted"], len(got[2]["rejected"])) == (200, 0, 1)
        assert push(app, {"updates": []}, BATCH)[2]["accepted"] == 0

    def test_ndjson(self, app: Flask, push: Push) -> None:
        line = as_text({**make_body(), "job_type": "backup", "job_id": "a"})
        got = push(app, line + b"\n{\n", BATCH, content_type="application/x-ndjson")
        assert (got[0], got[2]["accepted"], len(got[2]["rejected"])) == (200, 1, 1)

    @pytest.mark.parametrize("prefix", ["/api/v1", "/api"])
    def test_snapshot(self, app: Flask, push: Push, prefix: str) -> None:
        got = push(app, {"node_id": "n", "cpu_percent": 5}, f"{prefix}/telemetry/snapshot")
        assert (got[0], got[2]["accepted"]) == (200, 1)

    def test_conflict_names_its_field(self, app: Flask, push: Push) -> None:
        push(app, make_body())
        got = push(app, make_body(timestamp=at(-1)), "/api/v1/telemetry/restore/job-1")
        assert got[0] == 409
        assert list(got[2]["errors"]) == ["job_type"]

    def test_refusal_by_the_writer_is_a_problem(
        self, app: Flask, push: Push, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise QueueFull

        monkeypatch.setattr(hub_of(app).writer, "begin", refuse)
        status, headers, _ = push(app, make_body())
        assert (status, headers["Content-Type"]) == (503, "application/problem+json")
        assert headers["Retry-After"] == "1"
        assert headers["X-Request-ID"]

    def test_requests_are_counted_under_their_rule(self, app: Flask, push: Push) -> None:
        rule = 'route="/api/v1/telemetry/<job_type:job_type>/<identifier:job_id>",status="200"'
        before = count_of(app, rule)
        push(app, make_body())
        assert count_of(app, rule) == before + 1

    def test_refusals_are_counted_by_their_reason(self, app: Flask, push: Push) -> None:
        before = count_of(app, 'hub_refused_total{reason="UnsupportedMediaType"}')
        push(app, make_body(), content_type="text/plain")
        assert count_of(app, 'hub_refused_total{reason="UnsupportedMediaType"}') == before + 1

    @pytest.mark.parametrize("is_expected", [True, False])
    def test_every_answer_has_the_safe_headers_and_an_id(
        self, app: Flask, push: Push, is_expected: bool
    ) -> None:
        _, headers, _ = push(app, make_body() if is_expected else b"nonsense")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Request-ID"] != push(app, make_body())[1]["X-Request-ID"]
        assert push(app, make_body(), x_request_id="mine")[1]["X-Request-ID"] == "mine"
        assert push(app, make_body(), x_request_id="no id!")[1]["X-Request-ID"] != "no id!"

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (URL, make_body()),
            (URL, make_body(unknown=1)),
            (BATCH, {"updates": [make_body(job_id="a", job_type="replication")]}),
            ("/api/v1/telemetry/snapshot", {"node_id": "n"}),
        ],
        ids=["ordinary", "unusual", "batch", "snapshot"],
    )
    def test_full_queue_refuses_before_decoding(
        self,
        app: Flask,
        push: Push,
        monkeypatch: pytest.MonkeyPatch,
        path: str,
        body: dict[str, Any],
    ) -> None:
        with full_queue(app, monkeypatch):
            for sent in (body, b"nonsense"):
                status, headers, content = push(app, sent, path)
                assert (status, headers["Retry-After"]) == (503, "1")
                assert "waiting to be stored" in content["detail"]
        assert push(app, body, path)[0] == 200

    def test_full_queue_is_not_reported_while_the_database_is_down(
        self, app: Flask, push: Push, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_of(app).writer, "_is_down", True)
        with full_queue(app, monkeypatch):
            status, headers, content = push(app, make_body())
        assert (status, headers["Retry-After"]) == (503, "2")
        assert "database" in content["detail"]

    def test_full_queue_affects_only_pushes(
        self, app: Flask, push: Push, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with full_queue(app, monkeypatch):
            job = {"job_id": "a", "job_type": "replication"}
            assert push(app, job, "/api/v1/jobs")[0] == 201
            health = app.test_client().get("/api/v1/health")
            assert health.get_json()["checks"]["writer"]["status"] == "full"

    def test_update_that_is_not_stored_in_time_is_given_up(
        self, app: Flask, push: Push, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = hub_of(app).writer
        is_storing, free = threading.Event(), threading.Event()

        def store(conn: Any, items: Any, late_days: int) -> list[Any]:
            is_storing.set()
            free.wait(30)
            return [Unavailable() for _ in items]

        with monkeypatch.context() as patch:
            patch.setattr(writer, "wait_seconds", 0.2)
            patch.setitem(writer._stores, Update, store)
            for _ in range(2):  # one being stored, and one queued
                status, headers, content = push(app, make_body())
                assert (status, headers["Retry-After"]) == (503, "1")
                assert "did not answer in time" in content["detail"]
                assert is_storing.is_set()
            assert writer.queued == 0
            free.set()
        assert push(app, make_body())[0] == 200

    def test_token_is_required(self, guarded_app: Flask, database: Database, push: Push) -> None:
        types = frozenset({"restore"})
        for token, status in (
            ("", 401),
            ("nonsense", 401),
            (mint(make_claims("ingest"), FOREIGN_KEYS), 401),
            (make_token("read"), 403),
            (mint(replace(make_claims("ingest"), job_types=types), KEYS), 403),
        ):
            got = push(guarded_app, make_body(), authorization=f"Bearer {token}")
            assert got[0] == status
            assert got[1]["WWW-Authenticate"].startswith('Bearer realm="telemetry-hub"')
            assert got[1]["Cache-Control"] == "no-store"
        with database.reading() as conn:
            assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (0,)

    def test_token_that_expires_soon_is_announced(self, guarded_app: Flask, push: Push) -> None:
        ending = replace(make_claims("ingest"), expires_at=utc_now() + timedelta(days=3))
        bearer = f"Bearer {mint(ending, KEYS)}"
        for body, expected in ((make_body(), 200), ({}, 400), (b"x" * (2 << 20), 413)):
            status, headers, _ = push(guarded_app, body, authorization=bearer)
            assert status == expected
            assert headers[EXPIRES_HEADER]

    def test_rate_of_a_token(self, config: Config, key_file: Path, push: Push) -> None:
        app = create_app(replace(config, token_key_file=key_file, token_rate=1))
        ending = replace(make_claims("ingest"), expires_at=utc_now() + timedelta(days=3))
        bearer = f"Bearer {mint(ending, KEYS)}"
        try:
            answers = [
                push(app, make_body(timestamp=at(-n)), authorization=bearer) for n in range(4)
            ]
        finally:
            close_app(app)
        assert [status for status, _, _ in answers] == [200, 200, 429, 429]
        assert answers[-1][1]["Retry-After"] == "1"
        assert answers[-1][1][EXPIRES_HEADER]


def count_of(app: Flask, series: str) -> float:
    """The value of the series of /metrics with this text; 0 without one."""
    text = app.test_client().get("/api/v1/metrics").get_data(as_text=True)
    values = [line.rpartition(" ")[2] for line in text.splitlines() if series in line]
    return float(values[0]) if values else 0.0


# The web server only.


def test_path_that_is_not_utf_8_is_refused(app: Flask) -> None:
    status, _, content = push_to_server(app, make_body(), "/api/v1/telemetry/backup/%FF")
    assert (status, list(content["errors"])) == (400, ["path"])


def test_push_does_not_reach_flask(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_flask_app", None)
    bodies = {
        URL: make_body(),
        "/api/v1/telemetry/backup/%C3%BC": make_body(unknown=1),
        BATCH: {"updates": []},
        "/api/v1/telemetry/snapshot": {"node_id": "n"},
    }
    for path, body in bodies.items():
        assert push_over(server, body, path)[0] == 200


def test_ordinary_push_uses_no_thread(server: Server) -> None:
    for body in (make_body(), make_body(status="completed")):
        assert push_over(server, body)[0] == 200
    other_type = "/api/v1/telemetry/restore/job-1"
    assert push_over(server, make_body(timestamp=at(-1)), other_type)[0] == 409
    assert server._threads._started == 0


def test_refusals_use_no_thread(guarded_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(hub_of(guarded_app), guarded_app)
    assert push_over(server, make_body())[0] == 401
    with full_queue(guarded_app, monkeypatch):
        assert push_over(server, {"updates": []}, BATCH)[0] == 503
    assert server._threads._started == 0


def test_unusual_and_large_pushes_are_decoded_in_a_thread(server: Server) -> None:
    disks = [{"disk_index": n, "error_message": "x" * 1_000} for n in range(9)]
    assert push_over(server, make_body(disks=disks))[0] == 200
    assert server._threads._started == 1
    assert push_over(server, b"no JSON")[0] == 400


def test_unexpected_error_is_logged_with_the_id_of_its_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        ids.append(request_id.get())
        raise RuntimeError("a defect")

    ids: list[str] = []
    monkeypatch.setattr("app.web.push.decode_batch", fail)
    log = logging.getLogger("hub.web")
    monkeypatch.setattr(log, "error", lambda *_, **__: ids.append(request_id.get()))
    assert push_over(server, {"updates": []}, BATCH, x_request_id="mine")[0] == 500
    assert ids == ["mine", "mine"]


def test_long_paths_are_not_remembered(server: Server) -> None:
    """They would fill the memory, and need no token."""
    before = _find_target.cache_info().currsize
    for number in range(3):
        path = f"/api/v1/telemetry/backup/{'%F0%9F%98%80' * 400}{number}"
        assert push_over(server, b"", path)[0] == 400
    assert _find_target.cache_info().currsize == before
    longest = f"/api/v1/telemetry/{'t' * 50}/{'i' * 255}"
    assert push_over(server, make_body(), longest)[0] == 200
    assert _find_target.cache_info().currsize == before + 1


def test_receipt_of_a_large_batch(server: Server) -> None:
    good = {**make_body(), "job_type": "backup", "job_id": "a"}
    updates = [{**good, "bytes_transferred": number} for number in range(300)]
    status, _, content = push_over(server, {"updates": [*updates, *[5] * 300]}, BATCH)
    assert (status, content["accepted"], len(content["rejected"])) == (200, 300, 300)


class Failing(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        raise ConnectionResetError


# Flask only: a WSGI server may pass on an incomplete body.


@pytest.mark.parametrize("missing", [1, 1000])
def test_truncated_body_is_refused_even_if_it_is_valid_json(app: Flask, missing: int) -> None:
    body = as_text(make_body())
    environ = create_environ(URL, method="POST", data=body, content_type=JSON)
    environ["CONTENT_LENGTH"] = str(len(body) + missing)
    answer = Response.from_app(app.wsgi_app, environ)
    assert answer.status_code == 400
    assert json.loads(answer.data)["errors"]["body"][0].startswith("Is truncated")


def test_body_of_a_failing_connection_is_refused(app: Flask) -> None:
    environ = create_environ(URL, method="POST", data=b"{}", content_type=JSON)
    environ["wsgi.input"] = Failing()
    answer = Response.from_app(app.wsgi_app, environ)
    assert answer.status_code == 400
    assert list(json.loads(answer.data)["errors"]) == ["body"]


def test_a_refusal_that_names_many_fields_is_sent(server: Server) -> None:
    """It is larger than the answers that are sent at once."""
    disks = [{"disk_index": n, "status": "odd"} for n in range(600)]
    status, _, content = push_over(server, make_body(disks=disks))
    assert status == 400
    assert len(content["errors"]) == 600
