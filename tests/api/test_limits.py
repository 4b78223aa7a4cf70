"""Every limit is enforced, and its refusal names the limit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.api.factory import close_app
from app.auth.tokens import mint
from app.config import Config
from app.database.pool import Database, translated_errors
from app.errors import TooManyUpdates, Unavailable
from app.schemas.decode import LARGEST_BATCH
from app.schemas.updates import HIGHEST_DISK_INDEX
from app.web.rate import BURST_SECONDS, TokenRate
from tests.factories import make_body
from tests.tokens import KEYS, bearer, make_claims

URL = "/api/v1/telemetry/backup/job-1"
BATCH = "/api/v1/telemetry/batch"
RATE = 5


def assert_problem(answer: TestResponse, status: int, part: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    body = json.loads(answer.get_data())
    assert body["status"] == status
    assert part in body["detail"]
    assert answer.headers["X-Request-ID"]


def updates(count: int) -> dict[str, Any]:
    one = {"job_type": "backup", "job_id": "job-1", "status": "running"}
    return {"updates": [{**one, "bytes_transferred": number} for number in range(count)]}


# Sizes and counts.


def test_single_body_is_limited(client: FlaskClient) -> None:
    answer = client.post(URL, json=make_body(error="x" * (1 << 20)))
    assert_problem(answer, 413, "larger than 1048576 bytes")


@pytest.mark.parametrize("path", [BATCH, "/api/v1/telemetry/snapshot"])
def test_batch_body_is_limited(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data=b" " * ((16 << 20) + 1), content_type="application/json")
    assert_problem(answer, 413, "larger than 16777216 bytes")


@pytest.mark.parametrize(("path", "limit"), [(URL, 1 << 20), (BATCH, 16 << 20)])
def test_decompressed_body_is_limited(client: FlaskClient, path: str, limit: int) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = client.post(path, data=gzip.compress(b" " * (limit + 1)), headers=headers)
    assert_problem(answer, 413, f"larger than {limit} bytes after decompression")


def test_updates_of_a_batch_are_limited(client: FlaskClient) -> None:
    assert_problem(client.post(BATCH, json=updates(LARGEST_BATCH + 1)), 400, "at most 10000")


def test_disks_of_an_update_are_limited(client: FlaskClient) -> None:
    """Each index once, up to the highest: so 1,024 of them."""
    most = HIGHEST_DISK_INDEX + 1
    disks = [{"disk_index": index} for index in range(most)]
    assert client.post(URL, json=make_body(disks=disks)).status_code == 200
    over = client.post(URL, json=make_body(disks=[*disks, {"disk_index": most}]))
    assert_problem(over, 400, f"disks.{most}.disk_index")
    twice = client.post(URL, json=make_body(disks=[*disks, {"disk_index": 0}]))
    assert_problem(twice, 400, "disks")


@pytest.mark.parametrize("path", ["jobs", "machines", "nodes", "jobs/job-1/events"])
@pytest.mark.parametrize("limit", ["501", "0", "-1", "1e9"])
def test_lists_are_limited(client: FlaskClient, path: str, limit: str) -> None:
    client.post(URL, json=make_body())
    assert_problem(client.get(f"/api/v1/{path}?limit={limit}"), 400, "limit")


@pytest.mark.parametrize("points", ["9", "5001"])
def test_points_of_a_chart_are_limited(client: FlaskClient, points: str) -> None:
    client.post(URL, json=make_body())
    answer = client.get(f"/api/v1/telemetry/history/job-1?points={points}")
    assert_problem(answer, 400, "points")


@pytest.mark.server
def test_reads_are_limited_in_time(database: Database) -> None:
    with database.reading() as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("30s",)


def test_timed_out_read_can_be_retried() -> None:
    with pytest.raises(Unavailable, match="took too long"), translated_errors():
        raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")


# The rate of a token.


@pytest.fixture(scope="module")
def running_rated_app(config: Config, key_file: Path) -> Iterator[Flask]:
    app = create_app(replace(config, token_key_file=key_file, token_rate=RATE))
    yield app
    close_app(app)


@pytest.fixture
def rated(running_rated_app: Flask, database: Database) -> FlaskClient:
    """The client of a hub that accepts RATE updates a second from each token."""
    return running_rated_app.test_client(use_cookies=False)


_IDS = count()


def new_token(scope: str) -> dict[str, str]:
    """The header of a token that no other test has used."""
    claims = replace(make_claims(scope), token_id=f"rated-{next(_IDS)}")
    return bearer(mint(claims, KEYS))


def push_until_refused(client: FlaskClient, headers: dict[str, str]) -> tuple[int, TestResponse]:
    for pushed in range(1000):
        answer = client.post(URL, json=make_body(), headers=headers)
        if answer.status_code != 200:
            return pushed, answer
    raise AssertionError("never refused")


def test_token_over_its_rate_gets_429_with_retry_after(rated: FlaskClient) -> None:
    sender = new_token("ingest")
    pushed, answer = push_until_refused(rated, sender)
    assert pushed >= RATE * BURST_SECONDS
    assert_problem(answer, 429, "5 updates a second")
    assert answer.headers["Retry-After"] == "1"
    other = rated.post(URL, json=make_body(), headers=new_token("ingest"))
    assert other.status_code == 200, "each token has its own rate"


def test_batch_is_charged_by_its_updates(rated: FlaskClient) -> None:
    sender = new_token("ingest")
    assert rated.post(BATCH, json=updates(100), headers=sender).status_code == 200
    answer = rated.post(URL, json=make_body(), headers=sender)
    assert_problem(answer, 429, "try again in")
    assert 10 <= int(answer.headers["Retry-After"]) <= 19  # 100 less the burst, at 5 a second


def test_reads_are_not_rate_limited(rated: FlaskClient) -> None:
    admin = new_token("admin")
    push_until_refused(rated, admin)
    assert rated.get("/api/v1/jobs", headers=admin).status_code == 200


def test_rate_refills_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app.web.rate.time.monotonic", lambda: now[0])
    rate = TokenRate(10)

    def wait() -> str:
        with pytest.raises(TooManyUpdates) as refused:
            rate.take("a")
        return str(refused.value)

    for _ in range(20):
        rate.take("a")
    assert "try again in 0.1 s" in wait()
    now[0] += 0.125
    rate.take("a")
    rate.charge("a", 10)
    assert "try again in 1.1 s" in wait()
    now[0] += 1000
    for _ in range(20):
        rate.take("a")
    assert "try again" in wait()
