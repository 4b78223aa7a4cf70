"""More pushes than the hub can take: it takes what it can, refuses the rest, answers /health."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scenario import within
from tests.factories import make_body
from tools.hub_process import HubProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SINGLE_SENDERS = 20  # at once
WAITING = 12  # of all pushes
BATCH_SENDERS = 3
BATCH = 80
QUEUE = 100
LONGEST_HEALTH_SECONDS = 2.0  # promised is one; others may be busy on the machine as well
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    limits = {
        "HUB_THREADS": "16",
        "HUB_WAITING_PUSHES": str(WAITING),
        "HUB_QUEUE_UPDATES": str(QUEUE),
    }
    with HubProcess(tmp_path, **limits) as hub:
        yield hub


class Crowd:
    """Threads that push without a rest, each over one connection, and the answers they got."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self._stopping = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.details: Counter[str] = Counter()
        self.acknowledged: list[tuple[str, int]] = []
        self.without_retry_after = 0
        self._threads = [
            threading.Thread(target=self._push, args=(f"crowd-{n}", BATCH if n < 0 else 1))
            for n in range(-BATCH_SENDERS, SINGLE_SENDERS)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _push(self, job_id: str, batch: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._hub.port, timeout=30)
        number = 0
        while not self._stopping.is_set():
            numbers = range(number, number + batch)
            number += batch
            bodies = [make_body(bytes_transferred=number) for number in numbers]
            if batch == 1:
                path, body = f"backup/{job_id}", bodies[0]
            else:
                items = [{"job_type": "backup", "job_id": job_id, **body} for body in bodies]
                path, body = "batch", {"updates": items}
            connection.request("POST", f"/api/v1/telemetry/{path}", json.dumps(body), JSON)
            self._note(connection.getresponse(), [(job_id, number) for number in numbers])
        connection.close()

    def _note(self, answer: http.client.HTTPResponse, pushed: list[tuple[str, int]]) -> None:
        problem = json.loads(answer.read())
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.acknowledged += pushed
            return
        self.details[problem["detail"]] += 1
        self.without_retry_after += not answer.getheader("Retry-After")


def seconds_of_health(hub: HubProcess) -> float:
    began = time.monotonic()
    assert hub.request("GET", "/api/v1/health")[0] == 200
    return time.monotonic() - began


def test_overloaded_hub_refuses_and_goes_on(hub: HubProcess) -> None:
    health: list[float] = []
    with Crowd(hub) as crowd:

        def has_seen_enough() -> bool:
            health.append(seconds_of_health(hub))
            return len(health) >= 15 and len(crowd.details) >= 2 and crowd.statuses[200] >= 100

        wait_until(has_seen_enough)
    assert set(crowd.statuses) == {200, 503}
    assert crowd.without_retry_after == 0
    assert max(health) < within(LONGEST_HEALTH_SECONDS)
    assert any("waiting for their commit" in detail for detail in crowd.details)
    assert any("waiting to be stored" in detail for detail in crowd.details)
    stored = hub.stored()  # nothing twice, it asserts
    assert stored >= set(crowd.acknowledged)
    assert len(stored) == len(set(crowd.acknowledged))  # what was refused was not stored
