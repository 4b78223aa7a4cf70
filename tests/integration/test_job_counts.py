"""The kept counts of jobs equal what the rows say, whatever changed them."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.checks.doctor import run_checks
from app.commands import repair
from app.config import Config
from app.database.migrate import read_migrations
from app.database.pool import Connection, Database
from app.domain.statuses import END_STATUSES, JOB_STATUSES
from app.ingest.registration import register
from app.store.counts import COUNTING_TRIGGERS, Differences, find_differences, fold_changes, recount
from app.store.jobs import JobFilter, count_jobs_by_status, list_machines
from jobs import detect_stale_jobs, fold_job_counts
from tests.factories import make_update
from tests.integration.detector import Detector
from tests.storing import store

pytestmark = pytest.mark.owner

TYPES = ("backup", "restore")
MACHINES = (None, "vm-1", "vm-2")
REPOSITORIES = (None, "repo-1", "repo-2")
FILTERS = [
    JobFilter(statuses=statuses, job_type=job_type, vm_name=machine, repository_id=repository)
    for statuses, job_type, machine, repository in itertools.product(
        (None, ("failed",), ("running", "completed")), (None, *TYPES), MACHINES, REPOSITORIES
    )
]

_INSERT = """
INSERT INTO jobs (job_id, job_type, vm_name, repository_id, status, completed_at, ended_by)
VALUES (%(job_id)s, %(job_type)s, %(vm_name)s, %(repository_id)s, %(status)s,
        CASE WHEN %(ended)s THEN now() END, CASE WHEN %(ended)s THEN 'operator' END)
ON CONFLICT (job_id) DO UPDATE SET
    vm_name = excluded.vm_name, repository_id = excluded.repository_id, status = excluded.status,
    completed_at = excluded.completed_at, ended_by = excluded.ended_by
"""


@pytest.fixture
def owner_conn(owner: Database) -> Iterator[Connection]:
    with owner.connect(autocommit=True) as conn:
        yield conn


def put(conn: Connection, job_id: str, status: str = "running", **values: Any) -> None:
    """Insert the job, or give it these values."""
    row = {"job_type": "backup", "vm_name": None, "repository_id": None, **values}
    conn.execute(
        _INSERT, {**row, "job_id": job_id, "status": status, "ended": status in END_STATUSES}
    )


def by_rows(conn: Connection, wanted: JobFilter) -> dict[str, int]:
    """The counts by reading every row."""
    rows = conn.execute("SELECT status, job_type, vm_name, repository_id FROM jobs").fetchall()
    counts = dict.fromkeys(JOB_STATUSES, 0)
    for status, *others in rows:
        filters = (wanted.job_type, wanted.vm_name, wanted.repository_id)
        if all(value in (None, other) for value, other in zip(filters, others, strict=True)) and (
            wanted.statuses is None or status in wanted.statuses
        ):
            counts[status] += 1
    return counts


def check(conn: Connection) -> None:
    """Every filter's counts, those of the machines, and the comparison that the doctor makes."""
    assert find_differences(conn) == Differences(0, 0)
    for wanted in FILTERS:
        assert count_jobs_by_status(conn, wanted) == by_rows(conn, wanted), wanted
    listed = {machine.vm_name: machine.by_status for machine in list_machines(conn, 10)}
    names = {name for (name,) in conn.execute("SELECT DISTINCT vm_name FROM jobs") if name}
    assert listed.keys() == names
    for name, by_status in listed.items():
        expected = by_rows(conn, JobFilter(vm_name=name))
        assert by_status == {status: jobs for status, jobs in expected.items() if jobs}


# Every way in which rows change.


JOB_IDS = st.sampled_from([f"j{n}" for n in range(6)])
CHANGES = st.one_of(
    st.tuples(
        st.just("put"),
        JOB_IDS,
        st.fixed_dictionaries(
            {
                "status": st.sampled_from(JOB_STATUSES),
                "job_type": st.sampled_from(TYPES),
                "vm_name": st.sampled_from(MACHINES),
                "repository_id": st.sampled_from(REPOSITORIES),
            }
        ),
    ),
    st.tuples(st.just("delete"), JOB_IDS, st.just({})),
    st.tuples(st.just("rename"), JOB_IDS, st.just({})),
    st.tuples(st.just("stall all"), JOB_IDS, st.just({})),
    st.tuples(st.just("fold"), JOB_IDS, st.just({})),
    st.tuples(st.just("recount"), JOB_IDS, st.just({})),
    st.tuples(st.just("truncate"), JOB_IDS, st.just({})),
)
STEPS = st.lists(
    st.tuples(CHANGES, st.sampled_from(["commit", "commit", "roll back"])), max_size=25
)


def apply(conn: Connection, change: str, job_id: str, values: dict[str, Any]) -> None:
    if change == "put":
        put(conn, job_id, **values)
    elif change == "delete":
        conn.execute("DELETE FROM jobs WHERE job_id >= %s", [job_id])
    elif change == "rename":
        conn.execute("UPDATE jobs SET vm_name = 'vm-2', job_type = 'restore'")
    elif change == "stall all":
        conn.execute("UPDATE jobs SET status = 'stalled' WHERE status IN ('pending', 'running')")
    elif change == "fold":
        fold_changes(conn)
    elif change == "truncate":
        conn.execute("TRUNCATE jobs CASCADE")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_counts_follow_every_change(owner_conn: Connection, steps: list[Any]) -> None:
    owner_conn.execute("DELETE FROM jobs")
    for (change, job_id, values), end in steps:
        if change == "recount":  # begins a transaction of its own
            with owner_conn.transaction():
                recount(owner_conn)
            continue
        with owner_conn.transaction(force_rollback=end == "roll back"):
            apply(owner_conn, change, job_id, values)
            assert find_differences(owner_conn) == Differences(0, 0)
    check(owner_conn)


def test_counts_follow_what_the_hub_does(
    owner_conn: Connection, owner: Database, config: Config
) -> None:
    newest = "SELECT max(last_telemetry_at) FROM jobs"
    detector = Detector(detect_stale_jobs.run_once, newest, owner, config, owner_conn)
    with owner_conn.transaction():
        register(owner_conn, {"job_id": "a", "job_type": "backup", "vm_name": "vm-1"})
    check(owner_conn)
    store(owner_conn, *(make_update(job_id=job_id, vm_name="vm-1") for job_id in "abc"))
    check(owner_conn)
    store(owner_conn, make_update(1, "completed", job_id="a"))
    check(owner_conn)
    fold_job_counts.run_once(owner, config)
    check(owner_conn)
    assert detector.sweep(60).stalled == 2
    check(owner_conn)
    assert detector.sweep(300).failed == 2
    check(owner_conn)
    store(owner_conn, make_update(2, job_id="b", vm_name="vm-2"))  # revived, on another machine
    check(owner_conn)
    assert count_jobs_by_status(owner_conn, JobFilter())["running"] == 1


def test_the_hubs_role_counts_and_cannot_write_counts(
    open_database: Database, owner: Database
) -> None:
    with open_database.connect(autocommit=True) as hub:
        put(hub, "j")
        put(hub, "j", "failed")
        assert count_jobs_by_status(hub, JobFilter())["failed"] == 1
        for table in ("job_counts", "machine_job_counts", "job_count_changes"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET jobs = 7"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    hub.execute(statement.encode())


# Folding.


def test_folding_empties_the_log(owner_conn: Connection, owner: Database, config: Config) -> None:
    for number in range(5):
        put(owner_conn, f"j{number}", vm_name="vm-1")
    assert fold_job_counts.run_once(owner, config).changes == 5
    assert fold_job_counts.run_once(owner, config).changes == 0
    rows = owner_conn.execute("SELECT jobs FROM job_counts").fetchall()
    assert rows == owner_conn.execute("SELECT jobs FROM machine_job_counts").fetchall() == [(5,)]
    check(owner_conn)


def test_an_update_that_changes_no_count_is_not_logged(owner_conn: Connection) -> None:
    store(owner_conn, make_update(vm_name="vm-1"))
    owner_conn.execute("DELETE FROM job_count_changes")
    store(owner_conn, make_update(1, vm_name="vm-1", bytes_transferred=9))
    assert owner_conn.execute("SELECT count(*) FROM job_count_changes").fetchone() == (0,)


def test_jobs_inserted_at_once_are_one_change(owner_conn: Connection) -> None:
    owner_conn.execute(
        "INSERT INTO jobs (job_id, job_type)"
        " SELECT n::text, 'backup' FROM generate_series(1, 500) AS n"
    )
    assert owner_conn.execute("SELECT jobs FROM job_count_changes").fetchall() == [(500,)]
    owner_conn.execute("DELETE FROM jobs")
    assert owner_conn.execute("SELECT jobs FROM job_count_changes").fetchall() == [(500,), (-500,)]


# What the doctor finds, and what repairs it.


def counts_check(conn: Connection, config: Config) -> tuple[bool, str]:
    [found] = [found for found in run_checks(conn, config) if found.name == "counts"]
    return found.ok, found.detail


def repair_counts(config: Config, *, is_dry_run: bool = False) -> None:
    from argparse import ArgumentParser

    parser = ArgumentParser()
    repair.add_arguments(parser)
    options = ["--counts", "--dry-run"] if is_dry_run else ["--counts"]
    assert repair.run(config, parser.parse_args(options)) == 0


@pytest.fixture
def uncounted(owner_conn: Connection) -> Connection:
    """Three jobs, two of which were written while triggers were disabled."""
    put(owner_conn, "a", vm_name="vm-1")
    with owner_conn.transaction():
        owner_conn.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        put(owner_conn, "b", vm_name="vm-1")
        put(owner_conn, "c", vm_name="vm-2")
        owner_conn.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
    return owner_conn


def test_wrong_counts_are_found_and_repaired(
    uncounted: Connection, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    ok, detail = counts_check(uncounted, config)
    assert (ok, "wrong by 2" in detail, "repair --counts" in detail) == (False, True, True)
    repair_counts(config, is_dry_run=True)
    assert "wrong by 2 jobs: would be counted again" in capsys.readouterr().out
    assert find_differences(uncounted) == Differences(2, 2)
    repair_counts(config)
    assert "wrong by 2 jobs: counted again" in capsys.readouterr().out
    check(uncounted)
    assert counts_check(uncounted, config)[0]
    repair_counts(config)
    assert "are right" in capsys.readouterr().out


@pytest.mark.parametrize("trigger", COUNTING_TRIGGERS)
@pytest.mark.parametrize("fault", ["DISABLE TRIGGER {}", "ENABLE REPLICA TRIGGER {}"])
def test_a_disabled_trigger_is_found(
    owner_conn: Connection, config: Config, trigger: str, fault: str
) -> None:
    with owner_conn.transaction(force_rollback=True):
        owner_conn.execute(f"ALTER TABLE jobs {fault.format(trigger)}".encode())
        ok, detail = counts_check(owner_conn, config)
    assert (ok, trigger in detail) == (False, True)
    assert counts_check(owner_conn, config)[0]


# The migration, on a database with jobs.


def test_the_migration_counts_the_jobs_that_are_there(owner_conn: Connection) -> None:
    [migration] = [m for m in read_migrations() if m.name.startswith("0015_")]
    with owner_conn.transaction(force_rollback=True):
        owner_conn.execute("DROP TABLE job_counts, machine_job_counts, job_count_changes")
        for name in COUNTING_TRIGGERS:
            owner_conn.execute(f"DROP FUNCTION {name} CASCADE".encode())
        for name in ("status", "type", "repository", "machine"):
            owner_conn.execute(f"DROP INDEX jobs_{name}_idx".encode())
        owner_conn.execute("CREATE INDEX jobs_live_idx ON jobs (status)")
        owner_conn.execute("CREATE INDEX jobs_machine_idx ON jobs (vm_name)")
        put(owner_conn, "a")
        put(owner_conn, "b", "failed", vm_name="vm-1", repository_id="repo-1")
        owner_conn.execute(migration.sql.encode())
        check(owner_conn)
        put(owner_conn, "b", "completed", vm_name="vm-2")
        check(owner_conn)


# What an update of a job costs.


def rewritten(conn: Connection) -> tuple[int, ...]:
    """How many rows of `jobs` were updated, and how many of them heap-only."""
    with conn.transaction():
        row = conn.execute(
            "SELECT coalesce(n_tup_upd, 0) + pg_stat_get_xact_tuples_updated(relid),"
            " coalesce(n_tup_hot_upd, 0) + pg_stat_get_xact_tuples_hot_updated(relid)"
            " FROM pg_stat_user_tables WHERE relname = 'jobs'"
        ).fetchone()
    assert row is not None
    return tuple(row)


def test_an_update_of_a_job_writes_into_no_index(owner_conn: Connection) -> None:
    """A heap-only update. An index over last_telemetry_at would have prevented every one."""
    store(owner_conn, make_update(vm_name="vm-1", repository_id="repo-1"))
    before = rewritten(owner_conn)
    store(owner_conn, make_update(1, bytes_transferred=5, current_phase="finalizing"))
    store(owner_conn, make_update(2, bytes_transferred=6))
    after = rewritten(owner_conn)
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 2]


# Beside others.


def write_at_random(database: Database, seed: int, stop: threading.Event) -> None:
    """Transactions of a few changes; some are rolled back, some lose their connection."""
    chance = random.Random(seed)
    conn = database.connect()
    while not stop.is_set():
        try:
            job_ids = sorted(chance.sample([f"j{n}" for n in range(40)], chance.randint(1, 4)))
            for job_id in job_ids:
                if chance.random() < 0.2:
                    conn.execute("DELETE FROM jobs WHERE job_id = %s", [job_id])
                    continue
                put(
                    conn,
                    job_id,
                    chance.choice(JOB_STATUSES),
                    vm_name=chance.choice(MACHINES),
                    repository_id=chance.choice(REPOSITORIES),
                )
            fate = chance.random()
            if fate < 0.2:
                conn.rollback()
            elif fate < 0.25:
                conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            else:
                conn.commit()
        except psycopg.errors.DeadlockDetected:
            conn.rollback()
        except psycopg.OperationalError:
            conn = database.connect()
    conn.close()


@pytest.mark.server
def test_counts_are_exact_beside_writers_folds_and_recounts(
    owner: Database, owner_conn: Connection
) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(work: Any, *args: Any) -> None:
        try:
            work(*args)
        except BaseException as exc:
            errors.append(exc)
            stop.set()

    def fold() -> None:
        with owner.connect(autocommit=True) as conn:
            while not stop.is_set():
                fold_changes(conn)

    def count_again() -> None:
        with owner.connect() as conn:
            while not stop.wait(0.05):
                recount(conn)
                conn.commit()

    threads = [
        *(
            threading.Thread(target=guarded, args=(write_at_random, owner, n, stop))
            for n in range(5)
        ),
        threading.Thread(target=guarded, args=(fold,)),
        threading.Thread(target=guarded, args=(fold,)),
        threading.Thread(target=guarded, args=(count_again,)),
    ]
    for thread in threads:
        thread.start()
    looks = 0
    until = time.monotonic() + 5
    while time.monotonic() < until and not stop.is_set():
        assert find_differences(owner_conn) == Differences(0, 0)
        with owner_conn.transaction():
            owner_conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            check(owner_conn)
        looks += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert looks > 5
    check(owner_conn)
    fold_changes(owner_conn)
    check(owner_conn)


@pytest.mark.server
def test_no_writer_waits_for_anothers_count(owner: Database) -> None:
    """Two open transactions change the same counts, and a fold and a reader run beside them."""
    with owner.connect() as first, owner.connect() as second, owner.connect() as third:
        for conn in (first, second, third):
            conn.execute("SET lock_timeout = '2s'")
            conn.commit()
        put(first, "a", vm_name="vm-1")
        put(second, "b", vm_name="vm-1")
        assert fold_changes(third) == 0
        assert count_jobs_by_status(third, JobFilter())["running"] == 0
        third.commit()
        put(second, "b", "failed", vm_name="vm-1")
        put(first, "a", "failed", vm_name="vm-1")
        first.commit()
        assert count_jobs_by_status(third, JobFilter())["failed"] == 1
        second.rollback()
        check(third)
