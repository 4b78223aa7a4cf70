"""Several web workers: /metrics is that of all of them, whichever one answers."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.metrics.state import FRESH_SECONDS
from tools.hub_process import HubProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

WORKERS = 3
PUSHES = 60
ACCEPTED = 'hub_updates_total{result="accepted"}'
REQUESTS = (
    'hub_http_requests_total{method="POST",'
    'route="/api/v1/telemetry/<job_type:job_type>/<identifier:job_id>",status="200"}'
)
SECONDS = REQUESTS.replace("requests_total", "request_seconds_count").replace(',status="200"', "")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub"), HUB_WORKERS=str(WORKERS)) as hub:
        wait_until(lambda: len(workers(hub)) == WORKERS)
        yield hub


def workers(hub: HubProcess) -> list[int]:
    return [pid for pid, command in hub.children().items() if "spawn_main" in command]


def scrape(hub: HubProcess) -> dict[str, float]:
    """The samples that one of the workers gives, by name."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=15)
    connection.request("GET", "/api/v1/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    lines = re.findall(r"^(\S+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def push_some(hub: HubProcess) -> None:
    """Each over a connection of its own: the system chooses its worker."""
    for number in range(PUSHES):
        assert hub.push(f"job-{number}") == 200


def test_every_worker_answers_with_the_counts_of_all(hub: HubProcess) -> None:
    before = scrape(hub)
    push_some(hub)
    for _ in range(4 * WORKERS):
        counts = scrape(hub)
        for name in (ACCEPTED, REQUESTS, SECONDS):
            assert counts[name] - before.get(name, 0) == PUSHES, name
        assert counts["hub_commit_updates_sum"] - before["hub_commit_updates_sum"] == PUSHES


def test_gauges_are_sums_over_the_workers(hub: HubProcess) -> None:
    """Those of the other workers are a second old at most."""
    push_some(hub)

    def is_quiet() -> bool:
        counts = scrape(hub)
        return counts["hub_queue_updates"] == counts["hub_waiting_pushes"] == 0

    wait_until(is_quiet)
    assert all(is_quiet() for _ in range(4 * WORKERS))


def test_what_the_database_says_is_not_added_up(hub: HubProcess) -> None:
    push_some(hub)
    time.sleep(FRESH_SECONDS)  # longer than any worker keeps what it read
    for _ in range(4 * WORKERS):
        counts = scrape(hub)
        assert counts['hub_jobs{status="running"}'] == PUSHES
        assert counts["hub_database_up"] == 1
        [build] = [value for name, value in counts.items() if name.startswith("hub_build_info")]
        assert build == 1


def test_process_metrics_are_of_all_workers(hub: HubProcess) -> None:
    def of_workers() -> float:
        statements = [Path(f"/proc/{pid}/statm").read_text().split() for pid in workers(hub)]
        return sum(int(pages) for _, pages, *_ in statements) * float(os.sysconf("SC_PAGE_SIZE"))

    counts = [scrape(hub) for _ in range(4 * WORKERS)]
    for each in counts:
        assert each["process_resident_memory_bytes"] == pytest.approx(of_workers(), rel=0.2)
    cpu = [each["process_cpu_seconds_total"] for each in counts]
    assert cpu == sorted(cpu)
    assert cpu[0] > 0.5  # three interpreters have started
    assert len({each["process_start_time_seconds"] for each in counts}) == 1


def test_what_a_worker_counted_stays_when_it_ends(hub: HubProcess) -> None:
    push_some(hub)
    before = scrape(hub)
    victim = workers(hub)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(workers(hub)) == WORKERS and victim not in workers(hub))
    wait_until(hub.is_healthy)
    for _ in range(2 * WORKERS):
        assert scrape(hub)[ACCEPTED] == before[ACCEPTED]
    push_some(hub)
    assert scrape(hub)[ACCEPTED] == before[ACCEPTED] + PUSHES


def test_the_folder_of_the_counts_ends_with_the_hub(tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "hub", tmp_path / "tmp"
    folder.mkdir()
    with HubProcess(data_dir, HUB_WORKERS="2", TMPDIR=str(folder)) as hub:
        (counts,) = folder.glob("hub-metrics-*")
        assert counts.stat().st_mode & 0o777 == 0o700
        hub.stop()
    assert not list(folder.glob("hub-metrics-*"))
