"""Several processes on one queue, and processes that are killed: nothing is lost or sent twice."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from telemetry_client import TelemetryClient, TelemetryQueue
from telemetry_client.queue.drain import Drain
from tools.faulty_hub import FaultyHub
from tools.hub_process import wait_until

SECONDS = 4.0
ROUNDS = 6

# Fills the queue, drains it, or both, until it is killed or its input ends; says each number that
# `enqueue` has returned for.
WORKER = """
import os, sys, threading, time
from telemetry_client import TelemetryClient, TelemetryQueue
from telemetry_client.queue.drain import Drain

path, url, job, first, does = sys.argv[1:]
queue = TelemetryQueue(path, 100_000, lease_seconds=float(os.environ.get("LEASE", "60")))
stop = threading.Event()

def fill():
    number = int(first)
    while not stop.is_set():
        body = {"job_id": f"backup-{job}-{number % 3}", "job_type": "backup", "status": "running"}
        queue.enqueue({**body, "bytes_transferred": number})
        os.write(1, b"%d\\n" % number)
        number += 1
        time.sleep(0.002)

def empty():
    with TelemetryClient(url) as client:
        Drain(queue, client, batch=20, batches_per_second=100, probe_seconds=0.05).run(stop)

threads = [threading.Thread(target=work) for work in (fill, empty) if work.__name__ in does]
for thread in threads:
    thread.start()
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
"""


def start(
    path: Path, url: str, job: str, does: str, first: int = 0, lease: float = 60
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), url, job, str(first), does],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"LEASE": str(lease)},
    )


def finish(process: subprocess.Popen[bytes]) -> list[int]:
    """Let it end; returns the numbers that it printed."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [int(line) for line in printed.split()]


def received(hub: FaultyHub) -> dict[str, list[int]]:
    """The numbers that came, by job, in the order in which they came."""
    by_job = defaultdict(list)
    for update in hub.accepted:
        by_job[update["job_id"]].append(update["bytes_transferred"])
    return by_job


@pytest.mark.slow
def test_two_processes_send_each_entry_once(faulty_hub: FaultyHub, spool_path: Path) -> None:
    workers = [start(spool_path, faulty_hub.url, str(n), "fill empty") for n in range(2)]
    time.sleep(SECONDS)
    sent = [finish(worker) for worker in workers]
    with TelemetryClient(faulty_hub.url) as client, TelemetryQueue(spool_path) as queue:
        drain = Drain(queue, client, batches_per_second=1000)
        wait_until(lambda: drain.step() is None)
    assert all(len(numbers) > 100 for numbers in sent)
    for n, numbers in enumerate(sent):
        for rest in range(3):
            expected = [number for number in numbers if number % 3 == rest]
            assert received(faulty_hub)[f"backup-{n}-{rest}"] == expected
    posted = sum(len(request.items) for request in faulty_hub.pushes)
    assert posted == len(faulty_hub.accepted) == sum(map(len, sent)), "something went twice"


@pytest.mark.slow
def test_no_kill_loses_what_was_enqueued(faulty_hub: FaultyHub, spool_path: Path) -> None:
    dice = random.Random(4)
    printed: list[int] = []
    for _ in range(ROUNDS):
        first = printed[-1] + 2 if printed else 0  # one more may be there
        worker = start(spool_path, faulty_hub.url, "k", "fill empty", first, lease=0.2)
        assert worker.stdout is not None
        printed.append(int(worker.stdout.readline()))
        time.sleep(dice.uniform(0.0, 0.5))
        worker.kill()
        rest, _ = worker.communicate()
        printed.extend(int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n"))
    with TelemetryClient(faulty_hub.url) as client, TelemetryQueue(spool_path) as queue:
        drain = Drain(queue, client, batches_per_second=1000)
        wait_until(lambda: drain.step() is None)
        assert queue.dead_letters() == []
        assert queue.get_queue_size() == 0
    assert len(printed) > 10 * ROUNDS
    arrived = received(faulty_hub)
    assert {number for numbers in arrived.values() for number in numbers} >= set(printed)
    for numbers in arrived.values():
        assert numbers == sorted(set(numbers)), "out of order, or twice"
    with sqlite3.connect(spool_path) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()


@pytest.mark.slow
def test_a_process_that_died_with_leases_is_replaced(
    faulty_hub: FaultyHub, spool_path: Path
) -> None:
    faulty_hub.slow_seconds = 30.0
    with TelemetryQueue(spool_path) as queue:
        for number in range(5):
            queue.enqueue({"job_id": "a", "status": "running", "bytes_transferred": number})
        worker = start(spool_path, faulty_hub.url, "x", "empty", lease=0.3)
        wait_until(lambda: len(faulty_hub.pushes) == 1)  # between post and acknowledge
        worker.kill()
        worker.communicate()
        assert queue.get_queue_size() == 5
        faulty_hub.slow_seconds = 0.0
        wait_until(lambda: queue.get_stats()["leased"] == 0)
        with TelemetryClient(faulty_hub.url) as client:
            drain = Drain(queue, client, batches_per_second=1000)
            wait_until(lambda: drain.step() is None)
    assert received(faulty_hub)["a"] == [0, 1, 2, 3, 4]
