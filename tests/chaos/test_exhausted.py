"""A web worker that runs out of what the system gives it: open files, and memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from app.clock import isoformat, utc_now
from app.config import ROOT
from tests.chaos.conftest import Run
from tests.chaos.scenario import lasting
from tools import engine_template
from tools.hub_process import START_SECONDS, HubProcess, kill, wait_until

FILES = 400
CROWD_SECONDS = lasting(60, 3)
SPIN_SHARE = 0.5  # of a processor: a loop that spins takes a whole one
MIB = 1 << 20
SPARE_BYTES = 64 * MIB
BATCHES = 8  # at once, each of 16 MiB after decompression
BATCH_UPDATES = 1_000
ROUNDS = int(lasting(5, 1))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


class HubOfFewFiles(HubProcess):
    def start(self) -> None:
        engine_template.copy_to(self.data_dir)
        command = ["prlimit", f"--nofile={FILES}:{FILES}", sys.executable, "-m", "app", "serve"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env)
        wait_until(self.is_healthy, START_SECONDS)


def test_crowd_takes_every_connection(tmp_path: Path, chaos: Run) -> None:
    """Who is connected is served, nothing spins, and the worker stays."""
    with HubOfFewFiles(tmp_path) as hub, chaos(hub) as scenario:
        worker = hub.web_worker()
        alone = cpu_share(worker, 2)
        with ExitStack() as crowd:
            for _ in range(FILES):
                crowd.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=5))
            wait_until(lambda: len(files_of(worker)) >= FILES // 2)
            assert cpu_share(worker, CROWD_SECONDS) < alone + SPIN_SHARE
            scenario.senders.keep_going()
            assert len(files_of(worker)) < FILES
            crowd.close()
            scenario.recover(time.monotonic())
        assert hub.web_worker() == worker


def test_too_little_memory_for_large_batches(hub: HubProcess, chaos: Run) -> None:
    """They are refused, to be sent again; whatever becomes of the worker, small ones are taken."""
    body = gzip.compress(b'{"updates": [], "padding": "%s"}' % (b"x" * (16 * MIB - 100)))
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            worker = hub.web_worker()
            most = data_bytes(worker) + SPARE_BYTES
            with limited(worker, resource.RLIMIT_DATA, most), ThreadPoolExecutor(BATCHES) as pool:
                answers = list(pool.map(lambda _: push_batch(hub, body), range(3 * BATCHES)))
                assert set(answers) <= {200, 503, None}, answers
                assert set(answers) != {200}, "it was enough"
                scenario.recover(time.monotonic())


def test_worker_killed_with_large_batches_on_their_way(hub: HubProcess, chaos: Run) -> None:
    """As the system does it that has no memory left. Sent again, the batches are stored once."""
    batches = {f"batch-{secrets.token_hex(4)}": 0 for _ in range(4)}
    bodies = [gzip.compress(json.dumps(make_batch(job_id)).encode()) for job_id in batches]
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            with ThreadPoolExecutor(len(bodies)) as pool:
                answers = pool.map(lambda body: push_batch(hub, body), bodies)
                time.sleep(random.uniform(0.1, 0.6))
                kill(hub.web_worker())
                scenario.recover(time.monotonic())
                list(answers)
        for body in bodies:
            wait_until(lambda body=body: push_batch(hub, body) == 200)  # type: ignore[misc]
    for job_id in batches:
        chart = hub.request("GET", f"/api/v1/telemetry/history/{job_id}")[2]
        assert chart["snapshots"] == BATCH_UPDATES


def make_batch(job_id: str) -> dict[str, Any]:
    began = utc_now() - timedelta(seconds=BATCH_UPDATES)
    return {
        "updates": [
            {
                "job_id": job_id,
                "job_type": "backup",
                "status": "running",
                "bytes_transferred": number,
                "timestamp": isoformat(began + timedelta(seconds=number)),
            }
            for number in range(BATCH_UPDATES)
        ]
    }


def push_batch(hub: HubProcess, body: bytes) -> int | None:
    """The status of the answer; None without one."""
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=30)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    try:
        connection.request("POST", "/api/v1/telemetry/batch", body, headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def data_bytes(pid: int) -> int:
    """What of a process counts for RLIMIT_DATA."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) * 1024


@contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """Let a process have no more of something; what it has stays."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, what, before)


def files_of(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def cpu_share(pid: int, seconds: float) -> float:
    """How much of a processor a process uses over so long."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
