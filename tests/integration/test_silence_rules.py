"""The stale detector with rules, maintenance windows and what is known of a job's cadence."""

from __future__ import annotations

import re
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rules import Match, is_pattern
from app.ingest.registration import register
from app.store import staleness
from app.store.rules import end_window, insert_window, put_rule, read_maintenance, read_rules
from app.store.staleness import as_like
from jobs.detect_stale_jobs import Sweep, run_once
from tests.factories import make_update
from tests.integration.detector import HOUR, Detector
from tests.storing import store

pytestmark = pytest.mark.owner
DAY = 86_400


@pytest.fixture
def detector(database: Database, config: Config, conn: Connection) -> Detector[Sweep]:
    return Detector(run_once, "SELECT max(last_telemetry_at) FROM jobs", database, config, conn)


def status(conn: Connection, job_id: str = "j") -> str:
    row = conn.execute("SELECT status FROM jobs WHERE job_id = %s", [job_id]).fetchone()
    assert row is not None
    return str(row[0])


def evidence(conn: Connection, job_id: str = "j") -> dict[str, Any]:
    """Of the detector's last event, without what every event has."""
    row = conn.execute(
        "SELECT evidence - 'last_seen' - 'silent_seconds' - 'unfinished_disks', reason "
        "FROM job_events WHERE job_id = %s AND actor = 'detector' ORDER BY id DESC LIMIT 1",
        [job_id],
    ).fetchone()
    assert row is not None
    return {**row[0], "reason": row[1]}


def set_rule(conn: Connection, settings: dict[str, Any], **conditions: str) -> int:
    with conn.transaction():
        return put_rule(conn, Match(**conditions), settings)[0].id


def age(conn: Connection, seconds: float, job_id: str = "j") -> None:
    """Let the newest update of a job have arrived so long ago, by the hub's clock."""
    conn.execute(
        "UPDATE jobs SET last_telemetry_at = now() - make_interval(secs => %s) WHERE job_id = %s",
        [seconds, job_id],
    )


# Rules.


def test_a_job_is_stalled_and_failed_by_its_rule(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(vm_name="fast"), make_update(job_id="other", vm_name="slow"))
    fast = set_rule(conn, {"stall_after_seconds": 10, "fail_after_seconds": 20}, vm_name="fast")
    set_rule(conn, {"stall_after_seconds": 600}, vm_name="slow")
    assert detector.sweep(9).stalled == 0
    assert detector.sweep(10) == Sweep(1, 0, 0, HOUR)
    assert evidence(conn) == {
        "threshold_seconds": 10,
        "rule_id": fast,
        "reason": "Job stalled due to no telemetry updates for 10s",
    }
    assert detector.sweep(20) == Sweep(0, 1, 0, HOUR)
    assert evidence(conn)["reason"] == "Job failed due to no telemetry updates for 20s"
    assert detector.sweep(599).stalled == 0
    assert detector.sweep(600).stalled == 1
    # Its failure is not of a rule, and still comes after.
    assert detector.sweep(839).failed == 0
    assert detector.sweep(840).failed == 1
    assert evidence(conn, "other") == {
        "threshold_seconds": 840,
        "threshold_raised_by": "stall_after_seconds",
        "reason": "Job failed due to no telemetry updates for 14m0s",
    }


@pytest.mark.parametrize(
    "conditions",
    [
        {"job_type": "backup"},
        {"phase": "snapshot"},
        {"job_id": "j"},
        {"job_id": "*[j]"},
        {"vm_name": "vm-*"},
        {"vm_name": "vm-1"},
        {},
    ],
)
@pytest.mark.parametrize("seconds", [20, 120])  # less and more than the settings
def test_a_rule_is_found_by_each_condition(
    conn: Connection, detector: Detector[Sweep], conditions: dict[str, str], seconds: int
) -> None:
    store(conn, make_update(vm_name="vm-1", current_phase="snapshot"))
    set_rule(conn, {"stall_after_seconds": seconds}, **conditions)
    assert (detector.sweep(seconds - 1).stalled, detector.sweep(seconds).stalled) == (0, 1)


def test_of_a_tight_rule_only_jobs_are_read_that_it_may_be_about(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    for name in ("pg-1", "pg_1", "db-1"):
        store(conn, make_update(job_id=name, vm_name=name))

    def names(**conditions: list[str]) -> list[str]:
        found = staleness.read_silent_jobs(
            conn,
            "running",
            None,
            least_since=detector.moment(0),
            conditions=conditions,
            after=None,
            limit=9,
        )
        return sorted(job.key for job in found)

    assert names() == []
    assert names(vm_name=["pg-?", "nothing"]) == ["pg-1"]
    assert names(vm_name=["*_1"], job_id=["d[ab]-1"]) == ["db-1", "pg_1"]
    assert names(job_type=["backup"]) == ["db-1", "pg-1", "pg_1"]


@given(
    st.text("ab-_%\\*?[!]", max_size=8).filter(lambda text: is_pattern("vm_name", text)),
    st.text("ab-_%\\[]", max_size=5),
)
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_like_pattern_matches_all_that_the_shell_pattern_does(pattern: str, text: str) -> None:
    if fnmatchcase(text, pattern):
        assert _like(as_like(pattern), text)


def _like(pattern: str, text: str) -> bool:
    """As PostgreSQL's LIKE."""
    parts = re.split(r"(\\.|%|_)", pattern)
    forms = {"%": ".*", "_": "."}
    regex = "".join(forms.get(part, re.escape(part.removeprefix("\\"))) for part in parts if part)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def test_a_rule_of_a_job_is_of_all_its_runs(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update(-600), make_update(-500, "completed"))
    store(conn, make_update(-60))
    set_rule(conn, {"stall_after_seconds": 120}, job_id="j")
    assert (detector.sweep(119).stalled, detector.sweep(120).stalled) == (0, 1)
    assert status(conn, "j/2") == "stalled"


def test_a_job_that_has_reported_no_phase_matches_none(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    set_rule(conn, {"stall_after_seconds": 120}, phase="pending")
    assert detector.sweep(60).stalled == 1


def test_a_rule_with_the_same_conditions_is_replaced_and_one_deleted(conn: Connection) -> None:
    first = set_rule(conn, {"stall_after_seconds": 10, "memory_percent": 90.0}, job_type="backup")
    assert set_rule(conn, {"stall_after_seconds": 20}, job_type="backup") == first
    [rule] = read_rules(conn).rules
    assert (rule.match, rule.settings) == (Match(job_type="backup"), {"stall_after_seconds": 20})


# Maintenance.


def test_jobs_under_maintenance_are_not_judged_and_their_silence_does_not_count(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(vm_name="a"), make_update(job_id="other", vm_name="b"))
    begins, ends = detector.moment(30), detector.moment(1000)
    with conn.transaction():
        insert_window(conn, begins, ends, Match(vm_name="a"), "deploy")
    for seconds in (70, 400, 1059):
        detector.sweep(seconds)
    assert (status(conn), status(conn, "other")) == ("running", "failed")
    assert detector.sweep(1060).stalled == 1  # 60 s after the end
    assert detector.sweep(1299).failed == 0
    assert detector.sweep(1300).failed == 1


def test_a_stalled_job_is_not_failed_during_maintenance(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    detector.sweep(60)
    with conn.transaction():
        insert_window(conn, detector.moment(100), detector.moment(9999), Match(), "deploy")
    assert detector.sweep(400).failed == 0
    assert status(conn) == "stalled"


def test_a_window_that_is_ended_early_counts_until_then(conn: Connection) -> None:
    with conn.transaction():
        now = conn.execute("SELECT clock_timestamp()").fetchone()
        assert now is not None
        [hour, day] = timedelta(hours=1), timedelta(days=1)
        is_open = insert_window(conn, now[0] - hour, now[0] + day, Match(), "deploy")
        planned = insert_window(conn, now[0] + hour, now[0] + day, Match(), "deploy")
        ended, cancelled = end_window(conn, is_open.id), end_window(conn, planned.id)
    assert ended is not None
    assert cancelled is not None
    assert abs(ended.to_at - now[0]) < timedelta(minutes=5)
    assert cancelled.from_at == cancelled.to_at == planned.from_at
    with conn.transaction():
        assert end_window(conn, is_open.id) == ended  # a second time
        assert end_window(conn, is_open.id + planned.id) is None
    assert set(read_maintenance(conn, now[0]).windows) == {ended, cancelled}


# The cadence of a sender.


def test_a_job_is_not_silent_before_three_times_its_interval(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(interval=100))
    assert detector.sweep(299).stalled == 0
    assert detector.sweep(300).stalled == 1
    assert evidence(conn) == {
        "threshold_seconds": 300,
        "threshold_raised_by": "interval",
        "reason": "Job stalled due to no telemetry updates for 300s",
    }
    assert detector.sweep(539).failed == 0
    assert detector.sweep(540).failed == 1


@pytest.mark.parametrize("order", [(60, 120, 0), (120, 60, 0), (0, 120, 60)])
def test_the_longest_interval_of_a_run_counts(conn: Connection, order: tuple[int, ...]) -> None:
    for n, interval in enumerate(order):
        store(conn, make_update(-60 + n, interval=interval))
    assert intervals(conn) == {"j": 120}


def test_a_registration_names_the_interval_and_a_new_run_begins_without(conn: Connection) -> None:
    with conn.transaction():
        register(conn, {"job_id": "j", "job_type": "backup", "interval_seconds": 90})
    assert intervals(conn) == {"j": 90}
    with conn.transaction():
        register(conn, {"job_id": "j", "job_type": "backup", "interval_seconds": 30})
    store(conn, make_update(-600), make_update(-500, "completed"))
    store(conn, make_update(-60))
    assert intervals(conn) == {"j": 90, "j/2": None}


def intervals(conn: Connection) -> dict[str, int | None]:
    return dict(conn.execute("SELECT job_id, interval_seconds FROM jobs ORDER BY 1").fetchall())


# Hysteresis.


def test_a_sender_slower_than_the_threshold_does_not_flap(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    """Every 9 s against a threshold of 5 s: called silent once."""
    set_rule(conn, {"stall_after_seconds": 5, "fail_after_seconds": 20})
    stalled = 0
    for n in range(6):
        store(conn, make_update(-60 + 9 * n))
        age(conn, 0)
        stalled += detector.sweep(8.5).stalled
        age(conn, 9)
    assert stalled == 1
    assert detector.sweep(26).stalled == 0
    assert detector.sweep(27).stalled == 1
    assert evidence(conn)["threshold_raised_by"] == "pause"


def test_a_pause_is_remembered_only_if_it_was_called_silence(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(-60))
    age(conn, 50)
    store(conn, make_update(-50))
    assert pauses(conn) == [None]
    detector.sweep(60)
    age(conn, 70)
    store(conn, make_update(-40))
    assert pauses(conn) == [70]
    detector.sweep(210)
    age(conn, 65)
    store(conn, make_update(-30))
    assert pauses(conn) == [70]  # the longest


def test_a_job_that_was_failed_and_came_back_is_remembered_as_well(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(-60))
    detector.sweep(60)
    detector.sweep(300)
    age(conn, 30 * DAY)
    store(conn, make_update(-50))
    assert (status(conn), pauses(conn)) == ("running", [7 * DAY])
    assert detector.sweep(599).stalled == 0  # an outage of a month raises it no further
    assert detector.sweep(600).stalled == 1


def pauses(conn: Connection) -> list[int | None]:
    return [seconds for (seconds,) in conn.execute("SELECT pause_seconds FROM jobs")]
