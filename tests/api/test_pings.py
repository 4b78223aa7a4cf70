"""Pings start and end runs, by the web server and by Flask's route alike."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api.context import hub_of
from app.database.pool import Database
from app.errors import QueueFull
from app.logs import JsonFormatter
from app.server.asgi import Server
from app.web.admission import COOKIE
from app.web.rate import TokenRate
from tests.asgi import ask, piece
from tests.tokens import (
    FOREIGN_KEYS,
    api_key,
    bearer,
    make_token,
    password,
)

Answer = tuple[int, dict[str, str], str]


def ping_flask(
    app: Flask, path: str, body: bytes = b"", method: str = "GET", **headers: str
) -> Answer:
    client = app.test_client(use_cookies=False)
    got = client.open(path, method=method, data=body, headers=named(headers))
    return got.status_code, dict(got.headers), got.get_data(as_text=True)


def ping_server(
    app: Flask, path: str, body: bytes = b"", method: str = "GET", **headers: str
) -> Answer:
    raw_path, _, query = path.partition("?")
    sent = {"content-length": str(len(body)), **named(headers)}
    status, answered, content = ask(
        Server(hub_of(app), app),
        [piece(body, more=False)],
        method=method,
        raw_path=raw_path.encode(),
        query_string=query.encode(),
        headers=[(name.lower().encode(), value.encode()) for name, value in sent.items()],
    )
    return status, answered, content.decode()


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


Ping = Callable[..., Answer]
WAYS = {"server": ping_server, "flask": ping_flask}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def ping(request: pytest.FixtureRequest) -> Ping:
    """Each of the two ways."""
    way: Ping = request.param
    return way


def read(client: FlaskClient, job_id: str = "nightly", **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/v1/jobs/{job_id}", headers=headers).get_json()
    return found


def events(client: FlaskClient, job_id: str = "nightly", run: int = 1) -> list[tuple[Any, ...]]:
    items = client.get(f"/api/v1/jobs/{job_id}/events?run={run}").get_json()["items"]
    return [(item["kind"], item["to_status"], item["evidence"].get("output", "")) for item in items]


def runs(client: FlaskClient, job_id: str = "nightly") -> list[tuple[int, str]]:
    items = client.get(f"/api/v1/jobs/{job_id}/runs").get_json()["items"]
    return sorted((item["run"], item["status"]) for item in items)


# What a ping does.


def test_a_run_starts_and_ends(app: Flask, client: FlaskClient, ping: Ping) -> None:
    status, headers, text = ping(app, "/ping/nightly/start")
    assert (status, text) == (200, "OK")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Ping-Body-Limit"] == "10000"
    job = read(client)
    assert (job["status"], job["job_type"]) == ("running", "backup")
    assert job["thresholds"]["stall_after_seconds"]["value"] == 72 * 3600
    assert ping(app, "/ping/nightly", b"all is well", "POST")[0] == 200
    job = read(client)
    assert (job["status"], job["run"], job["error_message"]) == ("completed", 1, None)
    assert job["duration_seconds"] > 0
    assert events(client) == [
        ("transition", "running", ""),
        ("transition", "completed", "all is well"),
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_each_method_counts(app: Flask, client: FlaskClient, ping: Ping, method: str) -> None:
    assert ping(app, "/ping/nightly/3", method=method)[0] == 200
    job = read(client)
    assert (job["status"], job["error_message"]) == ("failed", "Exited with 3.")


def test_other_methods_do_not(app: Flask, client: FlaskClient, ping: Ping) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert ping(app, "/ping/nightly", method=method)[0] == 405
    assert ping(app, "/ping/nightly", method="OPTIONS")[0] == 200
    assert client.get("/api/v1/jobs/nightly").status_code == 404


def test_an_end_alone_is_a_run_without_length(app: Flask, client: FlaskClient, ping: Ping) -> None:
    ping(app, "/ping/nightly?create=1&job_type=replication")
    job = read(client)
    assert (job["status"], job["job_type"]) == ("completed", "replication")
    assert job["started_at"] == job["completed_at"]


def test_a_body_of_any_type_is_taken_and_its_end_is_kept(
    app: Flask, client: FlaskClient, ping: Ping
) -> None:
    body = b"x" * 200_000 + b"\nno space left"
    sent = {"content_type": "application/x-www-form-urlencoded"}  # what curl says of any body
    assert ping(app, "/ping/nightly/fail", body, "POST", **sent)[0] == 200
    assert read(client)["error_message"].endswith("x\nno space left")
    (failed,) = events(client)
    assert failed[2] == "…" + body[-10_000:].decode()
    packed = gzip.compress(b'{"status": "running"}')
    json_sent = {"content_type": "application/json", "content_encoding": "gzip"}
    assert ping(app, "/ping/other", packed, "POST", **json_sent)[0] == 200
    assert events(client, "other") == [("transition", "completed", '{"status": "running"}')]


def test_a_log_changes_no_status(
    app: Flask, client: FlaskClient, ping: Ping, database: Database
) -> None:
    status, _, text = ping(app, "/ping/nightly/log", b"?", "POST")
    assert (status, json.loads(text)["detail"]) == (404, "There is no job nightly.")
    ping(app, "/ping/nightly/start")
    before = read(client)
    for words in (b"half way", b"half way"):
        assert ping(app, "/ping/nightly/log", words, "POST")[0] == 200
    after = read(client)
    for name in ("status", "last_telemetry_at", "error_message", "warnings"):
        assert after[name] == before[name]
    ping(app, "/ping/nightly/1")
    ping(app, "/ping/nightly/log", b"bye", "POST")
    assert read(client)["status"] == "failed"
    assert events(client) == [
        ("transition", "running", ""),
        ("log", None, "half way"),
        ("log", None, "half way"),
        ("transition", "failed", ""),
        ("log", None, "bye"),
    ]
    with database.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (2,)


def test_a_job_of_another_type_is_refused(app: Flask, client: FlaskClient, ping: Ping) -> None:
    ping(app, "/ping/nightly?job_type=restore")
    for signal in ("", "/start", "/log"):
        assert ping(app, f"/ping/nightly{signal}")[0] == 409
    assert runs(client) == [(1, "completed")]


@pytest.mark.parametrize(
    "path",
    [
        "/ping/",
        "/ping/start",
        "/ping/a/b",
        "/ping/a/start/b",
        "/ping/a?rid=x",
        "/ping/a?job_type=A",
        "/ping/%ff",
        "/ping/a%00",
    ],
)
def test_a_bad_ping_is_refused_with_a_reason(
    app: Flask, client: FlaskClient, ping: Ping, path: str
) -> None:
    status, headers, text = ping(app, path)
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(text)["errors"]
    assert client.get("/api/v1/jobs").get_json()["items"] == []


def test_a_full_queue_refuses_pings_as_any_push(
    app: Flask, ping: Ping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise QueueFull

    monkeypatch.setattr(hub_of(app).writer, "refuse_if_full", refuse)
    status, headers, _ = ping(app, "/ping/nightly")
    assert (status, "Retry-After" in headers) == (503, True)


def test_pings_are_one_route_of_the_metrics(app: Flask, client: FlaskClient, ping: Ping) -> None:
    ping(app, "/ping/only-in-this-test/start")
    text = client.get("/api/v1/metrics").get_data(as_text=True)
    assert 'method="GET",route="/ping/' in text
    assert "only-in-this-test" not in text


# Runs.


def test_each_start_begins_a_run(app: Flask, client: FlaskClient, ping: Ping) -> None:
    for signal in ("start", "0", "start", "1", "start"):
        ping(app, f"/ping/nightly/{signal}")
    assert runs(client) == [(1, "completed"), (2, "failed"), (3, "running")]


def test_an_end_that_is_repeated_is_of_its_run(app: Flask, client: FlaskClient, ping: Ping) -> None:
    for signal in ("start", "0", "0"):
        assert ping(app, f"/ping/nightly/{signal}")[0] == 200
    assert runs(client) == [(1, "completed")]


def test_an_end_long_after_the_last_is_a_run(
    app: Flask, client: FlaskClient, ping: Ping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.runs.GRACE", 0)
    for signal in ("0", "0", "1"):
        ping(app, f"/ping/nightly/{signal}")
    assert runs(client) == [(1, "completed"), (2, "completed"), (3, "failed")]


def test_rid_names_the_run_whatever_the_order(app: Flask, client: FlaskClient, ping: Ping) -> None:
    first, second, third = (str(uuid4()) for _ in range(3))
    for signal, run in (
        ("/start", first),
        ("/start", first),  # the answer was lost
        ("/start", second),  # while the first goes on
        ("/log", first),
        ("/7", first),
        ("/start", first),  # delayed: the run has ended
        ("", second),
        ("", second),
        ("/7", third),  # without a start
    ):
        assert ping(app, f"/ping/nightly{signal}?rid={run}")[0] == 200
    assert runs(client) == [(1, "failed"), (2, "completed"), (3, "failed")]
    assert [kind for kind, *_ in events(client)] == ["transition", "log", "transition"]
    assert [status for _, status, _ in events(client, run=2)] == ["running", "completed"]


def test_rid_begins_a_run_at_once_after_another(
    app: Flask, client: FlaskClient, ping: Ping
) -> None:
    for signal in ("/1", "/0"):
        ping(app, f"/ping/nightly{signal}?rid={uuid4()}")
    assert runs(client) == [(1, "failed"), (2, "completed")]


# Who may ping.


@pytest.mark.parametrize("send", [bearer, password, api_key])
def test_a_token_may_be_sent_as_usual(
    guarded_app: Flask, ping: Ping, send: Callable[[str], dict[str, str]]
) -> None:
    headers = {name.replace("-", "_"): value for name, value in send(make_token("ingest")).items()}
    assert ping(guarded_app, "/ping/nightly", **headers)[0] == 200


def test_the_token_may_be_in_the_path(guarded_app: Flask, guarded: FlaskClient, ping: Ping) -> None:
    token = make_token("ingest")
    for path in ("nightly/start", "nightly", "101", "101/0", "nightly/log?create=1"):
        assert ping(guarded_app, f"/ping/{token}/{path}")[0] == 200
    answer = guarded.get("/api/v1/jobs", headers=bearer(make_token("read")))
    assert {job["job_id"] for job in answer.get_json()["items"]} == {"nightly", "101"}
    assert token not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (make_token("ingest", keys=FOREIGN_KEYS), 401),
        (make_token("read"), 403),
        (make_token("ingest", "restore"), 403),
        ("not-a-token", 401),
    ],
)
def test_a_bad_token_in_the_path_is_refused_and_never_shown(
    guarded_app: Flask, ping: Ping, token: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("nightly", "nightly/start", "", "a/b/c"):
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
            got, headers, text = ping(guarded_app, f"/ping/{token}/{path}", method=method)
            is_bad = method in ("PUT", "OPTIONS") or path in ("", "a/b/c")
            assert got == status or (is_bad and status == 403 and got in (200, 400, 405))
            assert token not in f"{headers}{text}"
    assert_not_shown(token, guarded_app, caplog)


def test_a_good_token_in_the_path_is_never_shown(
    guarded_app: Flask, ping: Ping, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = make_token("ingest")
    statuses = []
    bad = ("start", "nightly/strat", "", "a/b/c", "a?rid=1", token, f"{token}/start/{token}")
    for path in ("nightly", "nightly/start", *bad):
        for method in ("GET", "POST", "PUT"):
            got, headers, text = ping(guarded_app, f"/ping/{token}/{path}", method=method)
            assert token not in f"{headers}{text}"
            statuses.append(got)
    assert statuses[:3] == [200, 200, 405]
    assert statuses[6::3] == [400] * len(bad)
    assert_not_shown(token, guarded_app, caplog)


def assert_not_shown(token: str, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    formatter = JsonFormatter()
    assert not any(token in formatter.format(record) for record in caplog.records)
    headers = bearer(make_token("read"))
    metrics = app.test_client().get("/api/v1/metrics", headers=headers).get_data(as_text=True)
    assert token not in metrics


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_browser_cannot_be_made_to_ping(
    guarded_app: Flask, app: Flask, ping: Ping, method: str
) -> None:
    cookie = {"cookie": f"{COOKIE}={make_token('admin')}"}
    assert ping(guarded_app, "/ping/nightly", method=method, **cookie)[0] in (401, 403)
    for mark in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "none"},
        {"origin": "https://example.org"},
        {"sec_purpose": "prefetch"},
        {"purpose": "prefetch"},
    ):
        for hub in (app, guarded_app):
            path = f"/ping/{make_token('ingest')}/nightly"
            assert ping(hub, path, method=method, **mark)[0] == 403


def test_a_ping_by_get_counts_towards_the_rate(
    guarded_app: Flask, ping: Ping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_of(guarded_app).admission, "_rate", TokenRate(0.5))
    token = make_token("ingest")
    statuses = [ping(guarded_app, f"/ping/{token}/nightly")[0] for _ in range(2)]
    assert statuses == [200, 429]
