"""The short way of a usual chart answers as the long way through Flask does."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api import fast_chart
from app.errors import DatabaseUnavailable
from tests.factories import at, make_body

URL = "/api/v1/telemetry/history/job-1"


@pytest.fixture(autouse=True)
def _pushed(client: FlaskClient) -> None:
    for seconds in range(-120, 0, 5):
        body = make_body(timestamp=at(seconds), transfer_speed_bps=seconds + 200)
        assert client.post("/api/v1/telemetry/backup/job-1", json=body).status_code == 200


def answer(client: FlaskClient, url: str, accepted: str) -> tuple[int, dict[str, str], bytes]:
    got = client.get(url, headers={"X-Request-ID": "mine", "Accept-Encoding": accepted})
    headers = {name: value for name, value in got.headers.items() if name != "Date"}
    return got.status_code, headers, got.data  # the server sets the date


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"{URL}?points=10",
        f"{URL}?points=5000",
        "/telemetry/history/job-1?points=300",
        "/api/v1/telemetry/history/nobody",
        f"{URL}?points=9",
        f"{URL}?points=5001",
        f"{URL}?points=٣٠",
        f"{URL}?points=30&points=40",
        f"{URL}?disk=3",
        "/api/v1/telemetry/history/a/b",
        "/api/v1/telemetry/history/summary",
        "/api/v1/telemetry/history/",
    ],
)
def test_both_ways_answer_alike(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    forms = ("", "gzip", "gzip;q=0")
    fast = [answer(client, url, accepted) for accepted in forms]
    monkeypatch.setattr(fast_chart.FastChart, "_usual_chart", lambda *_: None)
    assert fast == [answer(client, url, accepted) for accepted in forms]


@pytest.mark.parametrize("path", [URL, f"{URL}?points=300", "/telemetry/history/job-1"])
def test_a_usual_chart_does_not_reach_flask(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(app, "full_dispatch_request", None)
    assert client.get(path).status_code == 200


def test_the_etag_of_either_way_spares_the_next_answer(client: FlaskClient) -> None:
    etag = client.get(URL).headers["ETag"]
    assert client.get(URL, headers={"If-None-Match": etag}).status_code == 304


def test_a_lost_database_is_a_503(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(fast_chart, "read_history", lost)
    got = client.get(URL)
    assert got.status_code == 503
    assert "Retry-After" in got.headers
    assert got.content_type == "application/problem+json"


def test_a_failure_of_ours_is_a_problem(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(fast_chart, "read_history", broken)
    monkeypatch.setattr("app.api.history.read_history", broken)
    got = client.get(URL)
    assert (got.status_code, got.content_type) == (500, "application/problem+json")
    assert "broken" in caplog.text
