"""Connections that idle or dawdle: everybody else is still served."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.factories import make_body
from tests.hub_process import HubProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

IDLE = 600
HALF_SENT = 100


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def connect(hub: HubProcess, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=20))


def push_head(job_id: str, length: int) -> bytes:
    return (
        f"POST /api/v1/telemetry/backup/{job_id} HTTP/1.1\r\nHost: hub\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def seconds_of_health(hub: HubProcess) -> float:
    began = time.monotonic()
    assert hub.request("GET", "/api/v1/health")[0] == 200
    return time.monotonic() - began


def test_idle_connections_keep_nobody_out(hub: HubProcess) -> None:
    body = json.dumps(make_body()).encode()
    with ExitStack() as stack:
        for number in range(IDLE):
            sender = connect(hub, stack)
            sender.sendall(push_head(f"idle-{number}", len(body)) + body)
            assert sender.recv(4096).startswith(b"HTTP/1.1 200")
        assert seconds_of_health(hub) < 2
        assert hub.request("POST", "/api/v1/telemetry/backup/late", make_body())[0] == 200


def test_half_sent_bodies_hold_no_more_than_their_share(hub: HubProcess) -> None:
    with ExitStack() as stack:

        def is_refused_beside_one_more() -> bool:
            connect(hub, stack).sendall(push_head("slow", 100) + b"{")
            return hub.request("POST", "/api/v1/telemetry/backup/x", make_body())[0] == 503

        for _ in range(HALF_SENT):
            connect(hub, stack).sendall(push_head("slow", 100) + b"{")
        wait_until(is_refused_beside_one_more)
        assert seconds_of_health(hub) < 2
        began = time.monotonic()
        status, headers, _ = hub.request("POST", "/api/v1/telemetry/backup/x", make_body())
        assert (status, headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 1
    wait_until(lambda: hub.request("POST", "/api/v1/telemetry/backup/x", make_body())[0] == 200)
