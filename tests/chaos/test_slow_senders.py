"""Idle and slow connections: all others are served, and nothing half sent is stored."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.scenario import lasting, within
from tests.factories import make_body
from tools.hub_process import HubProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

IDLE = int(lasting(600, 200))
THREADS = 96
SLOW_SENDERS = int(lasting(400, 150))
REQUEST_SECONDS = 3
WHOLE = json.dumps(make_body()).encode()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    data_dir = tmp_path_factory.mktemp("hub")
    with HubProcess(
        data_dir, HUB_REQUEST_SECONDS=str(REQUEST_SECONDS), HUB_THREADS=str(THREADS)
    ) as hub:
        yield hub


def connect(hub: HubProcess, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=60))


def push_head(job_id: str, length: int) -> bytes:
    return (
        f"POST /api/v1/telemetry/backup/{job_id} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def chunked_head(job_id: str) -> bytes:
    return push_head(job_id, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def seconds_of(request: object) -> float:
    assert callable(request)
    began = time.monotonic()
    assert request() == 200
    return time.monotonic() - began


def seconds_of_health(hub: HubProcess) -> float:
    return seconds_of(lambda: hub.request("GET", "/api/v1/health")[0])


def read_answer(sender: socket.socket) -> tuple[int, bytes]:
    """Status and all that came until the hub closed the connection."""
    received = b""
    while piece := sender.recv(65536):
        received += piece
    return int(received[9:12]), received


def is_known(hub: HubProcess, job_id: str) -> bool:
    return hub.request("GET", f"/api/v1/jobs/{job_id}")[0] == 200


def test_idle_connections_keep_no_one_out(hub: HubProcess) -> None:
    with ExitStack() as stack:
        for number in range(IDLE):
            sender = connect(hub, stack)
            sender.sendall(push_head(f"idle-{number}", len(WHOLE)) + WHOLE)
            assert sender.recv(4096).startswith(b"HTTP/1.1 200")
        assert seconds_of_health(hub) < within(2)
        assert hub.push("prompt") == 200


def test_half_sent_bodies_delay_no_other_request(hub: HubProcess) -> None:
    with ExitStack() as stack:
        senders = [connect(hub, stack) for _ in range(SLOW_SENDERS)]
        for sender in senders:
            sender.sendall(push_head("slow", 100) + b"{")
        assert seconds_of_health(hub) < within(2)
        assert seconds_of(lambda: hub.push("prompt")) < within(2)
        assert not is_known(hub, "slow")


def test_half_sent_heads_delay_no_other_request(hub: HubProcess) -> None:
    with ExitStack() as stack:
        for _ in range(SLOW_SENDERS):
            connect(hub, stack).sendall(push_head("slow", 100)[:60])
        assert seconds_of_health(hub) < within(2)
        assert seconds_of(lambda: hub.push("prompt")) < within(2)


@pytest.mark.parametrize(
    "start", [push_head("late", 100) + b"{", chunked_head("late") + chunk(b"{")]
)
def test_late_body_is_told_so_and_cut(hub: HubProcess, start: bytes) -> None:
    with ExitStack() as stack:
        sender = connect(hub, stack)
        sender.sendall(start)
        began = time.monotonic()
        status, answer = read_answer(sender)
        assert REQUEST_SECONDS - 0.5 < time.monotonic() - began < within(REQUEST_SECONDS + 3)
        assert status == 408
        assert b"application/problem+json" in answer.lower()
        assert b"x-request-id: " in answer.lower()
    assert not is_known(hub, "late")


def test_body_in_drops_gets_no_longer(hub: HubProcess) -> None:
    """The time is that of the whole body: a byte does not start it again."""
    with ExitStack() as stack:
        sender = connect(hub, stack)
        sender.sendall(push_head("drops", 1000) + b"{")
        began = time.monotonic()
        sender.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - began < 60:
            try:
                sender.sendall(b" ")
                answer = sender.recv(4096)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < within(REQUEST_SECONDS + 3)


@pytest.mark.parametrize("name", ["length", "chunks"])
def test_cut_off_body_is_not_stored(hub: HubProcess, name: str) -> None:
    """Also where what came is whole JSON, and only the end of the body is missing."""
    job_id = f"cut-{name}"
    with ExitStack() as stack:
        for _ in range(20):
            sender = connect(hub, stack)
            if name == "length":
                sender.sendall(push_head(job_id, len(WHOLE) + 5) + WHOLE)
            else:
                sender.sendall(chunked_head(job_id) + chunk(WHOLE))
            sender.shutdown(socket.SHUT_WR)
            sender.recv(4096)
    assert hub.push("prompt") == 200  # what came before it has been dealt with
    assert not is_known(hub, job_id)


def test_whole_body_in_pieces_is_stored(hub: HubProcess) -> None:
    with ExitStack() as stack:
        sender = connect(hub, stack)
        sender.sendall(chunked_head("pieces") + chunk(WHOLE[:7]))
        time.sleep(0.1)
        sender.sendall(chunk(WHOLE[7:]) + b"0\r\n\r\n")
        assert sender.recv(4096).startswith(b"HTTP/1.1 200")
    assert is_known(hub, "pieces")


def test_endless_chunks_are_refused(hub: HubProcess) -> None:
    with ExitStack() as stack:
        sender = connect(hub, stack)
        piece = chunk(b" " * 262_144)
        sender.sendall(chunked_head("endless"))
        sent = 0
        try:
            while sent < 64 << 20:
                sender.sendall(piece)
                sent += 262_144
        except OSError:  # the hub has closed the connection
            pass
        assert sent < 48 << 20, "the hub went on reading"
    assert hub.push("prompt") == 200


def test_stop_does_not_wait_for_slow_senders(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub, ExitStack() as stack:
        for _ in range(50):
            connect(hub, stack).sendall(push_head("slow", 100) + b"{")
            connect(hub, stack).sendall(push_head("slow", 100)[:60])
            connect(hub, stack)
        wait_until(lambda: hub.push("prompt") == 200)
        began = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - began < within(8)
