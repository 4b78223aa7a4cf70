"""The sender's queue against plain lists, and its tracker against a hub that fails in many ways."""

from __future__ import annotations

import tempfile
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from telemetry_client import TelemetryClient, TelemetryQueue
from telemetry_client.queue import file_queue
from telemetry_client.queue.drain import Drain
from telemetry_client.queue.statistics import COUNTERS
from telemetry_client.tracker import ProgressTracker, backlog, delivery
from tests.fuzz.queue_model import DAY, WAIT, QueueModel
from tests.fuzz.sizes import RUNS
from tools.faulty_hub import SILENT, FaultyHub

SIZE = 6
OWNERS = st.sampled_from(["a", "b"])
PAYLOADS = st.one_of(
    st.fixed_dictionaries(
        {"job_id": st.sampled_from(["j", "k"])},
        optional={
            "status": st.sampled_from(["running", "completed"]),
            "lost_updates": st.integers(1, 3),
        },
    ),
    st.fixed_dictionaries(
        {"node_id": st.just("n")}, optional={"lost_snapshots": st.integers(1, 3)}
    ),
    st.just({"whatever": 1}),
)


class QueueMachine(RuleBasedStateMachine):
    """Two users of one file, who take turns."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.model = QueueModel(SIZE)
        self.directory = tempfile.TemporaryDirectory()
        self.queues = {name: self.open() for name in ("a", "b")}

    def open(self) -> TelemetryQueue:
        def clock() -> float:
            return self.model.now

        path = Path(self.directory.name) / "queue.db"
        return TelemetryQueue(path, SIZE, clock=clock, wall_clock=clock)

    @rule(
        target=ids,
        owner=OWNERS,
        payload=PAYLOADS,
        important=st.booleans(),
        leased=st.booleans(),
    )
    def enqueue(self, owner: str, payload: dict[str, Any], important: bool, leased: bool) -> int:
        row_id = self.queues[owner].enqueue(payload, important=important, leased=leased)
        assert row_id == self.model.enqueue(owner, payload, important, leased)
        # Only now: once leases have ended, what they protected stays until the next one comes.
        leased_rows = [row for row in self.model.rows if self.model.is_leased(row)]
        assert self.queues[owner].get_queue_size() <= SIZE + 1 + len(leased_rows)
        return row_id

    @rule(owner=OWNERS, limit=st.integers(1, SIZE))
    def dequeue(self, owner: str, limit: int) -> None:
        taken = self.queues[owner].dequeue(limit)
        expected = self.model.dequeue(owner, limit)
        assert [(e.id, e.payload, e.tries, e.queued_at) for e in taken] == [
            (row.id, row.payload, row.tries, row.queued_at) for row in expected
        ]

    @rule(owner=OWNERS, row_ids=st.lists(ids, max_size=3))
    def acknowledge(self, owner: str, row_ids: list[int]) -> None:
        self.queues[owner].acknowledge(row_ids)
        self.model.acknowledge(row_ids)

    @rule(owner=OWNERS, row_id=ids)
    def release(self, owner: str, row_id: int) -> None:
        self.queues[owner].release(row_id)
        self.model.release(owner, row_id)

    @rule(owner=OWNERS, row_id=ids)
    def fail(self, owner: str, row_id: int) -> None:
        self.queues[owner].mark_failed(row_id)
        self.model.fail(owner, row_id)

    @rule(owner=OWNERS, row_id=ids)
    def kill(self, owner: str, row_id: int) -> None:
        self.queues[owner].mark_dead(row_id, "refused")
        self.model.kill(owner, row_id)

    @rule(owner=OWNERS, row_ids=st.none() | st.lists(ids, max_size=3))
    def replay(self, owner: str, row_ids: list[int] | None) -> None:
        moved = self.queues[owner].replay(row_ids)
        assert moved == self.model.replay(None if row_ids is None else set(row_ids))

    @rule(owner=OWNERS, row_ids=st.lists(ids, max_size=2))
    def forget_dead(self, owner: str, row_ids: list[int]) -> None:
        gone = [row for row in self.model.dead if row.id in row_ids]
        assert self.queues[owner].forget_dead(row_ids) == len(gone)
        self.model.dead = [row for row in self.model.dead if row not in gone]

    @rule(owner=OWNERS, stream=st.sampled_from(["j", "k", "node/n"]))
    def take_losses(self, owner: str, stream: str) -> None:
        assert self.queues[owner].take_losses(stream) == self.model.untold.pop(stream, 0)

    @rule(seconds=st.sampled_from([1.0, WAIT, 30.0, 61.0, 20 * DAY]))
    def pass_time(self, seconds: float) -> None:
        self.model.now += seconds

    @rule(target=ids, owner=OWNERS)
    def reopen(self, owner: str) -> Any:
        """A process that was killed: its leases stay until they end, and belong to no process."""
        self.queues[owner].close()
        self.queues[owner] = self.open()
        for row in self.model.rows:
            if row.owner == owner:
                row.owner = "nobody"
        return multiple()

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        model, stats = self.model, self.queues["a"].get_stats()
        held = [row for row in model.rows if model.is_held(row)]
        leased = [row for row in held if row.owner is not None]
        expected = {
            "queue_size": len(model.rows),
            "leased": len(leased),
            "waiting": len(held) - len(leased),
            "dead": len(model.dead),
            "lost_untold": sum(model.untold.values()),
            "enqueued_total": model.last_id,
            **{name: model.counts[name] for name in COUNTERS},
        }
        assert {name: stats[name] for name in expected} == expected
        assert [(d.id, d.payload, d.tries) for d in self.queues["b"].dead_letters()] == [
            (row.id, row.payload, row.tries) for row in model.dead
        ]

    def teardown(self) -> None:
        for queue in self.queues.values():
            queue.close()
        self.directory.cleanup()


@pytest.mark.timeout(7200 if RUNS else 600)  # a failure takes its time to be made small
def test_the_queue_holds_what_plain_lists_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_queue, "backoff_seconds", lambda tries: WAIT)
    run_machine(
        QueueMachine,
        settings=settings(
            max_examples=RUNS or 40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# The tracker.

# Not 400 and 500, which say of good updates that they are bad: those end as dead letters.
FAULTS = ("reset", "timeout", "502", "503", "429", "401", "half", "garbage")
STEPS = st.one_of(
    st.tuples(st.just("progress"), st.integers(0, 1000)),
    st.tuples(st.just("phase"), st.none()),
    st.tuples(st.just("error"), st.none()),
    st.tuples(
        st.just("disk"),
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 100),
            st.sampled_from([None, "transferring", "completed"]),
        ),
    ),
    st.tuples(st.just("flush"), st.none()),
)


class Job:
    """A job's code with its tracker, and what the hub must come to know."""

    def __init__(self, tracker: ProgressTracker) -> None:
        self.tracker = tracker
        self.done: int | None = None
        self.phases: list[tuple[str, int | None]] = []
        self.errors: list[tuple[str, int | None]] = []
        self.disks: dict[int, dict[str, Any]] = {}

    def step(self, kind: str, value: Any, number: int) -> None:
        if kind == "progress":
            self.done = value
            self.tracker.update_progress(value, 1000)
        elif kind == "phase":
            self.phases.append((f"phase {number}", self.done))
            self.tracker.set_phase(f"phase {number}")
        elif kind == "error":
            self.errors.append((f"error {number}", self.done))
            self.tracker.report_error(f"error {number}")
        elif kind == "disk":
            index, done, status = value
            disk = self.disks.setdefault(index, {"disk_index": index})
            disk |= {"bytes_transferred": done} | ({"status": status} if status else {})
            self.tracker.update_disk(index, done, status=status)
        else:
            assert self.tracker.flush()

    def check(self, accepted: list[dict[str, Any]], status: str) -> None:
        by_time = sorted(accepted, key=lambda update: update["timestamp"])
        times = [datetime.fromisoformat(update["timestamp"]) for update in by_time]
        assert len(set(times)) == len(times), "something is there twice"
        assert [u["status"] for u in by_time] == ["running"] * (len(by_time) - 1) + [status]
        running, end = by_time[:-1], by_time[-1]
        phases = [next(group) for _, group in groupby(running, lambda u: u.get("current_phase"))]
        reported = [(u["current_phase"], u) for u in phases if "current_phase" in u]
        self.must_tell(self.phases, reported)
        self.must_tell(self.errors, [(u["error"], u) for u in running if "error" in u])
        known: dict[int, dict[str, Any]] = {}
        for update in by_time:
            for disk in update.get("disks", []):
                known.setdefault(disk["disk_index"], {}).update(disk)
            if {"bytes_transferred", "total_bytes"} <= set(update) and update is not end:
                percent = update["bytes_transferred"] * 10_000 // 1000 / 100
                assert update["progress_percent"] == percent
        assert {i: disk | self.disks[i] for i, disk in known.items()} == known
        assert set(known) == set(self.disks)
        if self.done is not None:
            assert end["bytes_transferred"] == self.done
            expected = 100.0 if status == "completed" else self.done / 10
            assert end["progress_percent"] == expected

    def must_tell(
        self, expected: list[tuple[str, int | None]], reported: list[tuple[str, dict[str, Any]]]
    ) -> None:
        assert [text for text, _ in reported] == [text for text, _ in expected]
        for (_, done), (_, update) in zip(expected, reported, strict=True):
            assert done is None or update["bytes_transferred"] == done


@pytest.mark.timeout(7200 if RUNS else 600)
@settings(max_examples=RUNS // 10 or 8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(STEPS, max_size=30),
    status=st.sampled_from(["completed", "failed", "cancelled"]),
    probability=st.sampled_from([0.0, 0.3, 0.7]),
    seed=st.integers(0, 2**16),
)
def test_the_hub_comes_to_know_all_that_matters(
    steps: list[tuple[str, Any]], status: str, probability: float, seed: int
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as directory,
        FaultyHub(probability=probability, faults=FAULTS, seed=seed) as hub,
        TelemetryClient(hub.url, timeout=0.3) as client,
        TelemetryQueue(Path(directory) / "queue.db") as queue,
    ):
        patch.setattr(backlog, "PROBE_SECONDS", 0.05)
        patch.setattr(delivery, "END_PROBE_SECONDS", 0.05)
        hub.retry_after, hub.hold_seconds = "0", 0.5
        tracker = ProgressTracker(
            "backup-1", client=client, spool=queue, interval_seconds=0.05, end_deadline_seconds=1.0
        )
        job = Job(tracker)
        for number, (kind, value) in enumerate(steps):
            job.step(kind, value, number)
        if status == "completed":
            tracker.complete()
        elif status == "failed":
            tracker.fail("broken")
        else:
            tracker.cancel()
        tracker.set_phase("after the end")
        tracker.update_progress(7)
        hub.probability = 0.0
        drain = Drain(queue, client, batches_per_second=1000.0, probe_seconds=0.05)
        while queue.get_queue_size():
            drain.step()
        assert (tracker.stats.lost, tracker.stats.dead) == (0, 0)
        job.check(hub.accepted, status)
        if probability == 0.0:
            stamps = [update["timestamp"] for update in hub.accepted]
            assert stamps == sorted(stamps)
            assert hub.duplicates == 0
        assert hub.duplicates <= sum(request.fault in SILENT for request in hub.requests) * 100
