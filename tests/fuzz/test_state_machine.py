"""Whatever a hub is told, in whatever order, it shows what a simple model of a job says.

Updates with partial bodies, ties, repeats, wrong clocks and losses, one by one and in batches; ends
by telemetry and without; registrations; the detector at chosen moments; restarts of the hub.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from app import create_app
from app.api.factory import close_app
from app.clock import from_micros, to_micros
from app.config import Config
from app.database.pool import Database
from app.domain.fields import DISK_FIELDS, JOB_FIELDS
from app.domain.timestamps import OLD_AFTER
from app.domain.updates import Update
from app.ingest import known_jobs
from jobs.detect_stale_jobs import run_once
from tests.fuzz.model import FAIL_SECONDS, STALL_SECONDS, Model, says_the_same
from tests.fuzz.sizes import RUNS

SECOND = 1_000_000
LATE_DAYS = 28
FUTURE = 300 * SECOND
MARGIN = 55 * SECOND  # a run goes on for 60 s after its end

HOUR, DAY = 3600, 86_400
# Few, so that many are the same; then an hour of its own, and clocks that are wrong. They are
# closer together than what counts as a clock that was set back, where the order of arrival decides.
ORDINARY = [-27, -20, -20.5, -14, -7, -7, -1, 2]
OLD = [-3 * HOUR, -3 * HOUR + 1]
WRONG = [2 * HOUR, 2 * HOUR + 7, 30 * DAY, -40 * DAY, -40 * DAY + 7]
COUNTS = st.sampled_from([0, 1, 50, 100, 100, 400, 2**62, 2**63 - 1])
SPEEDS = st.integers(0, 3) | st.integers(0, 10**10)
PERCENTS = st.integers(0, 100) | st.just(150)
TEXTS = st.sampled_from(["odd", "even", "snapshot"])


def objects(fields: dict[str, st.SearchStrategy[Any]], **required: Any) -> Any:
    return st.fixed_dictionaries(required, optional=fields)


DISKS = st.lists(
    objects(
        {
            "status": st.sampled_from(["pending", "transferring", "completed", "failed"]),
            "bytes_transferred": COUNTS,
            "total_bytes": COUNTS,
            "transfer_speed_bps": SPEEDS,
            "progress_percent": PERCENTS,
            "error_message": TEXTS,
        },
        disk_index=st.integers(0, 2),
    ),
    max_size=3,
    unique_by=lambda disk: disk["disk_index"],
)
REPORTED = {
    "current_phase": TEXTS,
    "bytes_transferred": COUNTS,
    "total_bytes": COUNTS,
    "transfer_speed_bps": SPEEDS,
    "eta_seconds": st.integers(0, 9),
    "progress_percent": PERCENTS,
    "error": TEXTS,
    "vm_name": st.sampled_from(["", "vm-1", "vm-2"]),
    "disks": DISKS,
    "lost_updates": st.integers(0, 9),
}
STATUSES = st.sampled_from(["running"] * 9 + ["completed", "failed", "cancelled"])
ENDS = st.sampled_from(["completed", "failed", "cancelled"])
BODIES = objects(REPORTED, status=STATUSES)
RUNNING = objects(REPORTED, status=st.just("running"))
PLAUSIBLE = st.sampled_from(ORDINARY + OLD)
ANY_TIME = st.sampled_from([*ORDINARY, *OLD, *WRONG, None])

numbers = itertools.count()


class Hub:
    """The application in one or more workers, which can be built again on the same database.

    The next request goes to the worker that `turn` names.
    """

    def __init__(self, config: Config, database: Database, workers: int) -> None:
        self.config, self.database = config, database
        self.turn = 0
        self.apps: list[Flask] = [create_app(config) for _ in range(workers)]

    def restart(self) -> None:
        self.close()
        self.apps = [create_app(self.config) for _ in self.apps]

    def close(self) -> None:
        for app in self.apps:
            close_app(app)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        client = self.apps[self.turn % len(self.apps)].test_client()
        answer = client.open(f"/api/v1{path}", method=method, json=body)
        return answer.status_code, answer.get_json()

    def sweep(self, now: datetime, watched_seconds: int) -> None:
        """The detector at a moment by which some process has been listening for so long."""
        watch = ["fuzz", now - timedelta(seconds=watched_seconds), now]
        with self.database.transaction() as conn:
            conn.execute("INSERT INTO ingest_beats VALUES (%s, %s, %s)", watch)
        run_once(self.database, self.config, now)
        with self.database.transaction() as conn:
            conn.execute("DELETE FROM ingest_beats WHERE process_id = 'fuzz'")


class Machine(RuleBasedStateMachine):
    """One job in each run."""

    hub: Hub

    def __init__(self) -> None:
        super().__init__()
        self.job_id = f"fuzz-{os.getpid()}-{next(numbers)}"
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.model = Model()
        self.sent: list[dict[str, Any]] = []  # bodies that may be repeated
        self.last_seen: int | None = None
        self.has_restarted = False
        self.is_registered = self.is_registered_before = False  # before its last update

    # What is told, and to which worker.

    @precondition(lambda self: len(self.hub.apps) > 1)
    @rule()
    def turn_to_the_next_worker(self) -> None:
        self.hub.turn += 1

    @rule(body=BODIES, seconds=ANY_TIME)
    def push(self, body: dict[str, Any], seconds: float | None) -> None:
        self.push_body({**body, **self.stamp(seconds)})

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(0, 99), lost=st.integers(0, 9))
    def push_again(self, pick: int, lost: int) -> None:
        self.push_body({**self.sent[pick % len(self.sent)], "lost_updates": lost})

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(0, 99), fields=objects(REPORTED))
    def push_alike(self, pick: int, fields: dict[str, Any]) -> None:
        """The same instant, and other news: no repeat, but a tie."""
        self.push_body({**self.sent[pick % len(self.sent)], **fields})

    @rule(
        bodies=st.lists(st.tuples(RUNNING, PLAUSIBLE), max_size=5),
        end=st.none() | st.tuples(objects(REPORTED, status=ENDS), PLAUSIBLE),
        picks=st.lists(st.integers(0, 99), max_size=3),
        chance=st.randoms(use_true_random=False),
    )
    def push_batch(self, bodies: list[Any], end: Any, picks: list[int], chance: Any) -> None:
        items = [{**body, **self.stamp(at)} for body, at in bodies]
        # One end at most that is new, and clocks that are right: else it would matter in which
        # order the items of a batch are stored, which is not defined.
        if end is not None and chance.random() < 0.3:
            items.append({**end[0], **self.stamp(end[1])})
        stored = [body for body in self.sent if self.model.find(self.update(body))]
        items += [stored[pick % len(stored)] for pick in picks if stored]
        chance.shuffle(items)
        if items:
            self.push_items(items)

    @rule(status=ENDS, fields=objects({name: REPORTED[name] for name in ("error", "disks")}))
    def complete(self, status: str, fields: dict[str, Any]) -> None:
        body = {"status": status, **fields}
        code, answer = self.hub.ask("POST", f"/jobs/{self.job_id}/complete", body)
        if self.model.job_type is None:
            assert code == 404
        elif self.model.end is not None:
            assert code == (200 if self.model.end == status else 409)
        else:
            assert code == 200
            assert not answer["duplicate"]
            update = self.update(body)
            update.is_telemetry, update.time = False, micros(answer["time"])
            self.model.store([update])
            self.is_registered_before = self.is_registered

    @rule(
        fields=objects(
            {
                "vm_name": st.sampled_from(["vm-1", "vm-2"]),
                "total_bytes": COUNTS,
                "disks": st.lists(
                    objects({}, disk_index=st.integers(0, 3), size_bytes=COUNTS),
                    max_size=3,
                    unique_by=lambda disk: disk["disk_index"],
                ),
            }
        ),
        job_type=st.sampled_from(["backup"] * 9 + ["restore"]),
    )
    def register(self, fields: dict[str, Any], job_type: str) -> None:
        if self.is_registered_before and self.model.status in ("completed", "failed", "cancelled"):
            return  # of the next run
        body = {"job_id": self.job_id, "job_type": job_type, **fields}
        code, _ = self.hub.ask("POST", "/jobs", body)
        known = self.model.job_type
        machine = self.model.rows()[0]["vm_name"]
        is_other = machine is not None and fields.get("vm_name", machine) != machine
        if known is not None and (known != job_type or is_other):
            assert code == 409
        else:
            assert code == (201 if known is None else 200)
            self.model.register(body)
            self.is_registered = True

    @rule(
        silent=st.sampled_from([0, 30, STALL_SECONDS, 120, FAIL_SECONDS, 400]),
        watched=st.sampled_from([30, 100, HOUR, HOUR]),
    )
    def sweep(self, silent: int, watched: int) -> None:
        last_seen = to_micros(datetime.now(UTC)) if self.last_seen is None else self.last_seen
        now = last_seen + silent * SECOND
        self.hub.sweep(from_micros(now), watched)
        self.model.sweep(now, watched, self.last_seen)

    @precondition(lambda self: not self.has_restarted and len(self.model.updates) > 2)
    @rule(dice=st.integers(1, 6))
    def restart(self, dice: int) -> None:
        if dice == 6:  # it takes its time
            self.has_restarted = True
            self.hub.restart()

    # What must hold.

    @invariant()
    def the_job_is_as_the_model_says(self) -> None:
        code, job = self.hub.ask("GET", f"/jobs/{self.job_id}")
        if self.model.job_type is None:
            assert code == 404
            return
        row, disks = self.model.rows()
        row |= {"job_type": self.model.job_type, "status": self.model.status}
        if self.model.verdict is not None and self.model.end is None:
            assert self.model.verdict in job["error_message"]
            del row["error_message"]
        registered_at = to_micros(datetime.fromisoformat(job["created_at"]))
        row["started_at"] = stamp(self.model.started_at(registered_at))
        row["completed_at"] = stamp(self.model.completed_at)
        row["newest_update_at"] = stamp(self.model.newest)
        row["last_telemetry_at"] = stamp(self.last_seen)
        for name in self.model.unknown:
            row[name] = row[name] or None
        if job["speed_source"] != "reported":  # derived, of a live job
            assert row.pop("transfer_speed_bps") is None
        offset = self.model.offset
        row["clock_offset_seconds"] = None if offset is None else offset / SECOND
        assert {name: plain(job[name]) for name in row} == {n: plain(v) for n, v in row.items()}
        for disk in (*disks.values(), *job["disks"]):
            for name in ("total_bytes", "transfer_speed_bps"):
                disk[name] = disk[name] or 0
        shown = {d["disk_index"]: {n: plain(d[n]) for n in DISK_FIELDS} for d in job["disks"]}
        assert shown == {i: {n: plain(v) for n, v in d.items()} for i, d in disks.items()}
        lost = sum(self.model.lost.values())
        warnings = [text for text in job["warnings"] if text.startswith("The sender lost")]
        assert [text.split()[3] for text in warnings] == ([str(lost)] if self.model.lost else [])

    def teardown(self) -> None:
        if self.model.job_type is None:
            return
        _, events = self.hub.ask("GET", f"/jobs/{self.job_id}/events?limit=500")
        transitions = [
            (event["from_status"], event["to_status"], event["actor"])
            for event in events["items"]
            if event["kind"] == "transition"
        ]
        assert transitions == self.model.transitions
        others = [e for e in events["items"] if "; the first end stays." in e["reason"]]
        assert len(others) == self.model.other_ends
        too_late = [e for e in events["items"] if "update" in e["evidence"]]
        assert len(too_late) == len(self.model.too_late)
        _, chart = self.hub.ask("GET", f"/telemetry/history/{self.job_id}?points=5000")
        points = chart.pop("chart_data")
        chart["bytes"] = sorted(-1 if point["b"] is None else point["b"] for point in points)
        expected = self.model.chart()
        assert {name: plain(chart[name]) for name in expected} == {
            name: plain(value) for name, value in expected.items()
        }
        self.hub.ask("POST", f"/jobs/{self.job_id}/complete", {"status": "cancelled"})

    # Telling it.

    def stamp(self, seconds: float | None) -> dict[str, str]:
        if seconds is None:
            return {}
        return {"timestamp": (self.now + timedelta(seconds=seconds)).isoformat()}

    def is_of_another_run(self, body: dict[str, Any]) -> bool:
        """Whether it would begin a run, or divide this one: see tests/integration/test_runs.py."""
        update, now = self.update(body), to_micros(datetime.now(UTC))
        if update.timestamp is None or self.model.newest is None:
            time = now
        elif is_plausible(update.timestamp, now):
            time = update.timestamp
        elif is_plausible(update.timestamp + (self.model.offset or 0), now):
            time = update.timestamp + (self.model.offset or 0)
        else:
            time = now
        ended_at = self.model.completed_at if self.model.end else None
        if ended_at is not None and time > ended_at + MARGIN:
            return True
        newest = self.model.newest or 0
        return update.status != "running" and newest > time + MARGIN

    def push_body(self, body: dict[str, Any]) -> None:
        if self.is_of_another_run(body):
            return
        job_type = self.model.job_type or "backup"
        code, answer = self.hub.ask("POST", f"/telemetry/{job_type}/{self.job_id}", body)
        assert code == 200, answer
        self.model.job_type = job_type
        self.sent.append(body)
        update = self.update(body)
        earlier = self.model.find(update)
        assert answer["duplicate"] == (earlier is not None)
        received = micros(answer["received_at"])
        if earlier is None and self.is_too_late(update.timestamp, received):
            update.time = update.timestamp or 0
            self.model.too_late.append(update)
        elif earlier is None:
            update.time = self.place(update.timestamp, received, micros(answer["time"]))
            self.model.store([update])
            self.last_seen = received
            self.is_registered_before = self.is_registered
        assert micros(answer["time"]) == (earlier or update).time
        self.note_losses([body])

    def is_too_late(self, timestamp: int | None, received: int) -> bool:
        """Whether an update of an ended job has no place in its run."""
        if self.model.end is None or timestamp is None:
            return False
        offsets = (0, self.model.offset or 0)
        return not any(is_plausible(timestamp + offset, received) for offset in offsets)

    def place(self, timestamp: int | None, received: int, kept: int) -> int:
        """Where the series keeps an update; `kept` is where the hub has it."""
        if timestamp is None:
            return max(received, (self.model.newest or 0) + 1)
        if is_plausible(timestamp, received):
            return timestamp
        offset = self.model.offset
        if offset is None:
            assert kept == received
            self.model.offset = received - timestamp
        elif is_plausible(timestamp + offset, received):
            return timestamp + offset
        return received

    def push_items(self, items: list[dict[str, Any]]) -> None:
        ends = [self.update(item).timestamp or 0 for item in items if item["status"] != "running"]
        times = [self.update(item).timestamp or 0 for item in items]
        is_divided = any(abs(time - end) > MARGIN for end in ends for time in times)
        if is_divided or any(self.is_of_another_run(item) for item in items):
            return
        job_type = self.model.job_type or "backup"
        named = {"job_type": job_type, "job_id": self.job_id}
        code, answer = self.hub.ask(
            "POST", "/telemetry/batch", {"updates": [{**item, **named} for item in items]}
        )
        assert code == 200, answer
        assert answer["rejected"] == []
        self.model.job_type = job_type
        new: list[Update] = []
        for body in items:
            update = self.update(body)
            if self.model.find(update) is None and not any(says_the_same(update, n) for n in new):
                assert update.timestamp is not None
                update.time = update.timestamp
                new.append(update)
        assert (answer["accepted"], answer["duplicates"]) == (len(new), len(items) - len(new))
        self.sent += items
        if new:
            # In a transaction for each age, fresh ones first.
            old = [
                update for update in new if update.time < to_micros(datetime.now(UTC)) - OLD_AFTER
            ]
            for transaction in ([update for update in new if update not in old], old):
                if transaction:
                    self.model.store(transaction)
            _, job = self.hub.ask("GET", f"/jobs/{self.job_id}")
            seen = micros(job["last_telemetry_at"])
            assert self.last_seen is None or seen > self.last_seen
            self.last_seen = seen
            self.is_registered_before = self.is_registered
        self.note_losses(items)

    def note_losses(self, bodies: list[dict[str, Any]]) -> None:
        for body in bodies:
            found = self.model.find(self.update(body)) or self.model.updates[-1]
            if lost := body.get("lost_updates"):
                self.model.lost[found.time] = max(lost, self.model.lost.get(found.time, 0))

    def update(self, body: dict[str, Any]) -> Update:
        """What the body says, under the names of the columns."""
        reported = {**body, "error_message": body.get("error")}
        fields = {
            name: reported[name] for name in JOB_FIELDS if reported.get(name) not in (None, "")
        }
        disks = {disk["disk_index"]: named(disk, DISK_FIELDS) for disk in body.get("disks", [])}
        timestamp = micros(body["timestamp"]) if "timestamp" in body else None
        fields = named(fields, JOB_FIELDS)
        return Update("", self.job_id, body["status"], timestamp, fields, disks)


def named(reported: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    fields = {name: reported[name] for name in names if name in reported}
    if "progress_percent" in fields:
        fields["progress_percent"] = min(float(fields["progress_percent"]), 100.0)
    return fields


def is_plausible(timestamp: int, now: int) -> bool:
    return now - LATE_DAYS * DAY * SECOND <= timestamp <= now + FUTURE


def micros(text: str) -> int:
    return to_micros(datetime.fromisoformat(text))


def stamp(instant: int | None) -> str | None:
    return None if instant is None else from_micros(instant).isoformat()


def plain(value: Any) -> Any:
    """Comparable: percents and means by two decimals, instants as instants."""
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, str) and value[:2] == "20" and "T" in value:
        return micros(value)
    return value


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def hub(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    config: Config,
    open_owner: Database,
) -> Iterator[Hub]:
    # Workers that find a state of theirs outdated go on using them, so that it happens often.
    monkeypatch.setattr(known_jobs, "SHORTEST_PAUSE", 0)
    monkeypatch.setattr(known_jobs, "LONGEST_PAUSE", 0)
    hub = Hub(config, open_owner, request.param)
    yield hub
    hub.close()


@pytest.mark.timeout(7200 if RUNS else 900)  # a failure takes its time to be made small
def test_the_hub_shows_what_the_model_says(hub: Hub) -> None:
    class OnHub(Machine):
        pass

    OnHub.hub = hub
    run_machine(
        OnHub,
        settings=settings(
            max_examples=RUNS or 14,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
