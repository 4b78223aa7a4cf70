"""Between the capture of an update and the hub: outages, slow hubs, full and broken spools."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sender import Table, job_in_outage
from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.queue.spool import Spool
from telemetry_client.tracker import ProgressTracker, backlog, delivery
from telemetry_client.wire.client import TelemetryClient
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess, wait_until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes come soon."""
    monkeypatch.setattr(backlog, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(delivery, "END_PROBE_SECONDS", 0.2)


@pytest.fixture
def queue(spool_path: Path) -> Iterator[TelemetryQueue]:
    with TelemetryQueue(spool_path) as queue:
        yield queue


@pytest.fixture
def options(hub_client: TelemetryClient, queue: TelemetryQueue) -> dict[str, Any]:
    return {
        "client": hub_client,
        "spool": queue,
        "interval_seconds": 0.05,
        "end_deadline_seconds": 5.0,
    }


def phases(updates: list[dict[str, Any]]) -> list[Any]:
    """The phases in the order of their instants, each once."""
    found: list[Any] = []
    for update in sorted(updates, key=lambda update: str(update["timestamp"])):
        phase = update.get("current_phase")
        if not found or found[-1] != phase:
            found.append(phase)
    return found


def payloads(queue: TelemetryQueue) -> list[dict[str, Any]]:
    """What can be sent from it now; released again."""
    entries = queue.dequeue(10_000)
    queue.release_all([entry.id for entry in entries])
    return [entry.payload for entry in entries]


def test_a_job_that_a_real_hub_was_away_for_arrives_later(
    real_hub: HubProcess, spool_path: Path
) -> None:
    table = Table(real_hub.data_dir)
    outage = job_in_outage(f"http://127.0.0.1:{real_hub.port}", table, 150, spool_path)
    assert (outage.missing, outage.twice) == (0, 0)
    assert outage.arrived > 100
    assert outage.lost_told > 0
    assert outage.drain_seconds < 60


def test_an_outage_in_the_middle_costs_nothing(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.set_phase("before")
        wait_until(lambda: tracker.stats.sent >= 2)
        faulty_hub.go_down()
        for number in range(10):
            tracker.update_progress(number, phase=f"phase {number % 3}")
            time.sleep(0.05)
        faulty_hub.come_up()
        wait_until(lambda: tracker.stats.sent >= tracker.stats.captured - 1)
    stats = tracker.stats
    assert tracker.is_delivered
    assert stats.spooled > 3
    assert stats.failed >= 1
    assert len(faulty_hub.accepted) == stats.captured == stats.sent, "each is stored once"
    expected = [None, "before", *(f"phase {number % 3}" for number in range(10))]
    assert phases(faulty_hub.accepted) == expected


def test_the_newest_state_goes_at_once_when_the_hub_is_back(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    faulty_hub.go_down()
    tracker = ProgressTracker("backup-1", **options | {"interval_seconds": 3_600.0})
    wait_until(lambda: tracker.stats.spooled == 1)
    tracker.update_progress(77)
    faulty_hub.come_up()
    wait_until(lambda: len(faulty_hub.accepted) == 2)
    assert [update.get("bytes_transferred") for update in faulty_hub.accepted] == [None, 77]
    tracker.complete()


def test_the_end_is_not_kept_waiting_by_a_backlog(
    faulty_hub: FaultyHub, options: dict[str, Any], queue: TelemetryQueue
) -> None:
    faulty_hub.next_faults.append("502")
    other = {"job_id": "backup-0", "job_type": "backup", "status": "running"}
    for number in range(500):
        queue.enqueue({**other, "bytes_transferred": number})
    with ProgressTracker("backup-1", **options) as tracker:
        wait_until(lambda: tracker.stats.failed == 1)
    assert tracker.is_delivered
    ends = [n for n, update in enumerate(faulty_hub.accepted) if update["status"] == "completed"]
    assert len(ends) == 1
    assert ends[0] < 400


def test_a_hub_that_hangs_holds_the_end_of_a_job_no_longer_than_its_deadline(
    faulty_hub: FaultyHub, options: dict[str, Any], queue: TelemetryQueue
) -> None:
    faulty_hub.probability, faulty_hub.faults = 1.0, ("timeout",)
    began = time.monotonic()
    with ProgressTracker("backup-1", **options | {"end_deadline_seconds": 0.5}) as tracker:
        tracker.set_phase("copying")
    assert 0.5 <= time.monotonic() - began < 15  # the hub hangs for 30 s
    assert not tracker.is_delivered
    kept = payloads(queue)  # nothing is leased any more
    assert phases(kept) == [None, "copying"]
    assert kept[-1]["status"] == "completed"


# The end of a job, whose deadline below is so long that a test that waits for it fails.


@pytest.fixture
def patient(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"end_deadline_seconds": 300.0}


def test_a_hub_that_is_away_holds_no_end_up_and_gets_it_later(
    faulty_hub: FaultyHub, patient: dict[str, Any], queue: TelemetryQueue
) -> None:
    faulty_hub.go_down()
    tracker = ProgressTracker("backup-1", **patient)
    began = time.monotonic()
    tracker.complete()
    assert time.monotonic() - began < 20
    assert not tracker.is_delivered
    with TelemetryQueue(queue.db_path) as other:
        assert other.get_queue_size() == 2, "the start and the end are on disk"
    faulty_hub.come_up()
    wait_until(lambda: tracker.is_delivered)
    wait_until(lambda: queue.get_queue_size() == 0)
    assert [update["status"] for update in faulty_hub.accepted].count("completed") == 1


def test_a_hub_that_is_silent_counts_as_away(
    faulty_hub: FaultyHub, patient: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENT_SECONDS", 0.1)
    faulty_hub.probability, faulty_hub.faults = 1.0, ("timeout",)
    began = time.monotonic()
    with TelemetryClient(faulty_hub.url, timeout=30.0) as client:
        tracker = ProgressTracker("backup-1", **patient | {"client": client})
        tracker.complete()
        assert time.monotonic() - began < 20
        tracker.close()


def test_a_hub_that_is_silent_about_a_backlog_counts_as_away(
    faulty_hub: FaultyHub,
    patient: dict[str, Any],
    queue: TelemetryQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SILENT_SECONDS", 0.1)
    for index in range(101):  # two batches of what an earlier job has left
        queue.enqueue({"job_id": "backup-0", "status": "running", "bytes_transferred": index})
    faulty_hub.next_faults.extend([None, None])  # for the start and the first batch
    faulty_hub.probability, faulty_hub.faults = 1.0, ("timeout",)
    with TelemetryClient(faulty_hub.url, timeout=30.0) as client:
        options = patient | {"client": client, "interval_seconds": 3_600.0}
        tracker = ProgressTracker("backup-1", **options)
        wait_until(lambda: len(faulty_hub.requests) == 3)
        began = time.monotonic()
        tracker.complete()
        assert time.monotonic() - began < 20
        tracker.close()


@pytest.mark.parametrize("faults", [["reset"], ["page502"], ["429", "429"], ["503", "503"]])
def test_an_end_is_tried_again_while_the_hub_is_there(
    faulty_hub: FaultyHub, patient: dict[str, Any], faults: list[str]
) -> None:
    """A stale connection, or a hub that is busy."""
    faulty_hub.retry_after = "0.3"
    tracker = ProgressTracker("backup-1", **patient | {"interval_seconds": 3_600.0})
    wait_until(lambda: tracker.stats.sent == 1)
    faulty_hub.next_faults.extend(faults)
    tracker.complete()
    wait_until(lambda: tracker.is_delivered)
    assert faulty_hub.accepted[-1]["status"] == "completed"


LEAVES = """
import sys
from telemetry_client import ProgressTracker, TelemetryClient
options = {"client": TelemetryClient("http://127.0.0.1:9"), "spool": sys.argv[1]}
ProgressTracker("backup-1", end_deadline_seconds=300, **options).complete()
"""


def test_an_end_that_is_still_tried_when_the_process_exits_can_be_sent_at_once(
    spool_path: Path,
) -> None:
    subprocess.run([sys.executable, "-c", LEAVES, str(spool_path)], check=True, timeout=60)
    with TelemetryQueue(spool_path) as queue:
        assert [update["status"] for update in payloads(queue)] == ["running", "completed"]


def test_closing_leaves_everything_in_the_spool(
    faulty_hub: FaultyHub, patient: dict[str, Any], queue: TelemetryQueue
) -> None:
    faulty_hub.go_down()
    tracker = ProgressTracker("backup-1", **patient)
    tracker.set_phase("copying")
    tracker.close()
    tracker.set_phase("not heard")
    tracker.complete()
    wait_until(lambda: len(payloads(queue)) == 2)
    assert phases(payloads(queue)) == [None, "copying"]
    assert not tracker.is_active


def test_a_slow_hub_loses_nothing(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    faulty_hub.slow_seconds = 0.3
    with ProgressTracker("backup-1", **options) as tracker:
        for number in range(20):
            tracker.update_progress(number)
            time.sleep(0.05)
    assert tracker.stats.spooled > 0
    assert tracker.stats.failed == 0
    assert len(faulty_hub.accepted) == tracker.stats.captured


def test_a_repeat_is_the_same_update_byte_for_byte(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    faulty_hub.next_faults.extend(["half"] * 4)  # some are taken, and the answer is cut
    with ProgressTracker("backup-1", **options) as tracker:
        for number in range(10):
            tracker.update_progress(number, 10, phase=f"phase {number % 2}")
            time.sleep(0.05)
    assert tracker.is_delivered
    assert len(faulty_hub.accepted) == tracker.stats.captured
    stamps = [update["timestamp"] for update in faulty_hub.accepted]
    assert len(set(stamps)) == len(stamps)


def test_what_the_hub_refuses_is_kept_as_a_dead_letter_and_said(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    queue: TelemetryQueue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty_hub.poison = lambda update: update.get("current_phase") == "poison"
    with ProgressTracker("backup-1", **options) as tracker:
        for phase in ("good", "poison", "better"):
            tracker.set_phase(phase)
            time.sleep(0.02)
    assert tracker.is_delivered
    letters = queue.dead_letters()
    assert {letter.payload["current_phase"] for letter in letters} == {"poison"}
    assert {letter.reason for letter in letters} == {"timestamp: Is poison."}
    assert tracker.stats.dead == len(letters) >= 1
    assert "the hub refuses it: job_id=backup-1 reason=timestamp: Is poison." in caplog.text


def test_a_refused_end_is_not_waited_for(
    faulty_hub: FaultyHub, options: dict[str, Any], queue: TelemetryQueue
) -> None:
    faulty_hub.poison = lambda update: update["status"] != "running"
    began = time.monotonic()
    with ProgressTracker("backup-1", **options | {"end_deadline_seconds": 60.0}) as tracker:
        pass
    assert time.monotonic() - began < 30
    assert not tracker.is_delivered
    assert len(queue.dead_letters()) == 1


def test_what_a_full_spool_drops_is_told_with_what_arrives(
    faulty_hub: FaultyHub, options: dict[str, Any], spool_path: Path
) -> None:
    faulty_hub.go_down()
    with TelemetryQueue(spool_path, max_size=6) as small:
        with ProgressTracker("backup-1", **options | {"spool": small}) as tracker:
            tracker.set_phase("copying")
            for number in range(20):
                tracker.update_progress(number)
                time.sleep(0.05)
            faulty_hub.come_up()
        wait_until(lambda: small.get_queue_size() == 0)
    arrived = faulty_hub.accepted
    lost = sum(update.get("lost_updates", 0) for update in arrived)
    assert lost > 5
    assert len(arrived) + lost == tracker.stats.captured
    assert phases(arrived) == [None, "copying"]  # only ordinary ones were dropped
    assert [update["status"] for update in arrived].count("completed") == 1


def test_without_a_spool_memory_is_bounded_and_losses_are_said(
    hub_client: TelemetryClient, faulty_hub: FaultyHub, caplog: pytest.LogCaptureFixture
) -> None:
    faulty_hub.go_down()
    with ProgressTracker(
        "backup-1", client=hub_client, spool=False, end_deadline_seconds=0.2
    ) as tracker:
        for number in range(600):
            tracker.set_phase(f"phase {number}")
        tracker.flush()
    wait_until(lambda: tracker.stats.lost > 600)
    assert "telemetry updates are lost: job_id=backup-1" in caplog.text
    assert "spool cannot be used" not in caplog.text  # none was wanted


def test_without_a_spool_an_outage_is_ridden_out_in_memory(
    hub_client: TelemetryClient, faulty_hub: FaultyHub
) -> None:
    faulty_hub.go_down()
    with ProgressTracker("backup-1", client=hub_client, spool=False) as tracker:
        for number in range(5):
            tracker.set_phase(f"phase {number}")
        tracker.flush()
        faulty_hub.come_up()
    assert tracker.is_delivered
    assert phases(faulty_hub.accepted) == [None, *(f"phase {number}" for number in range(5))]


def test_failures_are_loud_but_not_endless(
    faulty_hub: FaultyHub, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    faulty_hub.go_down()
    with ProgressTracker("backup-1", **options | {"end_deadline_seconds": 0.1}) as tracker:
        wait_until(lambda: tracker.stats.failed >= 3)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    message = "FAILED to send telemetry update, it is kept for later: job_id=backup-1"
    assert errors.count(f"{message} reason=connection_error") == 1


class FullDisk(TelemetryQueue):
    """A queue whose disk is full until it is not."""

    is_full = True

    def enqueue(self, *args: Any, **kwargs: Any) -> int:
        if self.is_full:
            raise QueueError("spool.db: the disk is full")
        return super().enqueue(*args, **kwargs)


def test_what_is_in_memory_goes_to_disk_at_the_end_if_there_is_room_again(
    spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(spool_path)
    spool = Spool("backup-1", lambda: disk, owns_queue=True)
    spool.open()
    for status in ("running", "running", "completed"):
        spool.keep({"job_id": "backup-1", "status": status}, important=True)
    assert caplog.text.count("the disk is full") == 1
    assert disk.get_queue_size() == 0
    disk.is_full = False
    assert spool.flush_memory() == 0
    assert [update["status"] for update in payloads(disk)] == ["running", "running", "completed"]
