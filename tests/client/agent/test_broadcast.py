"""The WebSocket server with real clients: fast, slow, dead, many, and none."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from telemetry_client.agent import broadcast
from telemetry_client.agent.broadcast import Broadcaster
from tests.client.agent.messages import make_message
from tools.hub_process import free_port, wait_until


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    broadcaster = Broadcaster("127.0.0.1", 0)
    broadcaster.start()
    wait_until(lambda: broadcaster.port is not None)
    yield broadcaster
    broadcaster.close()


def join(broadcaster: Broadcaster) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{broadcaster.port}", compression=None)


def receive(client: ClientConnection) -> dict[str, Any]:
    message = json.loads(client.recv(timeout=60))
    assert isinstance(message, dict)
    return message


def test_every_client_gets_every_message_unchanged(broadcaster: Broadcaster) -> None:
    with join(broadcaster) as one, join(broadcaster) as other:
        wait_until(lambda: len(broadcaster._clients) == 2)
        for minute in range(3):
            broadcaster.publish({**make_message(), "minute": minute})
        for client in (one, other):
            assert [receive(client) for _ in range(3)] == [
                {**make_message(), "minute": minute} for minute in range(3)
            ]


def test_a_new_client_need_not_wait_for_the_next_minute(broadcaster: Broadcaster) -> None:
    broadcaster.publish({"minute": 1})
    broadcaster.publish({"minute": 2})
    with join(broadcaster) as client:
        assert receive(client) == {"minute": 2}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://127.0.0.1", "http://localhost:8082", "null", "file://"],
)
def test_a_web_page_is_refused(broadcaster: Broadcaster, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{broadcaster.port}", origin=Origin(origin)).close()
    assert refused.value.response.status_code == 403
    with join(broadcaster):  # a program names no origin
        wait_until(lambda: len(broadcaster._clients) == 1)


def test_a_web_page_that_was_allowed_is_served() -> None:
    broadcaster = Broadcaster("127.0.0.1", 0, origins=("https://panel.example.org",))
    broadcaster.start()
    wait_until(lambda: broadcaster.port is not None)
    broadcaster.publish({"minute": 1})
    address = f"ws://127.0.0.1:{broadcaster.port}"
    with connect(address, origin=Origin("https://panel.example.org")) as page:
        assert receive(page) == {"minute": 1}
    with pytest.raises(InvalidStatus):
        connect(address, origin=Origin("http://panel.example.org")).close()
    broadcaster.close()


def test_what_clients_say_is_dropped(broadcaster: Broadcaster) -> None:
    with join(broadcaster) as client:
        for _ in range(100):
            client.send('{"command": "anything"}')
        broadcaster.publish({"minute": 1})
        assert receive(client) == {"minute": 1}


def test_clients_that_do_not_read_or_died_delay_no_others(broadcaster: Broadcaster) -> None:
    deaf = handshaken(broadcaster)
    dead = handshaken(broadcaster)
    dead.close()
    with join(broadcaster) as client:
        wait_until(lambda: len(broadcaster._clients) >= 2)
        began = time.monotonic()
        for number in range(50):
            broadcaster.publish({"number": number, "ballast": "x" * 100_000})
        assert time.monotonic() - began < 5
        assert [receive(client)["number"] for _ in range(50)] == list(range(50))
    deaf.close()


def test_a_client_that_never_answers_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "PING_SECONDS", 0.2)
    broadcaster = Broadcaster("127.0.0.1", 0)
    broadcaster.start()
    wait_until(lambda: broadcaster.port is not None)
    deaf = handshaken(broadcaster)
    wait_until(lambda: len(broadcaster._clients) == 1)
    wait_until(lambda: not broadcaster._clients)
    deaf.close()
    broadcaster.close()


def test_too_many_clients_are_sent_away(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "MAX_CLIENTS", 1)
    with join(broadcaster) as first:
        wait_until(lambda: len(broadcaster._clients) == 1)
        with join(broadcaster) as second:
            wait_until(lambda: second.close_code == 1013)
        broadcaster.publish({"minute": 1})
        assert receive(first) == {"minute": 1}


def test_names_that_are_no_text_are_sent_all_the_same(broadcaster: Broadcaster) -> None:
    broadcaster.publish({"name": "\udcff"})  # how Python reads a byte that is not UTF-8
    with join(broadcaster) as client:
        assert receive(client) == {"name": "\udcff"}


def test_a_port_that_is_taken_is_said_once_and_had_when_it_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    other = socket.create_server(("127.0.0.1", port))
    broadcaster = Broadcaster("127.0.0.1", port, retry_seconds=0.05)
    broadcaster.start()
    wait_until(lambda: "cannot be served" in caplog.text)
    broadcaster.publish({"minute": 1})
    time.sleep(0.2)  # a few more tries
    assert [r.levelno for r in caplog.records if "cannot be served" in r.message] == [
        logging.WARNING
    ]
    other.close()
    wait_until(lambda: broadcaster.port == port)
    with join(broadcaster) as client:
        assert receive(client) == {"minute": 1}
    broadcaster.close()


def test_localhost_is_served_by_name() -> None:
    port = free_port()
    broadcaster = Broadcaster("localhost", port)
    broadcaster.start()
    wait_until(lambda: broadcaster.port == port)
    with connect(f"ws://localhost:{port}") as client:
        broadcaster.publish({"minute": 1})
        assert receive(client) == {"minute": 1}
    broadcaster.close()


def test_closing_is_quick_and_says_goodbye(broadcaster: Broadcaster) -> None:
    with join(broadcaster) as client:
        deaf = handshaken(broadcaster)
        wait_until(lambda: len(broadcaster._clients) == 2)
        began = time.monotonic()
        broadcaster.close()
        assert time.monotonic() - began < 8  # `websockets` itself waits for 10 s
        wait_until(lambda: client.close_code == 1001)
        deaf.close()
    broadcaster.publish({"too": "late"})  # is no error


def handshaken(broadcaster: Broadcaster) -> socket.socket:
    """A client that completes the handshake and then neither reads nor answers."""
    assert broadcaster.port is not None
    client = socket.create_connection(("127.0.0.1", broadcaster.port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert client.recv(12) == b"HTTP/1.1 101"
    return client
