"""The poster of single snapshots."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator

import pytest

from telemetry_client.wire.poster import TelemetryPoster
from tests.factories import make_body
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess, free_port

SNAPSHOT = {"node_id": "n1", "timestamp": "2026-01-01T00:00:00Z", "cpu_percent": 1.5}


@pytest.fixture
def poster(faulty_hub: FaultyHub) -> Iterator[TelemetryPoster]:
    """Hardly waits between its tries."""
    with TelemetryPoster(faulty_hub.url, retry_backoff=[0.02, 0.02], timeout=1) as poster:
        yield poster


def test_the_defaults() -> None:
    parameters = inspect.signature(TelemetryPoster).parameters
    assert list(parameters) == ["backend_url", "jwt_token", "retry_backoff", "timeout"]
    with TelemetryPoster("http://localhost:5001/") as poster:
        assert poster.backend_url == "http://localhost:5001"
        assert poster.retry_backoff == [5, 15, 60]
        assert poster.timeout == 10


def test_a_snapshot_is_posted_without_a_version_in_the_path(
    faulty_hub: FaultyHub, poster: TelemetryPoster
) -> None:
    assert poster.post_snapshot(SNAPSHOT) == (True, None)
    (request,) = faulty_hub.requests
    assert request.path == "/api/telemetry/snapshot"
    assert request.json == SNAPSHOT
    assert "authorization" not in request.headers


def test_a_token_is_a_bearers(faulty_hub: FaultyHub) -> None:
    faulty_hub.token = "t0ken"
    with TelemetryPoster(faulty_hub.url, "t0ken") as poster:
        assert poster.post_snapshot(SNAPSHOT) == (True, None)


def test_no_server_is_a_connection_error() -> None:
    with TelemetryPoster(f"http://127.0.0.1:{free_port()}") as poster:
        assert poster.post_snapshot(SNAPSHOT) == (False, "connection_error")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("timeout", "timeout"),
        ("reset", "connection_error"),
        ("500", "status 500: Injected."),
        ("503", "status 503: Injected."),
        ("401", "status 401: Injected."),
        ("400", "refused with status 400: Injected."),
    ],
)
def test_each_fault_has_its_error(
    faulty_hub: FaultyHub, poster: TelemetryPoster, fault: str, error: str
) -> None:
    faulty_hub.next_faults.append(fault)
    assert poster.post_snapshot(SNAPSHOT) == (False, error)


def test_another_answer_is_described(faulty_hub: FaultyHub, poster: TelemetryPoster) -> None:
    faulty_hub.next_faults.append("portal")
    stored, error = poster.post_snapshot(SNAPSHOT)
    assert not stored
    assert str(error).startswith("the response is not from a hub: 200 OK of ")


def test_it_tries_again_until_it_is_stored(faulty_hub: FaultyHub, poster: TelemetryPoster) -> None:
    faulty_hub.next_faults.extend(["500", "reset"])
    assert poster.post_with_retry(SNAPSHOT) is True
    assert len(faulty_hub.pushes) == 3


def test_it_gives_up_after_its_retries(faulty_hub: FaultyHub, poster: TelemetryPoster) -> None:
    faulty_hub.next_faults.extend(["500"] * 10)
    assert poster.post_with_retry(SNAPSHOT) is False
    assert len(faulty_hub.pushes) == 3
    assert poster.post_with_retry(SNAPSHOT, retry_count=1) is False
    assert len(faulty_hub.pushes) == 5
    assert poster.post_with_retry(SNAPSHOT, 9) is False
    assert len(faulty_hub.pushes) == 6


def test_a_refused_snapshot_is_not_sent_again(
    faulty_hub: FaultyHub, poster: TelemetryPoster
) -> None:
    faulty_hub.poison = lambda snapshot: True
    assert poster.post_with_retry(SNAPSHOT) is False
    assert len(faulty_hub.pushes) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_wins(faulty_hub: FaultyHub, poster: TelemetryPoster, form: str) -> None:
    now = time.gmtime(time.time() + 2)  # a date knows whole seconds only
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", now)
    faulty_hub.retry_after = "1" if form == "seconds" else date
    faulty_hub.next_faults.append("503")
    began = time.monotonic()
    assert poster.post_with_retry(SNAPSHOT) is True
    assert time.monotonic() - began > 1.0


def test_close_ends_the_wait(faulty_hub: FaultyHub) -> None:
    faulty_hub.next_faults.append("503")
    faulty_hub.retry_after = "600"
    results = []
    with TelemetryPoster(faulty_hub.url) as poster:
        thread = threading.Thread(target=lambda: results.append(poster.post_with_retry(SNAPSHOT)))
        thread.start()
        while not faulty_hub.pushes:
            time.sleep(0.01)
        time.sleep(0.1)
    thread.join(60)
    assert results == [False]


def test_what_is_not_an_address_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="address"):
        TelemetryPoster("localhost:5001")


def test_the_real_hub_takes_it(real_hub: HubProcess) -> None:
    with TelemetryPoster(f"http://127.0.0.1:{real_hub.port}") as poster:
        snapshot = {**SNAPSHOT, "node_id": "poster", "timestamp": make_body()["timestamp"]}
        assert poster.post_snapshot(snapshot) == (True, None)
        assert poster.post_with_retry(snapshot) is True
        is_stored, error = poster.post_snapshot({**snapshot, "node_id": ""})
        assert not is_stored
        assert error is not None
        assert "node_id" in error
