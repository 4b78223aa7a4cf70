"""The client: what it sends, what each answer means, and that nothing can hold or break it."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from telemetry_client import Accepted, Refused, Rejection, TelemetryClient, Unreachable
from tests.factories import make_body
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess, free_port

SNAPSHOT = {"node_id": "n1", "timestamp": "2026-01-01T00:00:00Z", "cpu_percent": 1.5}


def make_update(job_id: str = "backup-1", **changes: Any) -> dict[str, Any]:
    return {"job_id": job_id, "job_type": "backup", **make_body(**changes)}


# What is sent.


def test_one_update_goes_to_the_path_of_its_job(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    assert hub_client.push(make_update()) == Accepted()
    (request,) = faulty_hub.requests
    assert (request.method, request.path) == ("POST", "/api/v1/telemetry/backup/backup-1")
    assert request.headers["content-type"] == "application/json"
    assert request.json == make_update()


def test_the_type_comes_from_the_id_where_the_update_has_none(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    hub_client.push({"job_id": "restore-1", "status": "running"})
    hub_client.push({"job_id": "odd", "status": "running"})
    paths = [request.path for request in faulty_hub.requests]
    assert paths == ["/api/v1/telemetry/restore/restore-1", "/api/v1/telemetry/job/odd"]


def test_an_id_is_quoted_in_the_path(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    hub_client.push(make_update("a b/ü?#%2F"))
    assert faulty_hub.requests[0].path.endswith("/backup/a%20b%2F%C3%BC%3F%23%252F")


def test_a_path_before_the_api_is_kept(faulty_hub: FaultyHub) -> None:
    with TelemetryClient(f"{faulty_hub.url}/tunnel/") as client:
        client.push(make_update())
    assert faulty_hub.requests[0].path == "/tunnel/api/v1/telemetry/backup/backup-1"


def test_a_batch_is_packed(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    updates = [make_update(bytes_transferred=number) for number in range(100)]
    assert hub_client.push_batch(updates) == Accepted()
    (request,) = faulty_hub.requests
    assert request.path == "/api/v1/telemetry/batch"
    assert json.loads(gzip.decompress(request.raw)) == {"updates": updates}
    assert len(request.raw) < len(json.dumps(updates)) / 5


def test_snapshots_go_alone_and_together(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    assert hub_client.push_snapshot(SNAPSHOT) == Accepted()
    assert hub_client.push_snapshots([SNAPSHOT, {**SNAPSHOT, "node_id": "n2"}]) == Accepted(1)
    one, many = faulty_hub.requests
    assert one.path == many.path == "/api/v1/telemetry/snapshot"
    assert one.json == SNAPSHOT
    assert len(many.json["snapshots"]) == 2


def test_nothing_to_send_is_not_sent(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    assert hub_client.push_batch([]) == Accepted()
    assert faulty_hub.requests == []


def test_connections_are_kept(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    ports = set()
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        original(self, address)
        ports.add(self.getsockname())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        for number in range(20):
            hub_client.push(make_update(bytes_transferred=number))
            hub_client.push_batch([make_update(bytes_transferred=100 + number)])
    assert len(ports) == 1
    assert len(faulty_hub.accepted) == 40


# What a batch says.


def test_a_batch_says_which_item_was_rejected(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    faulty_hub.poison = lambda item: item["bytes_transferred"] == 1
    result = hub_client.push_batch([make_update(bytes_transferred=n) for n in range(3)])
    assert result == Accepted(rejected=(Rejection(1, "timestamp: Is poison."),))


def test_what_is_not_json_is_refused_alone(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    faulty_hub.poison = lambda item: item["bytes_transferred"] == 3
    bad = [make_update(progress_percent=float("nan")), make_update(error=object())]
    good = [make_update(bytes_transferred=n) for n in (2, 3)]
    result = hub_client.push_batch([bad[0], good[0], bad[1], good[1]])
    assert isinstance(result, Accepted)
    assert [rejection.index for rejection in result.rejected] == [0, 2, 3]
    assert faulty_hub.accepted == [good[0]]
    assert isinstance(hub_client.push(bad[0]), Refused)


@pytest.mark.parametrize("job_id", [None, "", ".", "..", 7])
def test_what_names_no_job_is_refused(hub_client: TelemetryClient, job_id: Any) -> None:
    result = hub_client.push({"job_id": job_id, "status": "running"})
    assert isinstance(result, Refused)
    assert result.reason.startswith("job_id")


def test_text_that_is_not_text_still_arrives(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    assert hub_client.push(make_update(error="cannot read caf\udce9")) == Accepted()
    assert faulty_hub.accepted[0]["error"] == "cannot read caf?"


# Trouble.


def test_no_server_is_a_connection_error() -> None:
    with TelemetryClient(f"http://127.0.0.1:{free_port()}") as client:
        assert client.push(make_update()) == Unreachable("connection_error")


def test_an_unknown_host_is_a_connection_error() -> None:
    with TelemetryClient("http://no-such-host.invalid:1") as client:
        assert client.push(make_update()) == Unreachable("connection_error")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("reset", Unreachable("connection_error")),
        ("half", Unreachable("connection_error")),
        ("huge", Unreachable("the response is too large for a hub", status=200)),
        ("500", Unreachable("Injected.", spends_try=True, status=500, is_from_hub=True)),
        ("502", Unreachable("Injected.", status=502, is_from_hub=True)),
        ("503", Unreachable("Injected.", 7.0, status=503, is_from_hub=True)),
        ("429", Unreachable("Injected.", 7.0, status=429, is_from_hub=True)),
        ("401", Unreachable("Injected.", status=401, is_from_hub=True)),
        ("400", Refused(400, "Injected.")),
    ],
)
def test_each_fault_has_its_result(
    faulty_hub: FaultyHub, hub_client: TelemetryClient, fault: str, expected: Any
) -> None:
    faulty_hub.retry_after = "7"
    faulty_hub.next_faults.append(fault)
    assert hub_client.push(make_update()) == expected
    faulty_hub.next_faults.append(fault)
    assert hub_client.push_batch([make_update()]) == expected
    repeat = hub_client.push(make_update())  # the pool has no broken connection in it
    assert isinstance(repeat, Accepted)


@pytest.mark.parametrize(
    ("fault", "status", "described"),
    [
        ("garbage", 200, "application/json"),
        ("portal", 200, "the page 'Sign in'"),
        ("redirect", 302, "a redirect to https://sso.example.org/login"),
        ("page400", 400, "the page 'An error of a proxy'"),
        ("page404", 404, "the page"),
        ("page413", 413, "the page"),
        ("page500", 500, "the page"),
    ],
)
def test_what_answers_in_the_hubs_place_is_described(
    faulty_hub: FaultyHub, hub_client: TelemetryClient, fault: str, status: int, described: str
) -> None:
    for push in (hub_client.push, lambda update: hub_client.push_batch([update])):
        faulty_hub.next_faults.append(fault)
        result = push(make_update())
        assert isinstance(result, Unreachable)
        assert (result.status, result.spends_try, result.is_from_hub) == (status, False, False)
        assert result.reason.startswith(f"the response is not from a hub: {status} ")
        assert described in result.reason
        assert "BaseHTTP" in result.reason  # the program, as its header says
        assert "hunter2" not in result.reason
        assert "s3cret" not in result.reason


def took(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


@pytest.mark.parametrize("fault", ["timeout", "dribble", "dribble_headers"])
def test_no_answer_can_hold_a_call_beyond_its_timeout(faulty_hub: FaultyHub, fault: str) -> None:
    faulty_hub.next_faults.extend([fault, fault])
    with TelemetryClient(faulty_hub.url, timeout=0.5) as client:
        for push in (
            lambda: client.push(make_update()),
            lambda: client.push_batch([make_update()]),
        ):
            result, seconds = took(push)
            assert result == Unreachable("timeout")
            assert 0.4 < seconds < 15
        assert isinstance(client.push(make_update()), Accepted)


def test_a_slow_answer_within_the_timeout_is_an_answer(
    faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    faulty_hub.slow_seconds = 0.3
    for number in range(3):  # each has the whole time, on the same connection
        assert hub_client.push(make_update(bytes_transferred=number)) == Accepted()


def test_a_hub_that_comes_back_is_found(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    assert hub_client.push(make_update(bytes_transferred=1)) == Accepted()
    faulty_hub.go_down()
    assert hub_client.push(make_update(bytes_transferred=2)) == Unreachable("connection_error")
    faulty_hub.come_up()
    assert hub_client.push(make_update(bytes_transferred=3)) == Accepted()


def test_a_closed_client_is_unreachable(hub_client: TelemetryClient) -> None:
    hub_client.close()
    assert hub_client.push(make_update()) == Unreachable("the client is closed")


def test_many_threads_share_a_client(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    results: list[Any] = []

    def push_some(thread: int) -> None:
        ids = (f"backup-{thread}-{number}" for number in range(10))
        results.extend(hub_client.push(make_update(job_id)) for job_id in ids)

    threads = [threading.Thread(target=push_some, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Accepted()] * 160
    assert len(faulty_hub.accepted) == 160


FORKED = """
import os, sys
from telemetry_client import Accepted, TelemetryClient

def push(who, numbers):
    updates = [
        {"job_id": f"backup-{who}", "status": "running", "bytes_transferred": number}
        for number in numbers
    ]
    return {client.push(update) for update in updates} == {Accepted()}

client = TelemetryClient(sys.argv[1])
assert push("parent", [0])  # from here on there is a connection to share by mistake
children = []
for child in (1, 2):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if push(child, range(50)) else 1)
    children.append(pid)
assert push("parent", range(1, 50))
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
"""


def test_a_child_has_connections_of_its_own(faulty_hub: FaultyHub) -> None:
    subprocess.run([sys.executable, "-c", FORKED, faulty_hub.url], check=True, timeout=60)
    assert len(faulty_hub.accepted) == 150


# Address and token.


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8082", "ftp://x", "http://", "http://h:0x1", "http://h:99999", "http://h?a"],
)
def test_what_is_not_an_address_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        TelemetryClient(url)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError) as caught:
        TelemetryClient("http://me:hunter2@hub:1")
    assert "hunter2" not in str(caught.value)


def test_a_token_is_sent_and_never_shown(
    faulty_hub: FaultyHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faulty_hub.token = "s3cret-token"
    with TelemetryClient(faulty_hub.url, "s3cret-token", timeout=0.5) as client:
        results: list[object] = [client.push(make_update())]
        assert results == [Accepted()]
        for fault in ("401", "reset", "timeout", "garbage", "400", "500"):
            faulty_hub.next_faults.append(fault)
            results.append(client.push(make_update()))
        faulty_hub.go_down()
        results.append(client.push(make_update()))
        results.append(client.health())
        assert "s3cret" not in repr(results) + repr(client) + caplog.text
    with TelemetryClient(faulty_hub.url, "another") as client:
        faulty_hub.come_up()
        result = client.push(make_update())
        assert isinstance(result, Unreachable)
        assert result.status == 401


@pytest.mark.parametrize("token", ["s3cret\nX-Evil: 1", "s3cret ü", "s3cret\x00"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError) as caught:
        TelemetryClient("http://hub:1", token)
    assert "s3cret" not in str(caught.value)


def test_a_token_of_the_environment_is_sent(
    faulty_hub: FaultyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_TOKEN", "from-env\n")
    with TelemetryClient(faulty_hub.url) as client:
        client.push(make_update())
    assert faulty_hub.requests[0].headers["authorization"] == "Bearer from-env"


def test_a_proxy_of_the_environment_gets_nothing(
    faulty_hub: FaultyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with TelemetryClient(faulty_hub.url) as client:
        assert client.push(make_update()) == Accepted()


def test_retries_of_the_library_are_off(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    for fault in ("503", "reset", "redirect"):
        faulty_hub.next_faults.append(fault)
        hub_client.push(make_update())
    assert len(faulty_hub.requests) == 3
    assert urllib3.util.Retry.DEFAULT.total == 3  # it would


# TLS.

CERTIFICATE = Path(__file__).parents[1] / "localhost.pem"


def test_an_unknown_certificate_is_said() -> None:
    with FaultyHub(certificate=CERTIFICATE) as hub, TelemetryClient(hub.url, "t0ken") as client:
        reason = "connection_error: TLS, self-signed certificate"
        assert client.push(make_update()) == Unreachable(reason)
        assert client.health().reason == reason
    assert hub.requests == [], "the token was not even sent"


def test_tls_is_held_by_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with FaultyHub(certificate=CERTIFICATE) as hub, TelemetryClient(hub.url, timeout=0.5) as client:
        assert client.push(make_update()) == Accepted()
        for fault in ("dribble", "dribble_headers", "timeout"):
            hub.next_faults.append(fault)
            result, seconds = took(lambda: client.push(make_update()))
            assert result == Unreachable("timeout")
            assert 0.4 < seconds < 15
        assert client.push(make_update()) == Accepted(duplicates=1)


# Health.


def test_health_knows_the_hubs_clock(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    report = hub_client.health()
    assert report.is_reachable
    assert report.status == "ok"
    assert report.clock_offset_seconds is not None
    assert abs(report.clock_offset_seconds) < 30
    assert report.latency_seconds is not None
    assert report.latency_seconds < 30
    assert hub_client.check_ingest() == Accepted()
    faulty_hub.token = "needed"
    result = hub_client.check_ingest()
    assert isinstance(result, Unreachable)
    assert result.status == 401


def test_health_without_a_server(faulty_hub: FaultyHub, hub_client: TelemetryClient) -> None:
    faulty_hub.go_down()
    report = hub_client.health()
    assert (report.is_reachable, report.reason) == (False, "connection_error")


# The real hub.


def test_the_real_hub_means_the_same(real_hub: HubProcess) -> None:
    with TelemetryClient(f"http://127.0.0.1:{real_hub.port}") as client:
        update = make_update("backup-client-ü 1")
        assert client.push(update) == Accepted(run=1)
        assert client.push(update) == Accepted(duplicates=1, run=1)
        refused = client.push(make_update("backup-client-1", bytes_transferred=-1))
        assert isinstance(refused, Refused)
        assert refused.reason.startswith("bytes_transferred: ")
        batch = [update, make_update("backup-client-2"), make_update("backup-client-2", status="x")]
        result = client.push_batch(batch)
        assert isinstance(result, Accepted)
        assert result.duplicates == 1
        (rejection,) = result.rejected
        assert rejection.index == 2
        assert rejection.reason.startswith("status: ")
        other_type = client.push({**update, "job_type": "restore"})
        assert isinstance(other_type, Refused)
        assert other_type.status == 409


def test_the_real_hub_takes_snapshots_and_says_how_it_is(real_hub: HubProcess) -> None:
    with TelemetryClient(f"http://127.0.0.1:{real_hub.port}") as client:
        snapshot = {**SNAPSHOT, "timestamp": make_body()["timestamp"]}
        assert client.push_snapshot(snapshot) == Accepted()
        assert client.push_snapshots([snapshot, {"node_id": "n2"}]) == Accepted(duplicates=1)
        assert isinstance(client.push_snapshot({"cpu_percent": 1}), Refused)
        assert client.check_ingest() == Accepted()
        report = client.health()
        assert report.is_reachable
        assert report.status in ("ok", "degraded")
        assert report.clock_offset_seconds is not None
        assert abs(report.clock_offset_seconds) < 30
