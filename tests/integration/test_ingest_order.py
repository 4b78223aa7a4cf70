"""The same updates, in any order, once or twice, whole or split, leave the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from app.database.pool import Connection, Database
from app.domain.updates import Update
from app.errors import Conflict
from app.ingest.registration import register
from app.ingest.transaction import Receipt, store_updates
from app.ingest.writer import Writer
from app.store.arrays import execute
from tests.factories import at, make_update
from tests.storing import LATE_DAYS, store

# What depends on when the hub heard of something, not on what it was told.
UPDATE = (
    "job_id, time, status, current_phase, bytes_transferred, total_bytes, transfer_speed_bps, "
    "eta_seconds, progress_percent, error_message, vm_name, sender_time"
)
DISK = "job_id, time, disk_index, status, bytes_transferred, progress_percent, error_message"
EMPTY = """TRUNCATE jobs, series_runs, job_runs, job_disks, job_events, sender_losses,
                    job_telemetry, disk_telemetry"""
LOSS = "job_id, time, lost_updates"
HUB_TIMES = "id, created_at, registered_at, last_telemetry_at, last_progress_at, clock_skew_seconds"


def empty(owner: Database) -> None:
    with owner.transaction() as conn:
        conn.execute(EMPTY)


def rows(conn: Connection, sql: str) -> list[tuple[Any, ...]]:
    return conn.execute(sql).fetchall()


def snapshot(conn: Connection) -> dict[str, Any]:
    """Everything the hub keeps of the jobs but its own clock, and the log of events."""
    jobs = conn.execute("SELECT * FROM jobs ORDER BY job_id")
    names = [column.name for column in jobs.description or ()]
    hub_times = HUB_TIMES.split(", ")
    return {
        "jobs": [
            {name: value for name, value in zip(names, row, strict=True) if name not in hub_times}
            for row in jobs
        ],
        "disks": rows(conn, "SELECT * FROM job_disks ORDER BY job_id, disk_index"),
        "updates": sorted(rows(conn, f"SELECT {UPDATE} FROM job_telemetry"), key=repr),
        "disk_updates": sorted(rows(conn, f"SELECT {DISK} FROM disk_telemetry"), key=repr),
        "losses": rows(conn, f"SELECT {LOSS} FROM sender_losses ORDER BY job_id, time"),
    }


def random_job(chance: random.Random, job_id: str) -> list[Callable[[], Update]]:
    """A job's updates with partial bodies, whole-second ties, stragglers after its end, and repeats
    that tell of other losses.
    """

    def some(**fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if chance.random() < 0.5}

    makers = []
    seconds = -500
    for _ in range(chance.randrange(4, 14)):
        seconds += chance.choice([0, 0, 1, 5])
        fields = some(
            bytes_transferred=chance.randrange(5) * 100,
            total_bytes=chance.choice([0, 400, 500]),
            transfer_speed_bps=chance.randrange(3),
            eta_seconds=chance.randrange(3),
            progress_percent=float(chance.randrange(100)),
            current_phase=chance.choice(["snapshot", "transferring"]),
            vm_name=chance.choice(["vm-1", "vm-2"]),
            error_message=chance.choice(["odd", "even"]),
        )
        disks = {
            index: some(
                bytes_transferred=chance.randrange(4) * 100,
                total_bytes=300,
                progress_percent=float(chance.choice([10, 100])),
                status=chance.choice(["pending", "transferring", "completed", "failed"]),
                error_message="disk",
            )
            for index in range(3)
            if chance.random() < 0.3
        }
        makers.append((seconds, "running", {**fields, "disks": disks}))
        if chance.random() < 0.3:
            for _ in range(chance.randrange(1, 4)):
                update = {**makers[-1][2], "lost_updates": chance.randrange(9)}
                makers.append((seconds, "running", update))
    if chance.random() < 0.8:
        end_at = chance.choice([seconds + 1, seconds, -498])
        status = chance.choice(["completed", "failed", "cancelled"])
        makers.append((end_at, status, some(bytes_transferred=300, error_message="end")))
    return [
        lambda s=s, status=status, fields=fields: make_update(  # type: ignore[misc]
            s,
            status,
            job_id=job_id,
            **{k: dict(v) if k == "disks" else v for k, v in fields.items()},
        )
        for s, status, fields in makers
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_gives_the_same_rows(database: Database, owner: Database, seed: int) -> None:
    chance = random.Random(seed)
    makers = [make for n in range(6) for make in random_job(chance, f"j{n}")]
    conn = database.connect(autocommit=True)
    try:
        store(conn, *(make() for make in makers))
        expected = snapshot(conn)
        for _ in range(2):
            empty(owner)
            mixed = makers * 2
            chance.shuffle(mixed)
            while mixed:
                size = chance.randrange(1, 8)
                store(conn, *(make() for make in mixed[:size]))
                mixed = mixed[size:]
            found = snapshot(conn)
            for part, content in expected.items():
                assert found[part] == content
    finally:
        conn.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_registration_gives_the_same_rows_whenever_it_comes(
    database: Database, owner: Database, seed: int
) -> None:
    chance = random.Random(seed)
    jobs = {f"j{n}": random_job(chance, f"j{n}") for n in range(4)}
    registrations = {
        job_id: {
            "job_id": job_id,
            "job_type": "backup",
            "repository_id": "repo",
            "total_bytes": chance.choice([None, 450]),
            "disks": [
                {"disk_index": index, "size_bytes": chance.choice([0, 300])}
                for index in chance.sample(range(5), chance.randrange(4))
            ],
        }
        for job_id in jobs
    }
    with closing(database.connect(autocommit=True)) as conn:
        expected = None
        for turn in range(4):
            empty(owner)
            for job_id, makers in jobs.items():
                mixed = makers * 2
                chance.shuffle(mixed)
                # First, last, and then anywhere.
                moment = [0, len(mixed)][turn] if turn < 2 else chance.randrange(len(mixed))
                for position in range(len(mixed) + 1):
                    if position == moment:
                        with conn.transaction():
                            register(conn, registrations[job_id])
                    if position < len(mixed):
                        store(conn, mixed[position]())
            found = snapshot(conn)
            expected = expected or found
            for part, content in expected.items():
                assert found[part] == content, turn


def test_what_was_lost_is_told_once_and_never_less(database: Database) -> None:
    def stored_losses() -> dict[str, Any]:
        found = snapshot(conn)
        (job,) = found["jobs"]
        losses = [(job_id, lost) for job_id, _, lost in found["losses"]]
        return {"losses": losses, "warning": job["warnings"].get("sender_lost")}

    def lost_by(*updates: Update) -> list[tuple[bool, int]]:
        return [(receipt.is_duplicate, receipt.lost_updates) for receipt in store(conn, *updates)]

    sentence = f"The sender lost {{}} (last reported {at(-60)})."
    with closing(database.connect(autocommit=True)) as conn:
        assert lost_by(make_update(-60)) == [(False, 0)]
        assert stored_losses() == {"losses": [], "warning": None}
        conn.execute("UPDATE jobs SET performance_metrics = '{}', last_telemetry_at = '2026-01-01'")
        assert lost_by(make_update(-60, lost_updates=1)) == [(True, 1)]
        assert stored_losses() == {"losses": [("j", 1)], "warning": sentence.format("1 update")}
        assert rows(
            conn, "SELECT performance_metrics, last_telemetry_at = '2026-01-01' FROM jobs"
        ) == [(None, True)]  # the chart changes; no sign of life
        conn.execute("UPDATE jobs SET performance_metrics = '{}'")
        for less in (0, 1):
            assert lost_by(make_update(-60, lost_updates=less)) == [(True, 0)]
        assert rows(conn, "SELECT performance_metrics FROM jobs") == [({},)]
        more = [make_update(-60, lost_updates=lost) for lost in (3, 12, 5)]
        assert lost_by(*more) == [(True, 11), (True, 0), (True, 0)]
        assert stored_losses() == {"losses": [("j", 12)], "warning": sentence.format("12 updates")}
        assert lost_by(make_update(-90, lost_updates=2)) == [(False, 2)]
        assert stored_losses()["warning"] == sentence.format("14 updates")
        events = rows(conn, "SELECT kind, actor, reason FROM job_events ORDER BY id")
    assert events[1:] == [("warning", "hub", sentence.format("1 update"))]


def test_a_loss_is_known_by_the_time_at_which_its_update_is_kept(database: Database) -> None:
    """A sender whose clock is wrong: stored shifted, and repeated with another count."""
    with closing(database.connect(autocommit=True)) as conn:
        store(conn, make_update(7200, lost_updates=4))
        store(conn, make_update(7200, lost_updates=6))
        stored = rows(conn, f"SELECT {LOSS} FROM sender_losses")
        assert stored == rows(conn, "SELECT job_id, time, 6 FROM job_telemetry")


def test_a_refused_update_tells_of_no_loss(database: Database) -> None:
    with closing(database.connect(autocommit=True)) as conn:
        store(conn, make_update(-60))
        other = make_update(-50, lost_updates=4)
        other.job_type = "restore"
        with conn.transaction():
            refused, stored = store_updates(conn, [other, make_update(-40, lost_updates=3)], 28)
        assert isinstance(refused, Conflict)
        assert isinstance(stored, Receipt)
        assert stored.lost_updates == 3
        assert rows(conn, "SELECT job_id, lost_updates FROM sender_losses") == [("j", 3)]


def test_losses_are_told_after_the_end_and_go_with_their_job(
    database: Database, owner: Database
) -> None:
    with closing(database.connect(autocommit=True)) as conn:
        store(conn, make_update(-60), make_update(-50, "completed"))
        store(conn, make_update(-55, lost_updates=2), make_update(-40, lost_updates=3))
        (job,) = snapshot(conn)["jobs"]
        assert job["status"] == "completed"
        assert job["warnings"]["sender_lost"].startswith("The sender lost 5 updates")
        with owner.transaction() as owning:
            owning.execute("DELETE FROM jobs")
        assert rows(conn, "SELECT * FROM sender_losses") == []


def test_ordinary_updates_run_no_statement_about_losses(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    def noted(conn: Connection, query: Any, params: Any) -> Any:
        statements.append(query)
        return execute(conn, query, params)

    monkeypatch.setattr("app.store.ingest.execute", noted)
    with closing(database.connect(autocommit=True)) as conn:
        store(conn, make_update(-60), make_update(-50))
        assert statements
        assert "sender_losses" not in "".join(statements)
        store(conn, make_update(-40, lost_updates=1), make_update(-30, lost_updates=1))
        assert sum("sender_losses" in statement for statement in statements) == 1


def test_completions_of_one_transaction_are_judged_one_after_the_other(
    database: Database,
) -> None:
    def completion(status: str) -> Update:
        return Update("", "j", status, is_telemetry=False)

    with closing(database.connect(autocommit=True)) as conn:
        store(conn, make_update(-60))
        with conn.transaction():
            first, other, again = store_updates(
                conn, [completion("completed"), completion("failed"), completion("completed")], 28
            )
        assert isinstance(first, Receipt)
        assert not first.is_duplicate
        assert isinstance(other, Conflict)
        assert isinstance(again, Receipt)
        assert again.is_duplicate
        assert rows(conn, "SELECT count(*) FROM job_telemetry") == [(2,)]


def test_twenty_jobs_from_eight_threads_out_of_order_and_twice(
    database: Database, owner: Database
) -> None:
    chance = random.Random(20)
    makers = [make for n in range(20) for make in random_job(chance, f"j{n}")]
    with closing(database.connect(autocommit=True)) as conn:
        for make in makers:
            store(conn, make())
        expected = snapshot(conn)
        empty(owner)
        mixed = makers * 2
        chance.shuffle(mixed)
        writer = Writer(
            database,
            {Update: store_updates},
            capacity=1000,
            wait_seconds=30,
            late_days=LATE_DAYS,
        )
        writer.start()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda make: writer.submit([make()]), mixed))
        writer.stop()
        found = snapshot(conn)
    for part, content in expected.items():
        assert found[part] == content
