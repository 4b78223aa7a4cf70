"""A job's id is used again: each use is a run of its own, whatever the order of arrival."""

from __future__ import annotations

import random
from typing import Any

import pytest

from app.charts.job import read_history
from app.database.pool import Connection, Database
from app.domain.runs import GRACE
from app.domain.timestamps import SECOND
from app.domain.updates import Update
from app.errors import Conflict
from app.ingest.divide import divide_run
from app.ingest.known_jobs import KnownJobs
from app.ingest.registration import register
from app.ingest.transaction import Receipt, store_updates
from app.store.ingest import OutdatedState
from app.store.repair import read_undivided
from tests.factories import fresh, make_update, micros, pinged
from tests.storing import LATE_DAYS, store

NIGHT = -20_000  # seconds from now

RUNS = """SELECT job_id, extract(epoch FROM started_at)::bigint, status,
                 extract(epoch FROM completed_at)::bigint, bytes_transferred
          FROM jobs ORDER BY started_at, id"""


def runs(conn: Connection) -> list[tuple[Any, ...]]:
    """Key, start, status, end and bytes of each run, in the order of time."""
    return conn.execute(RUNS).fetchall()


def second(seconds: float) -> int:
    return micros(seconds) // SECOND


def start(seconds: float, **changes: Any) -> Update:
    update = make_update(seconds, **changes)
    update.is_start = True
    return update


def keys(receipts: list[Receipt]) -> list[str]:
    return [receipt.run for receipt in receipts]


def night(at: int, status: str, size: int) -> list[Update]:
    return [
        make_update(at, bytes_transferred=0),
        make_update(at + 30, bytes_transferred=size // 2),
        make_update(at + 300, status, bytes_transferred=size),
    ]


def test_an_update_well_after_the_end_begins_a_run(conn: Connection) -> None:
    for number in range(3):
        status = ("completed", "failed", "completed")[number]
        for update in night(NIGHT + number * 1000, status, 100 * (number + 1)):
            (receipt,) = store(conn, update)
            assert receipt.is_applied
    assert runs(conn) == [
        ("j", second(NIGHT), "completed", second(NIGHT + 300), 100),
        ("j/2", second(NIGHT + 1000), "failed", second(NIGHT + 1300), 200),
        ("j/3", second(NIGHT + 2000), "completed", second(NIGHT + 2300), 300),
    ]
    assert conn.execute("SELECT * FROM job_runs").fetchall() == [("j", 3, "j/3")]
    for name, peak in (("j/1", 3), ("j/2", 3), ("j", 3)):
        assert read_history(conn, name, points=100).statistics.updates == peak
    events = "SELECT to_status FROM job_events WHERE job_id = 'j/2' ORDER BY id"
    assert conn.execute(events).fetchall() == [("running",), ("failed",)]


@pytest.mark.parametrize("seconds", [0.5, 59, 60])
def test_a_heartbeat_that_was_on_its_way_begins_none(conn: Connection, seconds: float) -> None:
    store(conn, *night(NIGHT, "completed", 100))
    (receipt,) = store(conn, make_update(NIGHT + 300 + seconds))
    assert (receipt.is_applied, receipt.run) == (False, "j")
    assert len(runs(conn)) == 1


def test_its_first_update_may_say_that_it_begins_a_run(conn: Connection) -> None:
    store(conn, *night(NIGHT, "completed", 100))
    again = start(NIGHT + 302, bytes_transferred=1)
    (receipt,) = store(conn, again)
    assert (receipt.is_applied, receipt.run) == (True, "j/2")
    assert [r.is_duplicate for r in store(conn, start(NIGHT + 302, bytes_transferred=1))] == [True]
    assert keys(store(conn, make_update(NIGHT + 310), make_update(NIGHT + 301))) == ["j/2", "j"]
    assert [run[:3] for run in runs(conn)] == [
        ("j", second(NIGHT), "completed"),
        ("j/2", second(NIGHT + 302), "running"),
    ]


def test_a_run_whose_sender_was_killed_is_followed_by_the_next(conn: Connection) -> None:
    store(conn, start(NIGHT), make_update(NIGHT + 30))
    store(conn, start(NIGHT + 1000), make_update(NIGHT + 1300, "completed"))
    assert [run[:3] for run in runs(conn)] == [
        ("j", second(NIGHT), "running"),
        ("j/2", second(NIGHT + 1000), "completed"),
    ]
    # Late updates find their run by time, and its end does too.
    late = store(conn, make_update(NIGHT + 20), make_update(NIGHT + 40, "failed"))
    assert keys(late) == ["j", "j"]
    assert [run[:4] for run in runs(conn)] == [
        ("j", second(NIGHT), "failed", second(NIGHT + 40)),
        ("j/2", second(NIGHT + 1000), "completed", second(NIGHT + 1300)),
    ]


def test_a_second_end_well_after_the_first_is_a_run(conn: Connection) -> None:
    store(conn, make_update(NIGHT, "completed", bytes_transferred=5))
    store(conn, make_update(NIGHT + 61, "failed", error_message="no space"))
    assert [run[:4] for run in runs(conn)] == [
        ("j", second(NIGHT), "completed", second(NIGHT)),
        ("j/2", second(NIGHT + 61), "failed", second(NIGHT + 61)),
    ]


def test_starts_and_ends_in_one_second_stay_apart(conn: Connection) -> None:
    """As a shell script sends them, with whole seconds."""
    for number in range(3):
        store(conn, start(NIGHT + number, bytes_transferred=number))
        store(conn, make_update(NIGHT + number + 1, "completed", bytes_transferred=number + 10))
    expected = [
        (
            ("j", "j/2", "j/3")[n],
            second(NIGHT + n),
            "completed",
            second(NIGHT + n + 1),
            n + 10,
        )
        for n in range(3)
    ]
    assert runs(conn) == expected
    ends = [make_update(NIGHT + n + 1, "completed", bytes_transferred=n + 10) for n in range(3)]
    assert [r.is_duplicate for r in store(conn, *ends)] == [True] * 3


def test_a_registration_after_the_end_begins_a_run(conn: Connection) -> None:
    registration = {"job_id": "j", "job_type": "backup", "vm_name": "vm-1", "total_bytes": 50}
    assert register(conn, registration)
    assert not register(conn, registration)
    store(conn, fresh(-20), fresh(-10, status="completed"))
    assert register(conn, {**registration, "vm_name": "vm-2"})
    assert not register(conn, {**registration, "vm_name": "vm-2"})
    names = "SELECT job_id, status, vm_name FROM jobs ORDER BY id"
    assert conn.execute(names).fetchall() == [
        ("j", "completed", "vm-1"),
        ("j/2", "pending", "vm-2"),
    ]
    # A heartbeat from before the end is of the first run, the next update of the second.
    assert keys(store(conn, fresh(-15), fresh(-5))) == ["j", "j/2"]


def test_a_late_registration_is_of_the_run_that_has_just_ended(conn: Connection) -> None:
    store(conn, fresh(-20), fresh(-10, status="completed"))
    registration = {"job_id": "j", "job_type": "backup", "vm_name": "vm-1"}
    assert not register(conn, registration)
    assert register(conn, {**registration, "new_run": True})
    assert conn.execute("SELECT vm_name, status FROM jobs ORDER BY id").fetchall() == [
        ("vm-1", "completed"),
        ("vm-1", "pending"),
    ]


def test_a_run_has_the_identity_of_the_one_before(conn: Connection) -> None:
    store(conn, make_update(NIGHT, "completed", vm_name="vm-1", repository_id="r"))
    store(conn, make_update(NIGHT + 1000), make_update(NIGHT + 1010, repository_id="s"))
    identities = "SELECT vm_name, repository_id FROM jobs ORDER BY id"
    assert conn.execute(identities).fetchall() == [("vm-1", "r"), ("vm-1", "s")]


def test_a_run_that_another_process_began_is_found(conn: Connection) -> None:
    """Its kept state of the run before is outdated, although the row's values are not."""
    known = KnownJobs()

    def push(update: Update) -> Receipt:
        with conn.transaction():
            outcome = store_updates(conn, [update], LATE_DAYS, known)[0]
        assert isinstance(outcome, Receipt)
        return outcome

    push(make_update(NIGHT))
    push(make_update(NIGHT + 5))
    store(conn, start(NIGHT + 1000))
    with pytest.raises(OutdatedState):
        push(make_update(NIGHT + 1005))
    assert push(make_update(NIGHT + 1005)).run == "j/2"


def model(updates: list[Update]) -> list[tuple[int, str, int | None, int]]:
    """Start, status, end and number of updates of the runs, by their definition."""
    found: list[list[Update]] = []
    end: int | None = None
    for update in sorted(updates, key=lambda u: u.timestamp or 0):
        at = update.timestamp or 0
        if not found or update.is_start or (end is not None and at > end + GRACE):
            found.append([])
            end = None
        found[-1].append(update)
        if update.is_end and end is None:
            end = at
    shown = []
    for run in found:
        ends = [u for u in run if u.is_end]
        status, at_end = (ends[0].status, ends[0].timestamp) if ends else ("running", None)
        shown.append(
            (
                (run[0].timestamp or 0) // SECOND,
                status,
                None if at_end is None else at_end // SECOND,
                len(run),
            )
        )
    return shown


STORED = """SELECT extract(epoch FROM started_at)::bigint, status,
                   extract(epoch FROM completed_at)::bigint,
                   (SELECT count(*) FROM job_telemetry AS t WHERE t.job_id = jobs.job_id)
            FROM jobs ORDER BY started_at"""


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_arrival_gives_the_same_runs(
    conn: Connection, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    at, nights = NIGHT, []
    for _ in range(chance.randrange(2, 5)):
        is_announced = chance.random() < 0.5
        updates = [start(at) if is_announced else make_update(at)]
        for _ in range(chance.randrange(4)):
            at += chance.choice([1, 20, 200])
            updates.append(make_update(at, bytes_transferred=at - NIGHT))
        has_ended = chance.random() < 0.8
        if has_ended:
            at += 10
            updates.append(make_update(at, chance.choice(["completed", "failed"])))
            if chance.random() < 0.3:
                updates.append(make_update(at + 5))
        nights.append(updates)
        at += chance.choice([70, 500, 5000])
    updates = [update for group in nights for update in group]
    expected = model(updates)
    chance.shuffle(updates)
    while updates:
        size = chance.randrange(1, 5)
        store(conn, *updates[:size])
        del updates[:size]
    assert conn.execute(STORED).fetchall() == expected
    newest = conn.execute("SELECT newest FROM job_runs").fetchone()
    last = conn.execute("SELECT job_id FROM jobs ORDER BY started_at DESC LIMIT 1").fetchone()
    assert newest in (last, None)


# Transactions in the order of arrival; each update is its second, E: an end, S: says `new_run`.
ARRIVALS = [
    # An end that is earlier than another one by less than the grace.
    ["50E", "70", "0E"],
    # What came after that other end belongs to the run that follows.
    ["0 180 380E 70E", "90", "20E"],
    # The first update that arrives is not of the earliest run.
    ["270S", "0"],
    ["270SE", "0"],
    ["91E", "90S 0"],
    ["630SE", "540", "520S 250E", "200 0S"],
    # A run's first update is its end too.
    ["720", "0S", "520SE"],
    ["90S", "791E", "0SE", "591SE"],
    ["802E", "0S", "50", "252SE"],
    ["0", "242E", "222E 22SE"],
    # The next run starts in the second of an end that turns out not to be the first one.
    ["0", "1E", "1S", "0E"],
]


def arriving(written: str) -> Update:
    seconds = NIGHT + int(written.rstrip("SE"))
    status = "completed" if "E" in written else "running"
    return start(seconds, status=status) if "S" in written else make_update(seconds, status)


@pytest.mark.parametrize("arrival", ARRIVALS, ids=str)
def test_late_ends_and_starts_find_their_runs(conn: Connection, arrival: list[str]) -> None:
    expected = model([arriving(written) for group in arrival for written in group.split()])
    for group in arrival:
        store(conn, *map(arriving, group.split()))
    assert conn.execute(STORED).fetchall() == expected
    for group in arrival:
        assert all(receipt.is_duplicate for receipt in store(conn, *map(arriving, group.split())))


def test_any_number_of_compressed_updates_may_be_moved(owner: Database, conn: Connection) -> None:
    """The engine limits how many rows of compressed chunks a statement may change."""
    week_ago = -7 * 86_400
    store(conn, *[make_update(week_ago + second) for second in range(0, 1000, 10)])
    with owner.connect(autocommit=True) as owners:
        owners.execute("SELECT compress_chunk(chunk) FROM show_chunks('job_telemetry') AS chunk")
    conn.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 10")
    (receipt,) = store(conn, make_update(week_ago + 5, "completed"))
    assert receipt.is_applied
    assert [run[3] for run in conn.execute(STORED).fetchall()] == [8, 93]


def test_updates_that_are_shifted_to_their_arrival_divide_no_run(conn: Connection) -> None:
    """Stamped two hours ahead, and sent within a second: the last ones cannot keep their order."""
    for job_id, size in (("j", 1), ("k", 100)):
        updates = [fresh(7200 + 30 * n, bytes_transferred=n, job_id=job_id) for n in range(20)]
        updates.append(fresh(7800, status="completed", job_id=job_id))
        while updates:
            store(conn, *updates[:size])
            del updates[:size]
    assert [run[0] for run in runs(conn)] == ["j", "k"]


def test_a_run_without_timestamps_after_one_whose_clock_is_ahead(conn: Connection) -> None:
    store(conn, fresh(200, bytes_transferred=1), fresh(250, status="completed"))
    for number, status in enumerate(("running", "running", "completed")):
        update = make_update(status=status, bytes_transferred=number)
        update.timestamp, update.is_start = None, number == 0
        (receipt,) = store(conn, update)
        assert (receipt.run, receipt.is_applied) == ("j/2", True)
    assert [(run[0], run[2], run[4]) for run in runs(conn)] == [
        ("j", "completed", 1),
        ("j/2", "completed", 2),
    ]


def test_a_run_that_is_stored_at_its_arrival_after_one_that_reaches_further(
    conn: Connection,
) -> None:
    """A clock that is years behind: its next day comes within a second."""
    year, day = 365 * 86_400, 86_400
    for at in (-25 * year, -25 * year + day):
        store(conn, start(at, bytes_transferred=1))
        store(conn, make_update(at + 1, bytes_transferred=2))
        store(conn, make_update(at + 10, "completed", bytes_transferred=9))
    assert [(run[0], run[2], run[4]) for run in runs(conn)] == [
        ("j", "completed", 9),
        ("j/2", "completed", 9),
    ]


def test_jobs_of_an_earlier_release_are_divided(owner: Database, conn: Connection) -> None:
    """It knew one run: what came after the end was charted only."""
    for number, status in enumerate(("completed", "failed", "completed")):
        store(conn, *night(NIGHT + number * 1000, status, 100 * (number + 1)))
    expected = runs(conn)
    with owner.transaction() as owners:
        owners.execute("UPDATE job_telemetry SET job_id = 'j'")
        owners.execute("DELETE FROM job_runs")
        owners.execute("DELETE FROM jobs WHERE job_id <> 'j'")
        last = (micros(NIGHT + 2300),)
        owners.execute("UPDATE jobs SET newest_update_at = from_micros(%s)", last)
    (key,) = read_undivided(conn)
    with conn.transaction():
        assert divide_run(conn, key) == 2
    assert runs(conn) == expected
    assert read_undivided(conn) == []


# Runs that pings name.


ONE, TWO = (f"{n}0000000-0000-4000-8000-000000000000" for n in (1, 2))
STATUSES = "SELECT job_id, status FROM jobs ORDER BY run_of(job_id)"


@pytest.mark.parametrize("at_once", [True, False], ids=["one transaction", "one each"])
def test_a_name_is_a_run_in_any_order(conn: Connection, at_once: bool) -> None:
    pings = [
        pinged(*each)
        for each in (
            ("start", ONE),
            ("start", ONE),
            ("start", TWO),
            ("0", ONE),
            ("1", TWO),
            ("start", ONE),
        )
    ]
    receipts = store(conn, *pings) if at_once else [store(conn, one_ping)[0] for one_ping in pings]
    assert keys(receipts) == ["j", "j", "j/2", "j", "j/2", "j"]
    assert conn.execute(STATUSES).fetchall() == [("j", "completed"), ("j/2", "failed")]


def test_a_name_is_found_among_the_last_runs_only(conn: Connection) -> None:
    store(conn, pinged("start", ONE))
    for _ in range(3):
        store(conn, pinged("start"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.store.ingest.RUNS_WITH_NAMES", 3)
        assert keys(store(conn, pinged("0", ONE))) == ["j/5"]
        assert keys(store(conn, pinged("0", ONE))) == ["j/5"]


def test_a_run_logs_so_often_and_no_more(conn: Connection) -> None:
    store(conn, pinged("start"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.ingest.transaction.MOST_LOGS", 2)
        outcomes = store_updates(conn, [pinged("log") for _ in range(3)], LATE_DAYS)
        assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, False, True]
        store(conn, pinged("start"))
        store(conn, pinged("log"))


def test_names_of_other_jobs_are_other_runs(conn: Connection) -> None:
    store(conn, pinged("start", ONE))
    other = pinged("start", ONE)
    other.job_id = "k"
    assert keys(store(conn, other, pinged("0", ONE))) == ["k", "j"]


def test_updates_without_a_name_belong_to_the_run_that_began_last(conn: Connection) -> None:
    for ping in (pinged("start", ONE), pinged("start", TWO), pinged("0", ONE), pinged("0")):
        store(conn, ping)
    store(conn, fresh(1))
    assert conn.execute(STATUSES).fetchall() == [("j", "completed"), ("j/2", "completed")]
    for key in ("j/1", "j/2"):
        history = read_history(conn, key, points=100)
        assert history.job.completed_at is not None
        assert history.job.started_at < history.job.completed_at
