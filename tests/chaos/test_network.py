"""The network between senders and the hub fails: cut, silent, and in the middle of an answer."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import Run
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import lasting
from tests.chaos.senders import TIMEOUT_SECONDS
from tests.factories import make_body
from tools.hub_process import HubProcess, wait_until

REQUEST_SECONDS = 2
CUT_SECONDS = lasting(60, 3)
ROUNDS = int(lasting(5, 2))
HALF_OPEN = 200  # twice the hub's threads
IDLE = 50
# Half-sent bodies are given up after REQUEST_SECONDS; idle connections, and half-sent heads, only
# after the 75 s that a sender may pause: the long form waits for them.
SILENT_SECONDS = lasting(85, REQUEST_SECONDS + 2)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    settings = {"HUB_REQUEST_SECONDS": str(REQUEST_SECONDS)}
    with HubProcess(tmp_path_factory.mktemp("hub"), **settings) as hub:
        yield hub


@pytest.fixture
def network(hub: HubProcess) -> Iterator[Proxy]:
    with Proxy(hub.port) as network:
        yield network


def url(network: Proxy) -> str:
    return f"http://127.0.0.1:{network.port}"


def test_network_cut_again_and_again(hub: HubProcess, network: Proxy, chaos: Run) -> None:
    with chaos(hub, url(network)) as scenario:
        for _ in range(ROUNDS):
            network.cut()
            time.sleep(CUT_SECONDS / ROUNDS)
            network.mend()
            scenario.recover(time.monotonic())


def test_network_silent(hub: HubProcess, network: Proxy, chaos: Run) -> None:
    """Every connection is half-open: incomplete requests are dropped, and no other waits."""
    before = connections_of(hub)
    with ExitStack() as stack, chaos(hub, url(network)) as scenario:
        for number in range(HALF_OPEN):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", network.port)))
            sender.sendall(push_head(f"half-{number}", 100) + b"{")
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", network.port)))
        # Some of those before may end meanwhile.
        wait_until(lambda: connections_of(hub) >= HALF_OPEN + IDLE)
        network.freeze()
        began = time.monotonic()
        assert hub.push("near") == 200
        assert hub.is_healthy()
        time.sleep(max(0.0, began + SILENT_SECONDS - time.monotonic()))
        # Beside what may still idle, the senders' own, and those of their new attempts.
        repeats = 4 * (2 + SILENT_SECONDS / TIMEOUT_SECONDS)
        assert connections_of(hub) <= before + lasting(0, IDLE) + repeats
        network.mend()
        scenario.recover(time.monotonic())


def test_update_whose_answer_was_lost_is_sent_again_and_stored_once(hub: HubProcess) -> None:
    """The hub has stored it, and its sender cannot know: the repeat is told that it is one."""
    body = make_body()
    with Proxy(hub.port) as network:
        network.delay_seconds = 0.5  # each way
        sender = http.client.HTTPConnection("127.0.0.1", network.port, timeout=5)
        path = "/api/v1/telemetry/backup/unanswered"
        sender.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        wait_until(lambda: hub.request("GET", "/api/v1/jobs/unanswered")[0] == 200)
        network.cut()
        with pytest.raises(OSError):
            sender.getresponse()
        sender.close()
    status, _, receipt = hub.request("POST", path, body)
    assert (status, receipt["duplicate"], receipt["applied"]) == (200, True, False)
    chart = hub.request("GET", "/api/v1/telemetry/history/unanswered")[2]
    assert chart["snapshots"] == 1


def push_head(job_id: str, length: int) -> bytes:
    return (
        f"POST /api/v1/telemetry/backup/{job_id} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def connections_of(hub: HubProcess) -> int:
    """How many sockets the web worker has open."""
    count = 0
    for descriptor in Path(f"/proc/{hub.web_worker()}/fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            count += str(descriptor.readlink()).startswith("socket:")
    return count
