"""Refusals, tokens that expire soon, limits by job type, and revocation."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth import watch as watch_module
from app.auth.guard import Guard
from app.auth.tokens import mint
from app.auth.watch import TokenWatch
from app.clock import isoformat
from app.database.pool import Database
from app.errors import Unauthorized
from app.store.tokens import read_tokens, revoke_token
from app.web.admission import COOKIE
from tests.api.conftest import look_for_revoked, record, revoke
from tests.factories import make_body
from tests.tokens import (
    FOREIGN_KEYS,
    KEYS,
    api_key,
    bearer,
    make_claims,
    make_token,
    password,
)
from tools.hub_process import wait_until

PUSH = "/api/v1/telemetry/backup/job-1"
JOBS = "/api/v1/jobs"


def update(job_type: str, job_id: str = "job-1") -> dict[str, Any]:
    """An item of a batch."""
    return make_body(job_type=job_type, job_id=job_id)


# Refusals.


def test_request_without_a_token_says_how_to_send_one(guarded: FlaskClient) -> None:
    answer = guarded.post(PUSH, json=make_body(), headers={"X-Request-ID": "mine"})
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="telemetry-hub"'
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.get_json()
    assert (body["status"], body["title"]) == (401, "Unauthorized")
    assert "Authorization: Bearer" in body["detail"]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (make_token(life=timedelta(hours=-1)), "The token has expired."),
        (make_token(keys=FOREIGN_KEYS), "The token was not issued by this hub."),
    ],
    ids=["expired", "foreign"],
)
def test_bad_token_is_refused_with_a_reason(guarded: FlaskClient, token: str, reason: str) -> None:
    answer = guarded.get(JOBS, headers=bearer(token))
    assert (answer.status_code, answer.get_json()["detail"]) == (401, reason)
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')
    assert token not in answer.get_data(as_text=True)


def test_wrong_scope_names_the_required_one(guarded: FlaskClient) -> None:
    answer = guarded.get(JOBS, headers=bearer(make_token("ingest")))
    assert answer.status_code == 403
    assert answer.get_json()["detail"] == ("This requires scope read; the token has scope ingest.")
    assert 'error="insufficient_scope", scope="read"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "Bearer ", "Token x", "bearer\tx"])
def test_other_authorization_headers_are_refused(guarded: FlaskClient, header: str) -> None:
    assert guarded.get(JOBS, headers={"Authorization": header}).status_code == 401


def test_auth_scheme_is_case_insensitive(guarded: FlaskClient) -> None:
    headers = {"Authorization": f"bEARER  {make_token()} "}
    assert guarded.get(JOBS, headers=headers).status_code == 200


# Other ways to send a token.

EACH_WAY = pytest.mark.parametrize("send", [bearer, password, api_key])
Send = Callable[[str], dict[str, str]]


@EACH_WAY
def test_a_token_counts_alike_however_it_is_sent(guarded: FlaskClient, send: Send) -> None:
    for token, status in (
        (make_token("ingest"), 200),
        (make_token("read"), 403),
        (make_token("ingest", "restore"), 403),
    ):
        answer = guarded.post(PUSH, json=make_body(), headers=send(token))
        assert answer.status_code == status
    assert guarded.get(JOBS, headers=send(make_token("read"))).status_code == 200
    soon = mint(make_claims("read", life=timedelta(days=13)), KEYS)
    assert "Token-Expires" in guarded.get(JOBS, headers=send(soon)).headers


@EACH_WAY
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_bad_token_is_refused_alike_however_it_is_sent(
    guarded: FlaskClient, send: Send, method: str
) -> None:
    for token, reason in (
        (make_token(life=timedelta(hours=-1)), "The token has expired."),
        (make_token(keys=FOREIGN_KEYS), "The token was not issued by this hub."),
    ):
        answer = guarded.open(JOBS, method=method, json={}, headers=send(token))
        assert (answer.status_code, answer.get_json()["detail"]) == (401, reason)
        # A browser that is told of `Basic` would ask for a password.
        assert answer.headers.getlist("WWW-Authenticate") == [
            'Bearer realm="telemetry-hub", error="invalid_token"'
        ]


def test_the_session_is_of_the_token_however_it_is_sent(guarded: FlaskClient) -> None:
    for send in (bearer, password, api_key):
        session = guarded.get("/api/v1/session", headers=send(make_token("admin"))).get_json()
        assert (session["scope"], session["by_cookie"]) == ("admin", False)


@pytest.mark.parametrize(
    "header", [password("a proxy's"), password("a.b.c"), {"Authorization": "Basic \xff"}]
)
def test_the_password_of_a_proxy_hides_no_other_token(
    guarded: FlaskClient, header: dict[str, str]
) -> None:
    token = make_token("read")
    for other in (api_key(token), {"Cookie": f"{COOKIE}={token}"}):
        assert guarded.get(JOBS, headers={**header, **other}).status_code == 200
    assert guarded.get(JOBS, headers=header).status_code == 401


@pytest.mark.parametrize("mark", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_password_that_a_browser_sends_only_allows_reading(
    guarded: FlaskClient, mark: dict[str, str]
) -> None:
    """It sends one that it remembers with requests of other sites, as it does the cookie."""
    headers = {**password(make_token("admin")), **mark}
    assert guarded.get(JOBS, headers=headers).status_code == 200
    refused = guarded.post(PUSH, json=make_body(), headers=headers)
    assert (refused.status_code, "only allows reading" in refused.get_json()["detail"]) == (
        401,
        True,
    )


def test_the_bearer_token_comes_first(guarded: FlaskClient) -> None:
    good, bad = make_token("read"), make_token("admin", keys=FOREIGN_KEYS)
    assert guarded.get(JOBS, headers={**bearer(good), **api_key(bad)}).status_code == 200
    assert guarded.get(JOBS, headers={**bearer(bad), **api_key(good)}).status_code == 401


def test_token_in_the_query_is_ignored(guarded: FlaskClient) -> None:
    token = make_token("admin")
    for query in (f"token={token}", f"access_token={token}", f"Authorization=Bearer {token}"):
        assert guarded.get(f"{JOBS}?{query}").status_code == 401


def test_refused_push_stores_nothing(guarded: FlaskClient) -> None:
    guarded.post(PUSH, json=make_body(), headers=bearer(make_token("read")))
    answer = guarded.get(f"{JOBS}/job-1", headers=bearer(make_token("read")))
    assert answer.status_code == 404


def test_refusals_are_counted_by_route(guarded: FlaskClient) -> None:
    guarded.post(PUSH, json=make_body())
    text = guarded.get("/api/v1/metrics", headers=bearer(make_token())).get_data(as_text=True)
    assert 'hub_refused_total{reason="Unauthorized"}' in text
    route = "/api/v1/telemetry/<job_type:job_type>/<identifier:job_id>"
    assert f'method="POST",route="{route}",status="401"' in text


# Tokens that expire soon.


@pytest.mark.parametrize("path", ["/api/v1/health", JOBS, "/api/v1/telemetry/history/none"])
def test_token_that_expires_soon_is_announced(guarded: FlaskClient, path: str) -> None:
    claims = make_claims("read", life=timedelta(days=13))
    answer = guarded.get(path, headers=bearer(mint(claims, KEYS)))
    assert answer.headers["Token-Expires"] == isoformat(claims.expires_at)


def test_token_that_expires_later_is_not_announced(guarded: FlaskClient) -> None:
    assert "Token-Expires" not in guarded.get(JOBS, headers=bearer(make_token())).headers


def test_push_announces_expiry(guarded: FlaskClient) -> None:
    token = make_token("ingest", life=timedelta(hours=1))
    answer = guarded.post(PUSH, json=make_body(), headers=bearer(token))
    assert answer.status_code == 200
    assert datetime.fromisoformat(answer.headers["Token-Expires"])


# What a sender may read.


def test_a_sender_reads_nothing_of_a_job_by_registering_it(guarded: FlaskClient) -> None:
    """It gets what it sent, of a job that others report too."""
    secret = {"vm_name": "vm-of-others", "error_message": "/home/secret: denied"}
    disks = [{"disk_index": 7, "status": "failed"}]
    body = make_body(**secret, status="failed", disks=disks)
    assert guarded.post(PUSH, json=body, headers=bearer(make_token("admin"))).status_code == 200
    sender, admin = bearer(make_token("ingest")), bearer(make_token("admin"))
    registration = {"job_id": "job-1", "job_type": "backup", "total_bytes": 100_000}
    answer = guarded.post(JOBS, json={**registration, "backup_type": None, "x": 1}, headers=sender)
    assert (answer.status_code, answer.get_json()) == (200, registration)
    answer = guarded.post(JOBS, json={**registration, "vm_name": "guess"}, headers=sender)
    assert answer.status_code == 409
    assert b"of-others" not in answer.data
    new = {**registration, "job_id": "job-2", "disks": [{"disk_index": 0, "size_bytes": 5}]}
    answer = guarded.post(JOBS, json=new, headers=sender)
    assert (answer.status_code, answer.get_json()) == (201, new)
    assert (
        guarded.post(JOBS, json=registration, headers=admin).get_json()["vm_name"] == "vm-of-others"
    )


# Limits by job type.


def test_limited_token_pushes_only_its_job_types(guarded: FlaskClient) -> None:
    headers = bearer(make_token("ingest", "backup", "verify"))
    assert guarded.post(PUSH, json=make_body(), headers=headers).status_code == 200
    other = guarded.post("/api/v1/telemetry/restore/job-2", json=make_body(), headers=headers)
    assert other.status_code == 403
    assert other.get_json()["detail"] == "This token may push only jobs of type backup or verify."


def test_batch_updates_of_other_types_are_rejected_alone(
    guarded: FlaskClient,
) -> None:
    items = [update("backup"), update("restore", "job-2"), {"job_type": "backup"}]
    answer = guarded.post(
        "/api/v1/telemetry/batch",
        json={"updates": items},
        headers=bearer(make_token("ingest", "backup")),
    )
    body = answer.get_json()
    assert (answer.status_code, body["accepted"]) == (200, 1)
    assert [refused["index"] for refused in body["rejected"]] == [1, 2]
    assert body["rejected"][0]["errors"] == {
        "job_type": ["This token may push only jobs of type backup."]
    }


def test_batch_of_other_types_only_is_refused(guarded: FlaskClient) -> None:
    answer = guarded.post(
        "/api/v1/telemetry/batch",
        json={"updates": [update("restore"), {"job_type": "backup"}]},
        headers=bearer(make_token("ingest", "backup")),
    )
    assert answer.status_code == 403


def test_limited_token_cannot_end_other_jobs(guarded: FlaskClient) -> None:
    guarded.post(PUSH, json=make_body(), headers=bearer(make_token("ingest")))
    limited = bearer(make_token("ingest", "restore"))
    path = f"{JOBS}/job-1/complete"
    assert guarded.post(path, json={"status": "completed"}, headers=limited).status_code == 403
    unknown = guarded.post(f"{JOBS}/x/complete", json={"status": "completed"}, headers=limited)
    assert unknown.status_code == 404


def test_node_snapshots_are_a_job_type_of_their_own(guarded: FlaskClient) -> None:
    for types, status in ((("backup",), 403), (("backup", "snapshot"), 200)):
        answer = guarded.post(
            "/api/v1/telemetry/snapshot",
            json={"snapshots": []},
            headers=bearer(make_token("ingest", *types)),
        )
        assert (answer.status_code == 403) is (status == 403)


# Revoking.


@pytest.mark.parametrize(("method", "path"), [("POST", PUSH), ("GET", JOBS)])
def test_revoked_token_is_refused_although_cached(
    guarded_app: Flask, guarded: FlaskClient, database: Database, method: str, path: str
) -> None:
    claims = make_claims("admin")
    headers, body = bearer(mint(claims, KEYS)), make_body() if method == "POST" else None
    record(database, claims)
    assert guarded.open(path, method=method, json=body, headers=headers).status_code == 200
    revoke(database, claims.token_id)
    look_for_revoked(guarded_app)
    answer = guarded.open(path, method=method, json=body, headers=headers)
    assert (answer.status_code, answer.get_json()["detail"]) == (401, "The token is revoked.")


def test_revoking_again_keeps_the_first_time(database: Database) -> None:
    record(database, make_claims())
    revoke(database, make_claims().token_id)
    with database.reading() as conn:
        (first,) = read_tokens(conn)
    revoke(database, make_claims().token_id)
    with database.reading() as conn:
        assert read_tokens(conn) == [first]
        assert revoke_token(conn, "unknown") is None


@pytest.fixture
def own_key_file(tmp_path: Path) -> Path:
    path = tmp_path / "token.key"
    path.touch(mode=0o600)
    path.write_bytes(KEYS[0])
    return path


def test_watch_picks_up_revocation_within_30_seconds(
    database: Database, own_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watch_module.POLL_SECONDS + 2 * 5 < 30  # 5 s each for connecting and the statement
    monkeypatch.setattr(watch_module, "POLL_SECONDS", 0.05)
    guard, claims = Guard(KEYS), make_claims()
    record(database, claims)
    watch = TokenWatch(guard, database, own_key_file)
    watch.start()
    try:
        assert guard.identify(mint(claims, KEYS)) == claims
        revoke(database, claims.token_id)
        wait_until(lambda: is_refused(guard, mint(claims, KEYS)))
    finally:
        watch.stop()
    assert not watch._thread.is_alive()


def test_watch_has_read_the_tokens_once_started(database: Database, own_key_file: Path) -> None:
    claims = make_claims()
    record(database, claims)
    revoke(database, claims.token_id)
    guard = Guard(KEYS)
    watch = TokenWatch(guard, database, own_key_file)
    watch.start()
    watch.stop()
    assert is_refused(guard, mint(claims, KEYS))


def is_refused(guard: Guard, token: str) -> bool:
    try:
        guard.identify(token)
    except Unauthorized:
        return True
    return False


def test_watch_keeps_its_state_while_the_database_is_down_and_logs_once(
    own_key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    guard, claims = Guard(KEYS), make_claims()
    guard.replace_revoked(frozenset({claims.token_id}))
    unreachable = Database(f"postgresql://hub:secret@127.0.0.1:{port}/x", is_embedded=False)
    watch = TokenWatch(guard, unreachable, own_key_file)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.look()
    assert is_refused(guard, mint(claims, KEYS))
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_watch_reloads_the_key_and_ignores_a_broken_file(
    database: Database, own_key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = Guard(KEYS[:1])
    watch = TokenWatch(guard, database, own_key_file)
    own_key_file.write_bytes(b"short")
    watch.look()
    assert guard.identify(make_token())
    assert "less than 32 bytes" in caplog.text
    own_key_file.write_bytes(FOREIGN_KEYS[0])
    watch.look()
    assert guard.identify(make_token(keys=FOREIGN_KEYS))
    assert is_refused(guard, make_token())


# A hub without a key.


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", ""])
def test_without_a_key_local_requests_are_served(client: FlaskClient, address: str) -> None:
    answer = client.get(JOBS, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "0.0.0.0", "name"])
def test_without_a_key_remote_requests_are_refused(client: FlaskClient, address: str) -> None:
    for path in (JOBS, "/", "/api/v1/health"):
        answer = client.get(path, environ_overrides={"REMOTE_ADDR": address})
        assert answer.status_code == 403
        assert "only its own machine" in answer.get_json()["detail"]


FORWARDED = {
    "Forwarded": "for=203.0.113.7",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",  # all that docs/deploy/nginx.conf adds
    "X-Forwarded-Host": "hub.example.org",
    "X-Forwarded-Whatever": "1",
    "Via": "1.1 proxy",
    "X-Real-IP": "203.0.113.7",
}


@pytest.mark.parametrize("name", FORWARDED)
def test_without_a_key_forwarded_requests_are_refused(
    client: FlaskClient, guarded: FlaskClient, name: str
) -> None:
    """The proxy is on this machine; those that it serves may be anywhere."""
    headers = {name: FORWARDED[name], "Host": "localhost"}
    for path in (JOBS, "/", "/api/v1/health", "/static/dashboard/main.js"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403, path
        assert "HUB_TOKEN_KEY_FILE" in answer.get_json()["detail"]
    assert client.post(PUSH, json=make_body(), headers=headers).status_code == 403
    assert client.get(f"{JOBS}/job-1").status_code == 404
    assert guarded.get(JOBS, headers={**headers, **bearer(make_token())}).status_code == 200


def test_with_a_key_the_address_does_not_matter(guarded: FlaskClient) -> None:
    remote = {"REMOTE_ADDR": "10.0.0.7"}
    assert guarded.get(JOBS, environ_overrides=remote).status_code == 401
    headers = bearer(make_token())
    assert guarded.get(JOBS, headers=headers, environ_overrides=remote).status_code == 200


# The OpenAPI document.


def test_openapi_requires_tokens_if_the_hub_does(guarded: FlaskClient, client: FlaskClient) -> None:
    path = "/api/v1/openapi.json"
    document = guarded.get(path, headers=bearer(make_token())).get_json()
    assert document["security"] == [{"token": []}, {"password": []}, {"key": []}]
    schemes = document["components"]["securitySchemes"]
    assert [schemes[name]["scheme"] for name in ("token", "password")] == ["bearer", "basic"]
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    for name in ("health", "session"):
        assert document["paths"][f"/api/v1/{name}"]["get"]["security"] == []
    assert client.get(path).get_json()["security"] == [*document["security"], {}]  # nor without


def test_claims_do_not_leak_between_requests(guarded: FlaskClient) -> None:
    limited = make_claims("ingest", "backup")
    other = replace(limited, job_types=frozenset({"restore"}))
    for claims, status in ((limited, 200), (other, 403), (limited, 200)):
        answer = guarded.post(PUSH, json=make_body(), headers=bearer(mint(claims, KEYS)))
        assert answer.status_code == status
