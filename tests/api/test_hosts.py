"""Allowed host names, and headers that every answer has."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.config import Config
from app.web.hosts import allowed_hosts, is_allowed
from tests.factories import make_body
from tests.tokens import bearer, make_token

URL = "/api/v1/telemetry/backup/job-1"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8082", "127.0.0.1:8082", "127.1.2.3", "[::1]:8082", "localhost.", ""],
)
def test_names_of_this_machine_are_allowed(host: str) -> None:
    assert is_allowed(host, allowed_hosts(Config()))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8082",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example,localhost",
        "127.0.0.1@evil.example",
        "[::1].evil.example]",
        "192.168.0.7",
        "hub",
    ],
)
def test_open_hub_refuses_other_names(client: FlaskClient, host: str) -> None:
    for answer in (
        client.get("/api/v1/jobs", headers={"Host": host}),
        client.post(URL, json=make_body(), headers={"Host": host}),
    ):
        assert answer.status_code == 400
        assert answer.mimetype == "application/problem+json"
        assert "Host" in answer.get_data(as_text=True)
        assert answer.headers["X-Request-ID"]
    assert client.get("/api/v1/jobs/job-1").status_code == 404, "the update was stored"


def test_health_allows_any_name(client: FlaskClient) -> None:
    assert client.get("/api/v1/health", headers={"Host": "10.0.0.9:8082"}).status_code == 200


def test_hub_with_a_key_allows_any_name(guarded: FlaskClient) -> None:
    headers = {**bearer(make_token("read")), "Host": "hub.example"}
    assert guarded.get("/api/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["a,b", "localhost,localhost", "a b", "a/b", "@a", "[a", ":80"])
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/health", "/", "/nothing"])
def test_what_is_not_one_name_is_refused(
    client: FlaskClient, guarded: FlaskClient, host: str, path: str
) -> None:
    """Two Host headers arrive joined by a comma."""
    for sender in (client, guarded):
        headers = {**bearer(make_token("read")), "Host": host}
        assert sender.get(path, headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["//", "//api/v1/jobs", "///api/v1/health", "//jobs", "/api//v1"])
def test_a_path_with_more_slashes_is_another(client: FlaskClient, path: str) -> None:
    for accepted in ("*/*", "text/html"):
        environ = {"PATH_INFO": path, "HTTP_ACCEPT": accepted}
        answer = client.get("/", environ_overrides=environ)
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    push = {"PATH_INFO": f"/{URL}"}
    assert client.post("/", json=make_body(), environ_overrides=push).status_code == 404
    assert client.get("/api/v1/jobs/job-1").status_code == 404, "the update was stored"


def test_only_listed_names_are_allowed(tmp_path: Path) -> None:
    config = Config(
        host="10.0.0.9", token_key_file=tmp_path / "key", allowed_hosts="Hub.example, other"
    )
    allowed = allowed_hosts(config)
    assert [
        host
        for host in ("hub.example:443", "other", "10.0.0.9:8082", "localhost", "third")
        if is_allowed(host, allowed)
    ] == ["hub.example:443", "other", "10.0.0.9:8082", "localhost"]
    assert is_allowed("whatever", allowed_hosts(Config(allowed_hosts="*")))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/health"),
        ("GET", "/api/v1/jobs"),
        ("GET", "/api/v1/jobs/unknown"),
        ("GET", "/nothing"),
        ("GET", "/api/v1/telemetry/history/unknown"),
        ("GET", "/"),
        ("GET", "/sign-in"),
        ("GET", "/api/v1/docs"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/metrics"),
        ("POST", URL),
        ("POST", "/api/v1/telemetry/batch"),
        ("OPTIONS", URL),
        ("PATCH", URL),
    ],
)
@pytest.mark.parametrize("is_guarded", [False, True])
def test_every_answer_has_the_safe_headers(
    client: FlaskClient, guarded: FlaskClient, method: str, path: str, is_guarded: bool
) -> None:
    sender = guarded if is_guarded else client
    body = make_body() if method == "POST" else None
    answer = sender.open(path, method=method, json=body, buffered=True)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
    assert answer.headers["X-Request-ID"]
    for name in ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options"):
        assert len(answer.headers.getlist(name)) == 1
    if path.startswith("/api/v1") and not path.endswith("docs"):
        policy = answer.headers["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
