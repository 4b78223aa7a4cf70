"""The states of running jobs are kept between transactions, and never used when outdated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from app.clock import utc_now
from app.database.pool import Connection, Database
from app.domain.job_state import JobState
from app.domain.updates import Update
from app.ingest import known_jobs
from app.ingest.known_jobs import KnownJobs
from app.ingest.registration import register
from app.ingest.transaction import Outcome, Receipt, store_updates
from app.store import ingest
from tests.factories import NOW, make_update, pinged
from tests.storing import LATE_DAYS, store

Make = Callable[..., Update]


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect() as conn:
        yield conn


@pytest.fixture
def make() -> Make:
    """`make_update`, with seconds from now: an update of ten minutes ago is not written at once."""
    elapsed = round((utc_now() - NOW).total_seconds())
    return lambda seconds, **changes: make_update(elapsed + seconds, **changes)


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The jobs that each transaction reads and locks."""
    calls: list[set[str]] = []
    lock_jobs = ingest.lock_jobs

    def note(conn: Connection, job_ids: Iterable[str]) -> ingest.LockedJobs:
        calls.append(set(job_ids))
        return lock_jobs(conn, job_ids)

    monkeypatch.setattr(ingest, "lock_jobs", note)
    return calls


def store_known(conn: Connection, known: KnownJobs, *updates: Update) -> list[Outcome]:
    """Store updates as the writer does: again, with locks, if a state was outdated."""
    try:
        outcomes = store_updates(conn, updates, LATE_DAYS, known)
    except ingest.OutdatedState:
        conn.rollback()
        outcomes = store_updates(conn, updates, LATE_DAYS, known)
    conn.commit()
    return outcomes


def row(conn: Connection, columns: str, job_id: str = "j") -> tuple[object, ...] | None:
    return conn.execute(f"SELECT {columns} FROM jobs WHERE job_id = %s", [job_id]).fetchone()


def test_running_job_is_neither_read_nor_locked_again(
    make: Make, conn: Connection, locked: list[set[str]]
) -> None:
    known = KnownJobs()
    for n in range(4):
        store_known(conn, known, make(n - 60, bytes_transferred=n, disks={n % 2: {}}))
    assert locked == [{"j"}, {"j"}]  # the second: after it was created
    assert row(conn, "bytes_transferred, status") == (3, "running")


@pytest.mark.parametrize(
    "update",
    [
        (-60, {"eta_seconds": 1}),  # the same instant
        (-90, {}),
        (-30, {"status": "completed"}),
        (-30, {"lost_updates": 2}),
        (-30, {"interval": 60}),
        (-40 * 86_400, {}),  # shifted
    ],
    ids=["tie", "late", "end", "losses", "interval", "wrong clock"],
)
def test_any_other_update_locks_its_job(
    make: Make, conn: Connection, locked: list[set[str]], update: tuple[float, dict[str, Any]]
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60), make(-60, job_id="other"))
    del locked[:]
    seconds, changes = update
    store_known(conn, known, make(seconds, **changes), make(-20, job_id="other"))
    assert locked == [{"j"}]


def test_an_interval_that_is_known_needs_no_lock(
    make: Make, conn: Connection, locked: list[set[str]]
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60, interval=60))
    del locked[:]
    store_known(conn, known, make(-50, interval=60), make(-40, interval=30))
    assert locked == []
    assert row(conn, "interval_seconds") == (60,)
    store_known(conn, known, make(-30, interval=90))
    store_known(conn, known, make(-20, interval=90))
    assert locked == [{"j"}]
    assert row(conn, "interval_seconds") == (90,)


def test_job_that_another_process_ended_is_not_written(make: Make, conn: Connection) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60, bytes_transferred=1))
    store(conn, make(-50, status="failed", bytes_transferred=2, error_message="full"))
    conn.commit()
    (outcome,) = store_known(conn, known, make(-40, bytes_transferred=3))
    assert isinstance(outcome, Receipt)
    assert not outcome.is_applied
    assert row(conn, "status, bytes_transferred, error_message") == ("failed", 2, "full")


def test_job_that_was_registered_meanwhile_keeps_what_was_registered(
    make: Make, conn: Connection
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60))
    register(conn, {"job_id": "j", "job_type": "backup", "total_bytes": 7})
    conn.commit()
    store_known(conn, known, make(-40, bytes_transferred=3))
    assert row(conn, "total_bytes, bytes_transferred") == (7, 3)


def with_news(update: Update, **news: Any) -> Update:
    for name, value in news.items():
        setattr(update, name, value)
    return update


@pytest.mark.parametrize(
    "news",
    [{}, {"disks": {0: {}}}, {"notes": {"code": "A warning, which is an event."}}],
    ids=["plain", "disk", "event"],
)
def test_job_that_was_deleted_is_created_again(
    make: Make, conn: Connection, owner: Database, news: dict[str, Any]
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60, bytes_transferred=1, vm_name="vm-1"))
    with owner.transaction() as owners:
        owners.execute("DELETE FROM jobs")
    store_known(conn, known, with_news(make(-40, bytes_transferred=3), **news))
    assert row(conn, "bytes_transferred, vm_name") == (3, None)


def test_state_of_a_transaction_that_was_rolled_back_is_not_used(
    make: Make, conn: Connection
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60, bytes_transferred=1))
    known._clock = None  # so that it is not committed at once
    store_updates(conn, [make(-50, bytes_transferred=2, eta_seconds=9)], LATE_DAYS, known)
    conn.rollback()
    store_known(conn, known, make(-40, bytes_transferred=3))
    assert row(conn, "bytes_transferred, eta_seconds") == (3, 0)
    (first, *_) = conn.execute("SELECT bytes_transferred FROM job_telemetry ORDER BY time")
    assert first == (1,)


def test_nothing_of_the_transaction_stays_if_one_of_its_states_was_outdated(
    make: Make,
    conn: Connection,
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60), make(-60, job_id="other"))
    store(conn, make(-50))
    conn.commit()
    both = [make(-40), make(-40, job_id="other")]
    with pytest.raises(ingest.OutdatedState):
        store_updates(conn, both, LATE_DAYS, known)
    conn.rollback()
    assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (3,)


def test_after_each_outdated_state_none_is_used_for_longer(make: Make) -> None:
    known = KnownJobs()
    pauses = []
    for _ in range(9):
        known.distrust()
        pauses.append(0)
        known.keep(JobState("j", "backup", "running", newest=1), 5)
        while not known.take([make(-60)]):
            pauses[-1] += 1
    assert pauses == [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    for _ in range(9):
        known.trust()
    known.distrust()
    assert known._paused_for == known_jobs.SHORTEST_PAUSE


def test_number_of_kept_states_is_limited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_jobs, "MOST_JOBS", 2)
    known = KnownJobs()
    for job_id in ("a", "b", "c"):
        known.keep(JobState(job_id, "backup", "running", newest=1), 5)
    updates = [make(-60, job_id=job_id) for job_id in ("a", "b", "c")]
    assert set(known.take(updates)) == {"b", "c"}


@pytest.mark.parametrize(
    "large",
    [
        {"disks": {index: {} for index in range(known_jobs.MOST_DISKS + 1)}},
        {"error_message": "x" * 256},
        {"disks": {0: {"error_message": "x" * 256}}},
    ],
    ids=["disks", "error", "error of a disk"],
)
def test_large_states_are_not_kept(
    make: Make, conn: Connection, locked: list[set[str]], large: dict[str, Any]
) -> None:
    known = KnownJobs()
    store_known(conn, known, make(-60, **large), make(-60, job_id="other"))
    del locked[:]
    store_known(conn, known, make(-50), make(-50, job_id="other"))
    assert locked == [{"j"}]


def test_another_connection_knows_nothing(
    make: Make, database: Database, locked: list[set[str]]
) -> None:
    """It may lead to a server that has lost the last transactions."""
    known = KnownJobs()
    for n in range(2):
        with database.connect() as conn:
            store_known(conn, known, make(n - 60))
    assert locked == [{"j"}, {"j"}, {"j"}]


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "read"])
@pytest.mark.parametrize("where", ["job", "disk"])
def test_percent_that_was_named_shows_again_once_the_total_is_unknown(
    make: Make, conn: Connection, is_kept: bool, where: str
) -> None:
    known = KnownJobs()
    for seconds, fields in (
        (-60, {"progress_percent": 40.0, "total_bytes": 100}),
        (-50, {"bytes_transferred": 80}),
        (-40, {"total_bytes": 0}),
    ):
        update = make(seconds, **(fields if where == "job" else {"disks": {0: fields}}))
        store_known(conn, known if is_kept else KnownJobs(), update)
    assert row(conn, "progress_percent") == (40,)


def test_pings_of_a_known_job_are_stored_with_locks(
    conn: Connection, make: Make, locked: list[set[str]]
) -> None:
    """Which run they name, and how often it has logged, is not in the state that is kept."""
    known = KnownJobs()
    store_known(conn, known, pinged("start"))
    for update, is_locked in (
        (make(5, job_id="j"), False),
        (pinged("log"), True),
        (pinged("0"), True),
    ):
        locked.clear()
        (outcome,) = store_known(conn, known, update)
        assert isinstance(outcome, Receipt)
        assert bool(locked) == is_locked
    assert row(conn, "status") == ("completed",)
