"""What a job's code sees of its tracker, and what the hub gets of it. Nothing raises, ever."""

from __future__ import annotations

import gc
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.queue import TelemetryQueue
from telemetry_client.tracker import ProgressAggregator, ProgressTracker
from telemetry_client.wire.body import size_of
from telemetry_client.wire.client import TelemetryClient
from tests.client.queue.test_drain import BackupsOnly
from tools.faulty_hub import FaultyHub
from tools.hub_process import wait_until

NEVER = 3_600.0  # an interval that no test lives to see


@pytest.fixture
def options(hub_client: TelemetryClient, spool_path: Path) -> dict[str, Any]:
    """Of a tracker that says nothing but changes of state."""
    return {"client": hub_client, "spool": spool_path, "interval_seconds": NEVER}


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """A tracker's threads end with its job."""
    yield
    if telemetry_threads():
        gc.collect()  # a collection of everything takes a while
    wait_until(lambda: not telemetry_threads())


def telemetry_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("telemetry-")]


def received(hub: FaultyHub, *fields: str) -> list[Any]:
    """Those fields of every update in the hub, in order; a bare value where there is one field."""
    rows = [tuple(update.get(field) for field in fields) for update in hub.accepted]
    return [row[0] for row in rows] if len(fields) == 1 else rows


def test_start_and_end_are_sent_if_nothing_else_is(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-vm1-1", vm_name="vm1", total_bytes=5, **options) as tracker:
        pass
    start, end = faulty_hub.accepted
    assert (start["status"], start["vm_name"], start["total_bytes"]) == ("running", "vm1", 5)
    assert (end["status"], end["progress_percent"], end["job_type"]) == ("completed", 100, "backup")
    assert tracker.is_delivered
    assert not tracker.is_active
    assert (tracker.stats.captured, tracker.stats.sent, tracker.stats.failed) == (2, 2, 0)


@pytest.mark.parametrize(
    ("interval", "told"), [(0.1, 1), (5.0, 5), (59.5, 60), (90_000.0, 86_400), (math.nan, 5)]
)
def test_the_first_update_tells_how_often_others_follow(
    faulty_hub: FaultyHub, options: dict[str, Any], interval: float, told: int
) -> None:
    options["interval_seconds"] = interval
    with ProgressTracker("backup-1", **options):
        pass
    first, *others = received(faulty_hub, "interval_seconds")
    assert (first, set(others)) == (told, {None})


def test_every_phase_is_told_in_order_however_fast_they_come(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    phases = [f"phase {number}" for number in range(300)]
    with ProgressTracker("backup-1", **options) as tracker:
        for number, phase in enumerate(phases):
            tracker.update_progress(number, phase=phase)
    by_time = sorted(faulty_hub.accepted, key=lambda update: update["timestamp"])
    running = [update for update in by_time if "current_phase" in update][:-1]
    assert [update["current_phase"] for update in running] == phases
    assert [update["bytes_transferred"] for update in running] == list(range(300))
    assert faulty_hub.duplicates == 0


def test_an_update_is_sent_every_ten_percent(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    options["interval_seconds"] = 5.0
    with ProgressTracker("backup-1", total_bytes=100, **options) as tracker:
        for done in (0, 5, 11, 15, 22):
            tracker.update_progress(done)
            time.sleep(0.45)
    assert received(faulty_hub, "progress_percent")[1:-1] == [0.0, 11.0, 22.0]


def test_an_update_is_sent_every_interval_with_the_newest_numbers(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    options["interval_seconds"] = 0.1
    with ProgressTracker("backup-1", **options) as tracker:
        for number in range(100):
            tracker.update_progress(number)
            time.sleep(0.01)
    numbers = received(faulty_hub, "bytes_transferred")[1:-1]
    assert len(numbers) >= 3
    assert numbers == sorted(numbers)
    stamps = [datetime.fromisoformat(stamp) for stamp in received(faulty_hub, "timestamp")[1:-1]]
    gaps = [later - earlier for earlier, later in pairwise(stamps)]
    assert min(gaps) > timedelta(seconds=0.08)


def test_speed_and_time_left_are_measured_when_the_job_tells_none(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    options["interval_seconds"] = 0.2
    with ProgressTracker("backup-1", total_bytes=10**6, **options) as tracker:
        for number in range(130):  # more than a second
            tracker.update_progress(number * 1_000)
            time.sleep(0.01)
        fields = ("transfer_speed_bps", "eta_seconds", "bytes_transferred")
        speed, eta, done = received(faulty_hub, *fields)[-1]
    assert 1_000 < speed <= 110_000
    assert eta == math.ceil((10**6 - done) / speed)


def test_the_heartbeat_of_a_job_that_hangs_has_no_speed(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    options["interval_seconds"] = 0.2
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.report(Progress(500, 1_000, speed_bps=123, eta_seconds=4))
        time.sleep(1.2)
    updates = faulty_hub.accepted[1:-1]
    assert updates[0]["transfer_speed_bps"] == 123
    assert updates[-1]["transfer_speed_bps"] == 0
    assert "eta_seconds" not in updates[-1]


def test_what_the_job_tells_of_speed_and_time_is_kept(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.update_progress(10, 100, 7, 13, phase="transferring")
    update = faulty_hub.accepted[1]
    assert (update["transfer_speed_bps"], update["eta_seconds"]) == (7, 13)
    assert (update["total_bytes"], update["progress_percent"]) == (100, 10.0)


def test_errors_and_disks_that_change_are_told_at_once(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.flush()
        tracker.report_error("one block is bad")
        tracker.flush()
        tracker.update_disk(0, 5, 10, status="transferring")
        wait_until(lambda: any("disks" in update for update in faulty_hub.accepted))
        tracker.update_disk(0, 10, status="completed")
    assert received(faulty_hub, "error")[1] == "one block is bad"
    disks = [update["disks"][0] for update in faulty_hub.accepted if "disks" in update]
    assert [disk["status"] for disk in disks] == ["transferring", "completed"]
    assert disks[0]["total_bytes"] == 10
    assert "total_bytes" not in disks[1]
    # The sum of the disks, if the job names none.
    assert received(faulty_hub, "bytes_transferred")[-1] == 10


def test_a_report_tells_everything(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.report(Progress(5, 10, 1, 5, "reading", (DiskProgress(0, 5, 10),)))
        tracker.report(Progress(phase="reading", percent=70.0, error="slow disk"))
    phases = [(update.get("current_phase"), update.get("error")) for update in faulty_hub.accepted]
    assert phases == [(None, None), ("reading", None), ("reading", "slow disk"), ("reading", None)]


@pytest.mark.parametrize("count", [8, 40])
def test_updates_stay_small_with_many_disks(
    faulty_hub: FaultyHub, options: dict[str, Any], count: int
) -> None:
    options |= {"interval_seconds": 0.1, "vm_name": "pgtest1", "repository_id": "repository-1"}
    size = 10 * 2**40
    with ProgressTracker("backup-pgtest1-1760096737", **options) as tracker:
        for step in range(5):
            for index in range(count):
                status = "transferring" if step < 4 else "completed"
                done = size * (step + 1) // 5 - index * (step < 4)
                tracker.update_disk(index, done, size, speed_bps=10**9, status=status)
            time.sleep(0.1)
    assert max(size_of(update) for update in faulty_hub.accepted) < 1_024
    state: dict[int, dict[str, Any]] = {}
    for update in sorted(faulty_hub.accepted, key=lambda update: update["timestamp"]):
        for disk in update.get("disks", []):
            state.setdefault(disk["disk_index"], {}).update(disk)
    assert len(state) == count
    assert {(disk["status"], disk["bytes_transferred"]) for disk in state.values()} == {
        ("completed", size)
    }


class NoMessage(Exception):
    pass


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (None, "completed", None),
        (ValueError("the disk is gone"), "failed", "the disk is gone"),
        (NoMessage(), "failed", "NoMessage"),
        (Rude(), "failed", "Rude"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
        (SystemExit(0), "completed", None),
        (SystemExit(), "completed", None),
        (SystemExit(3), "failed", "exit status 3"),
        (SystemExit("no space"), "failed", "no space"),
    ],
)
def test_the_block_ends_the_job(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    raised: BaseException | None,
    status: str,
    error: str | None,
) -> None:
    caught: BaseException | None = None
    try:
        with ProgressTracker("backup-1", **options):
            if raised is not None:
                raise raised
    except BaseException as exc:
        caught = exc
    assert caught is raised
    assert received(faulty_hub, "status", "error")[-1] == (status, error)


def test_the_first_end_counts_and_nothing_comes_after_it(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    tracker = ProgressTracker("backup-1", **options)
    tracker.fail("broken")
    tracker.complete()
    tracker.cancel()
    tracker.update_progress(5, phase="late")
    tracker.report_error("late")
    tracker.update_disk(0, 5, status="completed")
    assert tracker.flush() is False
    assert received(faulty_hub, "status", "error") == [("running", None), ("failed", "broken")]


def test_without_a_job_id_it_does_nothing(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    with ProgressTracker(**options) as tracker:
        tracker.update_progress(5, phase="transferring")
        tracker.report(Progress(5, phase="x", disks=(DiskProgress(0, 1),)))
        tracker.update_disk(0, 5)
        tracker.report_error("x")
        assert not telemetry_threads()
    assert tracker.job_id is None
    assert not tracker.is_delivered
    assert tracker.stats.captured == 0
    assert faulty_hub.requests == []


@pytest.mark.parametrize(
    ("job_id", "given_type", "job_type"),
    [
        ("replication-vm1-7", None, "replication"),
        ("test-telemetry-1", None, "job"),
        ("backup-1", "restore", "restore"),
        ("backup-1", "No Type!", "backup"),
    ],
)
def test_job_id_comes_from_the_environment_and_its_type_from_the_id(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    job_id: str,
    given_type: str | None,
    job_type: str,
) -> None:
    monkeypatch.setenv("MIGRATEKIT_JOB_ID", job_id)
    with ProgressTracker.from_env(job_type=given_type, **options) as tracker:
        assert (tracker.job_id, tracker.job_type) == (job_id, job_type)
    assert set(received(faulty_hub, "job_id", "job_type")) == {(job_id, job_type)}


@pytest.mark.parametrize("job_id", ["a/b", "", ".", "summary", "x" * 256, "a\nb", "a\ud800"])
def test_an_id_that_the_hub_refuses_is_said_and_not_tried(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    job_id: str,
) -> None:
    with ProgressTracker(job_id, **options) as tracker:
        tracker.update_progress(5, phase="x")
    assert faulty_hub.requests == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class Touchy:
    """A value that breaks whatever is done with it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __index__(self) -> int:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise RuntimeError("no")


class Shout(str):
    def __str__(self) -> str:
        return "never this"


BAD: list[Any] = [
    math.nan,
    math.inf,
    -1,
    2**200,
    10**5_000,
    "12",
    b"12",
    True,
    [],
    "a\ud800\0b",
    Shout("loud"),
    Touchy(),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda value: type(value).__name__)
def test_nothing_that_a_job_gives_raises_or_spoils_an_update(
    faulty_hub: FaultyHub, options: dict[str, Any], bad: Any
) -> None:
    options["interval_seconds"] = bad
    with ProgressTracker(
        "backup-1", bad, vm_name=bad, repository_id=bad, total_bytes=bad, phase=bad, **options
    ) as tracker:
        tracker.update_progress(bad, bad, bad, bad, bad)
        tracker.set_phase(bad)
        tracker.report_error(bad)
        tracker.update_disk(bad, bad, bad, speed_bps=bad, status=bad, error=bad, percent=bad)
        tracker.report(Progress(bad, bad, bad, bad, bad, (DiskProgress(bad, bad),), bad, bad))
        tracker.report(bad)
        tracker.update_progress(50, 100)
        tracker.fail(bad)
    last = faulty_hub.accepted[-1]
    assert (last["status"], last["bytes_transferred"], last["total_bytes"]) == ("failed", 50, 100)
    if isinstance(bad, Shout):
        assert last["error"] == "loud"
    assert tracker.stats.dead == 0


class BrokenClient:
    """Raises, or gives something else than an answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def push(self, update: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    push_batch = push


@pytest.mark.parametrize("answer", [RuntimeError("bug"), None, "ok"])
def test_a_broken_client_breaks_no_job(
    spool_path: Path, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    client: Any = BrokenClient(answer)
    with ProgressTracker(
        "backup-1", client=client, spool=spool_path, end_deadline_seconds=0.2
    ) as tracker:
        tracker.update_progress(5, phase="transferring")
    assert not tracker.is_delivered
    assert "FAILED to send telemetry update" in caplog.text
    with TelemetryQueue(spool_path) as queue:
        wait_until(lambda: len(queue.dequeue()) >= 3 or queue.get_queue_size() == 3)


def test_an_address_that_is_none_is_said_and_breaks_no_job(
    spool_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHA_API_URL", "no address")
    with ProgressTracker("backup-1", spool=spool_path, end_deadline_seconds=0.1):
        pass
    assert "No telemetry can be sent: job_id=backup-1" in caplog.text


def test_a_spool_that_cannot_be_used_is_said_once_and_memory_does(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("no directory")
    options["spool"] = tmp_path / "file" / "spool.db"
    with ProgressTracker("backup-1", **options) as tracker:
        for phase in "abc":
            tracker.set_phase(phase)
    assert received(faulty_hub, "current_phase", "status")[1:] == [
        *((phase, "running") for phase in "abc"),
        ("c", "completed"),
    ]
    records = [record for record in caplog.records if "spool cannot be used" in record.message]
    assert len(records) == 1
    assert records[0].levelno == logging.ERROR


def test_a_source_is_asked_when_an_update_is_due(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    options["interval_seconds"] = 0.1
    numbers = iter(range(10_000))
    with ProgressTracker(
        "backup-1", source=lambda: Progress(next(numbers), 10_000, phase="copying"), **options
    ):
        time.sleep(0.5)
    updates = faulty_hub.accepted
    assert len(updates) >= 4
    assert {update.get("current_phase") for update in updates} == {"copying"}


def test_a_source_that_breaks_is_said_and_its_last_answer_stays(
    faulty_hub: FaultyHub, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    options["interval_seconds"] = 0.1
    answers: list[Any] = [Progress(5, 10, phase="copying"), "nonsense"]

    def source() -> Any:
        return answers.pop(0) if answers else 1 / 0

    with ProgressTracker("backup-1", source=source, **options):
        time.sleep(0.3)
    assert received(faulty_hub, "bytes_transferred", "status")[-1] == (5, "completed")
    assert caplog.text.count("The source of a job's progress fails") == 1


def test_an_aggregator_is_the_trackers_source(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        aggregator = ProgressAggregator(tracker)
        aggregator.add_disk(0, 100)
        aggregator.add_disk(1, 100)
        aggregator.set_phase("transferring")
        aggregator.add_bytes(100, disk=0)
        aggregator.complete_disk(0)
        wait_until(lambda: "completed" in str(received(faulty_hub, "disks")))
        aggregator.add_bytes(60, disk=1)
    end = faulty_hub.accepted[-1]
    assert (end["bytes_transferred"], end["total_bytes"]) == (160, 200)
    assert {update.get("current_phase") for update in faulty_hub.accepted[1:]} == {"transferring"}


def test_ten_trackers_share_a_spool(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    trackers = [ProgressTracker(f"backup-{number}", **options) for number in range(10)]
    for phase in ("snapshot", "transferring"):
        for tracker in trackers:
            tracker.set_phase(phase)
    enders = [threading.Thread(target=tracker.complete) for tracker in trackers]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()
    assert all(tracker.is_delivered for tracker in trackers)
    assert len(faulty_hub.accepted) == 40
    assert faulty_hub.duplicates == 0


def test_the_log_says_what_is_sent(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "telemetry_client"),
        ProgressTracker("backup-1", **options) as tracker,
    ):
        tracker.update_progress(5, 10, 2, phase="transferring")
    messages = [record.getMessage() for record in caplog.records]
    assert "SHA telemetry tracker initialized: job_id=backup-1 job_type=backup" in messages
    assert (
        "Sending telemetry update to SHA: job_id=backup-1 bytes=5 total=10 percent=50.0 speed_bps=2"
        in messages
    )
    assert messages.count("SHA telemetry update sent: job_id=backup-1") == 3


def test_the_threads_are_quiet(options: dict[str, Any]) -> None:
    options["interval_seconds"] = 5.0
    tracker = ProgressTracker("backup-1", total_bytes=100, **options)
    time.sleep(0.5)
    before = wakes()
    time.sleep(1.0)
    after = wakes()
    tracker.complete()
    assert len(before) == 2
    assert sum(after[name] - before[name] for name in before) <= 8


def wakes() -> dict[str, int]:
    """How often each of a tracker's threads has gone to sleep so far."""
    found = {}
    for thread in telemetry_threads():
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("voluntary")]
        found[thread.name] = int(line.split()[1])
    return found


def test_a_tracker_that_is_dropped_stops(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    tracker = ProgressTracker("backup-1", **options)
    tracker.set_phase("snapshot")
    wait_until(lambda: len(faulty_hub.accepted) == 2)
    del tracker
    gc.collect()
    wait_until(lambda: not telemetry_threads())
    assert received(faulty_hub, "status") == ["running", "running"]  # no end was reported


@pytest.mark.parametrize("trouble", ["none", "down", "slow", "garbage"])
def test_telling_progress_costs_less_than_the_job_notices(
    faulty_hub: FaultyHub, options: dict[str, Any], trouble: str
) -> None:
    faulty_hub.slow_seconds = 30.0 if trouble == "slow" else 0.0
    faulty_hub.probability, faulty_hub.faults = float(trouble == "garbage"), ("garbage",)
    if trouble == "down":
        faulty_hub.go_down()
    options |= {"interval_seconds": 0.05, "end_deadline_seconds": 0.1}
    with ProgressTracker("backup-1", total_bytes=10**9, **options) as tracker:
        waited, worked = time.monotonic(), time.thread_time()
        for number in range(20_000):
            tracker.update_progress(number, 10**9, phase="transferring")
        # Other processes do not count as work; bench/sender.py measures what a call takes.
        assert time.thread_time() - worked < 20_000 * 50e-6
        assert time.monotonic() - waited < 25, "a call waited for the hub"


def test_a_forked_child_neither_hangs_nor_sends(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.set_phase("before")
        tracker.flush()
        child = os.fork()
        if child == 0:
            try:
                tracker.set_phase("in the child")
                tracker.report_error("in the child")
                tracker.update_disk(0, 5, status="completed")
                tracker.update_progress(5)
                tracker.fail("in the child")
                with tracker:
                    pass
            finally:
                os._exit(0)
        wait_for(child, 60)
        tracker.set_phase("after")
    assert received(faulty_hub, "current_phase", "status") == [
        (None, "running"),
        ("before", "running"),
        ("after", "running"),
        ("after", "completed"),
    ]


def test_a_forked_child_may_track_a_job_of_its_own(
    faulty_hub: FaultyHub, options: dict[str, Any]
) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        tracker.flush()
        child = os.fork()
        if child == 0:
            try:
                own = {**options, "client": TelemetryClient(faulty_hub.url)}
                ProgressTracker("backup-2", **own).complete()
            finally:
                os._exit(0)
        wait_for(child, 60)
    ends = [
        job for job, status in received(faulty_hub, "job_id", "status") if status == "completed"
    ]
    assert ends == ["backup-2", "backup-1"]


def wait_for(child: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)


LEAVES = """
import sys, time
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.tracker import ProgressTracker
tracker = ProgressTracker("backup-1", client=TelemetryClient(sys.argv[1]), spool=sys.argv[2])
tracker.flush(30)
for phase in "abc":
    tracker.update_progress(7, phase=phase)
print(time.monotonic(), flush=True)
"""


@pytest.mark.parametrize("fault", ["timeout", "garbage"])
def test_what_is_pending_when_the_process_ends_goes_to_the_spool(
    faulty_hub: FaultyHub, spool_path: Path, fault: str
) -> None:
    faulty_hub.probability, faulty_hub.faults = 1.0, (fault,)
    sender = subprocess.run(
        [sys.executable, "-c", LEAVES, faulty_hub.url, str(spool_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    left_after = time.monotonic() - float(sender.stdout)
    assert sender.returncode == 0
    assert "Traceback" not in sender.stderr
    assert left_after < 3
    with TelemetryQueue(spool_path) as queue:
        entries = queue.dequeue()
    assert [entry.payload.get("current_phase") for entry in entries] == [None, "a", "b", "c"]


INTERRUPTED = """
import logging, os, signal, sys, time
from telemetry_client import ProgressAggregator, ProgressTracker, TelemetryClient

logging.disable()
client = TelemetryClient("http://127.0.0.1:9")
tracker = ProgressTracker("backup-1", client=client, spool=sys.argv[1], interval_seconds=3600)
work = ProgressAggregator(tracker)
handled = 0

def handle(number, frame):
    global handled
    handled += 1
    tracker.look_now()
    work.add_bytes(1)

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
until = time.monotonic() + 2
while time.monotonic() < until:
    tracker.look_now()
    work.add_bytes(1)
signal.setitimer(signal.ITIMER_REAL, 0)
assert handled > 100
os._exit(0)
"""


def test_a_signals_handler_may_call_it_whatever_it_interrupts(spool_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(spool_path)]
    subprocess.run(command, check=True, timeout=30)


def test_a_source_that_never_answers_holds_no_end(
    faulty_hub: FaultyHub, options: dict[str, Any], spool_path: Path
) -> None:
    faulty_hub.go_down()
    is_stuck, goes_on = threading.Event(), threading.Event()

    def source() -> None:
        is_stuck.set()
        goes_on.wait()

    tracker = ProgressTracker("backup-1", source=source, end_deadline_seconds=0.2, **options)
    assert is_stuck.wait(60)
    tracker.set_phase("copying")
    tracker.fail("it broke")
    with TelemetryQueue(spool_path) as queue:
        kept = [entry.payload for entry in queue.dequeue()]
    assert [(update["status"], update.get("current_phase")) for update in kept] == [
        ("running", None),
        ("running", "copying"),
        ("failed", None),
    ]
    assert kept[-1]["error"] == "it broke"
    stamps = [update["timestamp"] for update in kept]
    assert stamps == sorted(set(stamps))
    goes_on.set()
    wait_until(lambda: not telemetry_threads())
    assert tracker.stats.captured == 3, "the end was told once"


def test_its_own_thread_may_drop_it(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *exc_info: trouble.append(exc_info))
    monkeypatch.setattr(sys, "unraisablehook", trouble.append)
    tracker = [ProgressTracker("backup-1", **options)]
    is_asked, goes_on = threading.Event(), threading.Event()

    def source() -> None:
        is_asked.set()
        goes_on.wait()
        tracker.clear()

    tracker[0].use_source(source)
    assert is_asked.wait(60)
    goes_on.set()
    wait_until(lambda: not telemetry_threads())
    assert trouble == []


def test_the_same_error_again_is_not_news(faulty_hub: FaultyHub, options: dict[str, Any]) -> None:
    with ProgressTracker("backup-1", **options) as tracker:
        for message in ("one", "one", "two", "one"):
            tracker.report_error(message)
    assert received(faulty_hub, "error") == [None, "one", "two", "one", None]


def test_a_spool_stays_where_it_is_when_the_job_goes_elsewhere(
    faulty_hub: FaultyHub,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faulty_hub.go_down()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    tracker = ProgressTracker(
        "backup-1", **{**options, "spool": "here.db", "end_deadline_seconds": 0.1}
    )
    monkeypatch.chdir(elsewhere)
    tracker.complete()
    with TelemetryQueue(tmp_path / "here.db") as queue:
        assert [entry.payload["status"] for entry in queue.dequeue()] == ["running", "completed"]
    assert list(elsewhere.iterdir()) == []


def test_updates_are_posted_while_the_spool_holds_what_another_token_is_for(
    spool_path: Path,
) -> None:
    with TelemetryQueue(spool_path) as queue:
        for number in range(150):
            queue.enqueue({"job_id": f"restore-{number}", "job_type": "restore"})
    client = BackupsOnly()
    with ProgressTracker(
        "backup-1", client=client, spool=spool_path, interval_seconds=0.05
    ) as tracker:
        wait_until(lambda: tracker.stats.failed > 0)  # the drain has met them
        tracker.update_progress(7, 100)
        wait_until(lambda: 7 in client.taken)
    client.close()
