"""The stale detector and the revival of what it judged. The clock is a parameter: `sweep` moves it
past the job's last update, which the hub stamped when the test stored it.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.staleness import Threshold
from app.domain.updates import Update
from app.ingest.registration import register
from app.ingest.transaction import Receipt, store_updates
from app.store import staleness
from app.store.staleness import Verdict
from jobs import pages
from jobs.detect_stale_jobs import Sweep, run_once
from tests.factories import NOW, make_update
from tests.integration.detector import HOUR, Detector
from tests.storing import store

pytestmark = pytest.mark.owner

STALLED = "Job stalled due to no telemetry updates for 60s"
FAILED = "Job failed due to no telemetry updates for 5m0s"


@pytest.fixture
def detector(database: Database, config: Config, conn: Connection) -> Detector[Sweep]:
    return Detector(run_once, "SELECT max(last_telemetry_at) FROM jobs", database, config, conn)


def job(conn: Connection, job_id: str = "j") -> dict[str, Any]:
    cursor = conn.execute("SELECT * FROM jobs WHERE job_id = %s", [job_id])
    row = cursor.fetchone()
    assert row is not None
    return {column.name: value for column, value in zip(cursor.description or (), row, strict=True)}


def disks(conn: Connection, job_id: str = "j") -> dict[int, str]:
    sql = "SELECT disk_index, status FROM job_disks WHERE job_id = %s ORDER BY 1"
    return dict(conn.execute(sql, [job_id]).fetchall())


def transitions(conn: Connection, job_id: str = "j") -> list[tuple[str, str, str]]:
    sql = (
        "SELECT from_status, to_status, actor FROM job_events "
        "WHERE job_id = %s AND kind = 'transition' AND from_status IS NOT NULL ORDER BY id"
    )
    return conn.execute(sql, [job_id]).fetchall()


# The verdicts.


def test_a_clock_that_is_set_back_stalls_no_job(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    """Before the next beat: the last one is of the future, and so no measure of silence."""
    store(conn, make_update())
    assert detector.sweep(0, watched=-60, beat_age=-HOUR) == Sweep(0, 0, 0, None)
    assert job(conn)["status"] == "running"


def test_a_clock_that_is_set_back_during_a_sweep_stalls_no_job(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    began = detector.moment(HOUR)
    due = [verdict(detector, job(conn)["id"], HOUR)]
    assert staleness.stall_jobs(conn, due, began, began) == []
    assert staleness.stall_jobs(conn, due, began, None)
    assert staleness.fail_jobs(conn, due, began, began) == []
    assert staleness.fail_jobs(conn, due, began, None)


def test_a_beat_a_little_ahead_makes_no_job_silent(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    assert detector.sweep(55, beat_age=-10).stalled == 0
    assert detector.sweep(60, beat_age=-10).stalled == 1


def test_a_job_that_died_before_the_clock_was_set_back_is_stalled_in_time(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    set_back = detector.moment(-HOUR)
    detector.watch("web", set_back - timedelta(hours=1), set_back)
    assert run_once(detector.database, detector.config, set_back).stalled == 0
    assert job(conn)["last_telemetry_at"] == set_back
    assert detector.sweep(59).stalled == 0
    assert detector.sweep(60).stalled == 1


def test_a_watch_starts_again_when_the_clock_is_set_back(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    with conn.transaction():  # a running application beats as well
        conn.execute("DELETE FROM ingest_presence")
        for seconds in (0, 2, -HOUR, 2 - HOUR):
            staleness.beat(conn, "web", NOW + timedelta(seconds=seconds))
        _now, (watch,) = staleness.read_watches(conn, NOW + timedelta(seconds=4 - HOUR))
        assert (watch.up_since, watch.seconds) == (NOW - timedelta(seconds=HOUR), 2)
        row = conn.execute("DELETE FROM ingest_presence RETURNING last_beat_at").fetchone()
    assert row == (NOW + timedelta(seconds=2 - HOUR),)


def test_a_job_that_speaks_is_left_alone(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update())
    assert (detector.sweep(59).stalled, job(conn)["status"]) == (0, "running")


def test_a_minute_of_silence_stalls_a_job(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update())
    before = job(conn)
    assert detector.sweep(60) == Sweep(stalled=1, failed=0, errors=0, watched_seconds=HOUR)
    after = job(conn)
    assert (after["status"], after["error_message"]) == ("stalled", STALLED)
    assert after["completed_at"] is after["ended_by"] is None
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"status", "error_message", "before_verdict"}  # not last_telemetry_at


def test_five_minutes_of_silence_fail_a_stalled_job(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    detector.sweep(60)
    assert detector.sweep(299).failed == 0
    last_seen = job(conn)["last_telemetry_at"]
    assert detector.sweep(300).failed == 1
    after = job(conn)
    assert (after["status"], after["error_message"]) == ("failed", FAILED)
    assert (after["ended_by"], after["last_telemetry_at"]) == ("detector", last_seen)


def test_however_silent_a_job_is_stalled_before_it_is_failed(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    first, second, third = (detector.sweep(seconds) for seconds in (600, 601, 602))
    assert (first.stalled, first.failed) == (1, 0)
    assert (second.stalled, second.failed) == (0, 1)
    assert (third.stalled, third.failed) == (0, 0)
    assert transitions(conn) == [
        ("running", "stalled", "detector"),
        ("stalled", "failed", "detector"),
    ]


def test_every_verdict_is_an_event_with_its_evidence(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    detector.sweep(75)
    detector.sweep(310)
    sql = "SELECT time, reason, evidence FROM job_events WHERE actor = 'detector' ORDER BY id"
    stalled, failed = conn.execute(sql).fetchall()
    assert (stalled[0], failed[0]) == (detector.moment(75), detector.moment(310))
    assert (stalled[1], failed[1]) == (STALLED, FAILED)
    last_seen = stalled[2].pop("last_seen")
    assert datetime.fromisoformat(last_seen) == job(conn)["last_telemetry_at"]
    assert stalled[2] == {"silent_seconds": 75.0, "threshold_seconds": 60}
    assert failed[2]["silent_seconds"] == 310.0
    assert failed[2]["threshold_seconds"] == 300


def test_the_end_is_the_moment_of_the_verdict_on_the_senders_clock(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(-90))  # a sender whose clock is a minute and a half behind
    detector.sweep(100)
    detector.sweep(330)
    expected = NOW + timedelta(seconds=-90 + 330)
    assert job(conn)["completed_at"] == expected


@pytest.mark.parametrize("seconds", [-86_400, 86_400])
def test_a_wrong_clock_neither_kills_a_job_nor_keeps_it_alive(
    conn: Connection, detector: Detector[Sweep], seconds: float
) -> None:
    store(conn, make_update(seconds))
    assert detector.sweep(59).stalled == 0
    assert detector.sweep(61).stalled == 1


def test_other_thresholds_have_other_texts(conn: Connection, detector: Detector[Sweep]) -> None:
    detector.config = replace(detector.config, stale_after_seconds=90, fail_after_seconds=3600)
    store(conn, make_update())
    assert detector.sweep(89, watched=9999).stalled == 0
    detector.sweep(90, watched=9999)
    assert job(conn)["error_message"] == "Job stalled due to no telemetry updates for 90s"
    detector.sweep(3600, watched=9999)
    assert job(conn)["error_message"] == "Job failed due to no telemetry updates for 1h0m0s"


def test_jobs_without_telemetry_are_exempt(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update(job_id="other"))
    with conn.transaction():
        register(conn, {"job_id": "registered", "job_type": "backup"})
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, status) VALUES ('old', 'backup', 'running')"
        )
    assert detector.sweep(9999, watched=99_999).stalled == 1
    assert [job(conn, name)["status"] for name in ("registered", "old")] == ["pending", "running"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_the_sender_ended_is_never_touched(
    conn: Connection, detector: Detector[Sweep], status: str
) -> None:
    store(conn, make_update(-60), make_update(-50, status, error_message="mine"))
    before = job(conn)
    assert detector.sweep(9999, watched=99_999) == Sweep(0, 0, 0, 99_999.0)
    assert job(conn) == before


def test_failing_a_job_fails_the_disks_it_had_not_finished(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    statuses = ("pending", "transferring", "completed", "failed")
    store(conn, make_update(disks={n: {"status": status} for n, status in enumerate(statuses)}))
    detector.sweep(60)
    assert list(disks(conn).values()) == list(statuses)
    detector.sweep(300)
    assert disks(conn) == {0: "failed", 1: "failed", 2: "completed", 3: "failed"}


def test_stale_jobs_are_logged(
    conn: Connection, detector: Detector[Sweep], caplog: pytest.LogCaptureFixture
) -> None:
    store(conn, make_update())
    with caplog.at_level(logging.INFO, logger="hub.tasks.stale"):
        detector.sweep(60)
        detector.sweep(300)
    assert [record.getMessage() for record in caplog.records] == [
        f"Stale job j: {STALLED}",
        f"Stale job j: {FAILED}",
    ]


def test_jobs_are_judged_page_by_page(
    conn: Connection, detector: Detector[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 2)
    store(conn, *(make_update(job_id=f"j{n}") for n in range(5)))  # all of one instant
    assert detector.sweep(60).stalled == 5
    assert detector.sweep(300).failed == 5


def test_a_row_that_cannot_be_changed_stops_no_other(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, *(make_update(job_id=f"j{n}") for n in range(7)))
    conn.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE 'not this one'; END $$"
    )
    conn.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW "
        "WHEN (old.job_id = 'j3') EXECUTE FUNCTION refuse()"
    )
    try:
        sweep = detector.sweep(60)
    finally:
        conn.execute("DROP FUNCTION refuse CASCADE")
    assert (sweep.stalled, sweep.errors, job(conn, "j3")["status"]) == (6, 1, "running")


def test_the_scan_uses_its_index(conn: Connection) -> None:
    params = {
        "status": "running",
        "silent_since": NOW,
        "least_since": NOW,
        **staleness._conditions({"vm_name": ["a", "b*"]}),
        "after_at": NOW,
        "after_id": 0,
        "limit": 10,
    }
    with conn.transaction():
        conn.execute("SET LOCAL enable_seqscan = off")
        plan = conn.execute("EXPLAIN " + staleness.SQL["read_silent_jobs"], params).fetchall()
    # Which of the two it takes for a few jobs depends on the statistics that other tests left.
    assert re.search("jobs_(status|newest)_idx", str(plan))


# Beside ingest, and beside itself.


def verdict(detector: Detector[Sweep], row_id: int, seconds: float) -> Verdict:
    since = detector.moment(seconds) - timedelta(seconds=60)
    return Verdict(row_id, since, Threshold(60), STALLED)


def due_jobs(conn: Connection, detector: Detector[Sweep], seconds: float) -> list[Verdict]:
    since = detector.moment(seconds) - timedelta(seconds=60)
    jobs = staleness.read_silent_jobs(conn, "running", since, after=None, limit=9)
    return [verdict(detector, silent.id, seconds) for silent in jobs]


@pytest.mark.parametrize("status", ["running", "completed"])
def test_an_update_after_the_scan_saves_the_job(
    conn: Connection, detector: Detector[Sweep], status: str
) -> None:
    store(conn, make_update(-60))
    now = detector.moment(60)
    due = due_jobs(conn, detector, 60)
    assert len(due) == 1
    store(conn, make_update(-50, status))
    with conn.transaction():
        assert staleness.stall_jobs(conn, due, now, None) == []
        assert staleness.fail_jobs(conn, due, now, None) == []
    assert job(conn)["status"] == status


@pytest.mark.server
def test_a_job_that_is_just_being_updated_is_left_alone(
    conn: Connection, detector: Detector[Sweep], database: Database
) -> None:
    store(conn, make_update(-60))
    now = detector.moment(60)
    other = database.connect()
    try:
        store_updates(other, [make_update(-50)], 28)  # holds the row's lock, not yet committed
        with conn.transaction():
            assert staleness.stall_jobs(conn, due_jobs(conn, detector, 60), now, None) == []
        other.commit()
    finally:
        other.close()
    assert job(conn)["status"] == "running"


def test_sweeps_at_the_same_moment_judge_once(
    conn: Connection, detector: Detector[Sweep], database: Database, config: Config
) -> None:
    store(conn, *(make_update(job_id=f"j{n}") for n in range(50)))
    now = detector.moment(60)
    detector.watch("web", now - timedelta(hours=1), now)
    sweeps: list[Sweep] = []
    threads = [
        threading.Thread(target=lambda: sweeps.append(run_once(database, config, now)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One sweep may skip rows that another holds.
    assert sum(sweep.stalled for sweep in sweeps) == 50
    count = conn.execute("SELECT count(*) FROM job_events WHERE actor = 'detector'").fetchone()
    assert count == (50,)


# The hub's own absence.


def test_without_a_web_process_there_are_no_verdicts(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    sweep = run_once(detector.database, detector.config, detector.moment(9999))
    assert sweep == Sweep(0, 0, 0, None)
    assert detector.sweep(9999, watched=99_999, beat_age=16) == Sweep(0, 0, 0, None)
    assert job(conn)["status"] == "running"


def test_after_a_start_silence_counts_from_the_start(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    assert detector.sweep(9999, watched=59).stalled == 0
    assert detector.sweep(9999, watched=60).stalled == 1
    assert detector.sweep(10_000, watched=299).failed == 0
    assert detector.sweep(10_000, watched=300).failed == 1


def test_silence_counts_up_to_the_last_beat_only(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    assert detector.sweep(65, beat_age=6).stalled == 0
    assert detector.sweep(66, beat_age=6).stalled == 1


def test_a_process_respawned_at_once_does_not_bridge_its_absence(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update())
    now = detector.moment(64)
    detector.watch("killed", now - timedelta(hours=1), now - timedelta(seconds=10))
    detector.watch("respawned", now - timedelta(seconds=9), now)
    assert run_once(detector.database, detector.config, now).stalled == 0


def test_a_second_process_keeps_the_watch(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update())
    now = detector.moment(64)
    detector.watch("stayed", now - timedelta(hours=1), now)
    detector.watch("started", now - timedelta(seconds=9), now)
    assert run_once(detector.database, detector.config, now).stalled == 1


def test_the_first_beat_after_an_absence_notes_it(conn: Connection) -> None:
    conn.execute("DELETE FROM ingest_presence; DELETE FROM hub_absences")
    # Far ahead, where the beats of a running application are not.
    at = [datetime(3000, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (0, 2, 16, 40, 42)]
    for moment in at:
        staleness.beat(conn, "web", moment)
    staleness.beat(conn, "another", at[-1])
    assert conn.execute("SELECT from_at, to_at FROM hub_absences").fetchall() == [(at[2], at[3])]
    conn.execute("DELETE FROM ingest_presence; DELETE FROM hub_absences")


def test_a_gap_in_the_beats_begins_a_new_watch(conn: Connection) -> None:
    moments = [NOW + timedelta(seconds=s) for s in (0, 3, 18, 34, 37)]
    seen = []
    for moment in moments:
        staleness.beat(conn, "web", moment)
        _, watches = staleness.read_watches(conn, moment)
        seen.append(min(watch.up_since for watch in watches))
    assert seen == [moments[0], moments[0], moments[0], moments[3], moments[3]]


def test_a_process_that_stopped_watches_no_more(conn: Connection) -> None:
    # Long ago, or the beats of a running application would be there as well.
    long_ago = NOW - timedelta(days=400)
    staleness.beat(conn, "web", long_ago)
    staleness.end_beat(conn, "web")
    row = conn.execute("SELECT count(*) FROM ingest_beats WHERE process_id = 'web'").fetchone()
    assert row == (0,)


# Revival.


def test_an_update_revives_a_stalled_job(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update(-60, error_message="slow disk"))
    detector.sweep(60)
    assert job(conn)["error_message"] == STALLED
    receipt = store(conn, make_update(-30, bytes_transferred=7))[0]
    after = job(conn)
    assert receipt.is_applied
    assert (after["status"], after["error_message"]) == ("running", "slow disk")
    assert after["before_verdict"] is None
    assert transitions(conn)[-1] == ("stalled", "running", "sender")


def test_a_stall_message_goes_where_the_sender_had_none(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(-60))
    detector.sweep(60)
    store(conn, make_update(-30))
    assert job(conn)["error_message"] is None


def test_an_update_revives_a_job_that_was_failed(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    named = {0: {"status": "pending"}, 1: {"bytes_transferred": 5}, 2: {"status": "failed"}}
    store(conn, make_update(-60, error_message="slow disk", disks=named))
    before = disks(conn)
    detector.sweep(60)
    detector.sweep(300)
    conn.execute("UPDATE jobs SET performance_metrics = '{}'")
    assert disks(conn) == {0: "failed", 1: "failed", 2: "failed"}
    store(conn, make_update(-30, bytes_transferred=7))
    after = job(conn)
    assert (after["status"], after["error_message"]) == ("running", "slow disk")
    assert after["completed_at"] is after["ended_by"] is None
    assert after["performance_metrics"] is after["before_verdict"] is None
    assert disks(conn) == before == {0: "pending", 1: "transferring", 2: "failed"}
    assert transitions(conn) == [
        ("running", "stalled", "detector"),
        ("stalled", "failed", "detector"),
        ("failed", "running", "sender"),
    ]


def test_a_straggler_from_before_the_verdict_is_life_too(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, make_update(-60, bytes_transferred=9))
    detector.sweep(60)
    detector.sweep(300)
    receipt = store(conn, make_update(-70, bytes_transferred=8))[0]
    assert (receipt.is_applied, job(conn)["status"]) == (True, "running")
    assert job(conn)["bytes_transferred"] == 9


def test_a_duplicate_revives_nothing(conn: Connection, detector: Detector[Sweep]) -> None:
    def send() -> Receipt:
        return store(conn, make_update(-60, disks={0: {"status": "pending"}}))[0]

    send()
    for seconds, status in ((60, "stalled"), (300, "failed")):
        detector.sweep(seconds)
        before = job(conn), disks(conn)
        assert send().is_duplicate
        assert (job(conn), disks(conn)) == before
        assert before[0]["status"] == status


def test_a_revived_job_can_go_stale_again(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, make_update(-60))
    for n in range(2):
        detector.sweep(60)
        detector.sweep(300)
        assert job(conn)["error_message"] == FAILED
        store(conn, make_update(-50 + n))
    assert job(conn)["status"] == "running"
    assert len(transitions(conn)) == 6


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("is_telemetry", [True, False])
def test_the_senders_end_replaces_the_detectors(
    conn: Connection, detector: Detector[Sweep], status: str, is_telemetry: bool
) -> None:
    store(conn, make_update(-60, error_message="slow disk", disks={0: {"status": "transferring"}}))
    detector.sweep(60)
    detector.sweep(300)
    end = make_update(-20, status)
    end.is_telemetry = is_telemetry
    store(conn, end)
    after = job(conn)
    assert (after["status"], after["ended_by"]) == (status, "sender")
    assert (after["completed_at"], after["error_message"]) == (
        NOW - timedelta(seconds=20),
        "slow disk",
    )
    expected = {"completed": "transferring"}.get(status, status)
    assert disks(conn) == {0: expected}
    assert detector.sweep(9999, watched=99_999).failed == 0


def test_verdicts_leave_no_trace_in_the_row(conn: Connection, detector: Detector[Sweep]) -> None:
    """A job judged again and again between its updates ends as one that was never judged."""

    def updates(job_id: str) -> list[Update]:
        disk = {"status": "transferring", "bytes_transferred": 4}
        return [
            make_update(-60, job_id=job_id, error_message="e", disks={0: disk, 1: {}}),
            make_update(-50, job_id=job_id, bytes_transferred=5, disks={2: {"status": "pending"}}),
            make_update(-55, job_id=job_id, total_bytes=50, disks={1: {"total_bytes": 9}}),
            make_update(-40, job_id=job_id, current_phase="finalizing"),
        ]

    for n, update in enumerate(updates("judged")):
        store(conn, update)
        detector.sweep(400)
        if n % 2:
            detector.sweep(401)
            assert job(conn, "judged")["status"] == "failed"
    store(conn, make_update(-30, job_id="judged"))
    store(conn, *updates("spared"), make_update(-30, job_id="spared"))
    hub_times = {"id", "job_id", "created_at", "last_telemetry_at", "last_progress_at"}
    hub_times |= {"clock_skew_seconds", "pause_seconds"}  # measured at arrival
    judged, spared = (job(conn, name) for name in ("judged", "spared"))
    for name in judged.keys() - hub_times:
        assert judged[name] == spared[name], name
    sql = (
        "SELECT disk_index, status, bytes_transferred, total_bytes, error_message, field_times "
        "FROM job_disks WHERE job_id = %s ORDER BY disk_index"
    )
    assert (
        conn.execute(sql, ["judged"]).fetchall() == conn.execute(sql, ["spared"]).fetchall() != []
    )
