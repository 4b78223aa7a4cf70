"""What needs attention: from stored updates to the open items, with the tasks that find them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.clock import to_micros, utc_now
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.attention.hub import FreeSpace, space_finding
from app.domain.attention.items import Finding, Severity
from app.domain.attention.run import Judgement, Run, judge
from app.domain.attention.usual import Usual
from app.domain.rules import Match
from app.domain.updates import Update
from app.errors import HubError
from app.store import live_runs
from app.store import series as series_store
from app.store.findings import reconcile
from app.store.repair import repair_jobs
from app.store.rules import put_rule
from jobs import detect_stale_jobs, find_attention, judge_runs, summarise_finished_jobs
from tests.storing import store

GIB = 2**30
HOUR = 3_600.0
DAY = 24 * HOUR
DAYS = timedelta(days=1)


class Fleet:
    """Stores runs, and lets the tasks look at them at chosen moments."""

    def __init__(self, owner: Database, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.began = utc_now()
        self.now = self.began.replace(microsecond=0)

    def update(self, job_id: str, ago: float, **fields: Any) -> None:
        """One update, so many seconds before now."""
        status = fields.pop("status", "running")
        disks = fields.pop("disks", {})
        time = to_micros(self.now - timedelta(seconds=ago))
        fields = {"vm_name": "db1", **fields}
        fields = {name: value for name, value in fields.items() if value is not None}
        update = Update(
            "backup", job_id, status, timestamp=time, fields=fields, disks=disks, time=time
        )
        with self.owner.connect() as conn:
            store(conn, update)

    def run(
        self, days: float, done: int | None = 100 * GIB, seconds: float = HOUR, **end: Any
    ) -> str:
        """A run that began so many days ago; its id."""
        job_id = end.pop("job_id", f"job-{days}")
        identity = {name: end[name] for name in ("vm_name", "repository_id") if name in end}
        self.update(job_id, days * DAY, bytes_transferred=None if done is None else 0, **identity)
        status = end.pop("status", "completed")
        end = {"bytes_transferred": done, "total_bytes": done, **end}
        self.update(job_id, days * DAY - seconds, status=status, **end)
        return str(job_id)

    def nights(self, first: int, last: int, **end: Any) -> None:
        """A run each night, from `first` to `last` days ago."""
        for days in range(first, last - 1, -1):
            self.run(days, **end)

    def judge(self) -> None:
        """Summarise and judge what has ended."""
        with self.owner.transaction() as conn:
            conn.execute(
                "UPDATE jobs SET last_telemetry_at = now() - interval '1 hour'"
                " WHERE completed_at IS NOT NULL AND last_telemetry_at > now() - interval '1 hour'"
            )
        summarise_finished_jobs.run_once(self.owner, self.config)
        judge_runs.run_once(self.owner, self.config, self.now)

    def look(self, later: float = 0.0) -> None:
        """Let the sweep look, so many seconds from now; web processes have been up for a day."""
        now = self.now + timedelta(seconds=later)
        with self.owner.transaction() as conn:
            conn.execute("DELETE FROM ingest_beats")
            # Of a running application, which other tests use.
            conn.execute("DELETE FROM hub_absences WHERE to_at >= %s", [self.began])
            conn.execute(
                "INSERT INTO ingest_beats VALUES ('web', %s, %s)", [now - timedelta(days=1), now]
            )
        find_attention.run_once(self.owner, self.config, now)

    def find(self, later: float = 0.0) -> dict[str, str]:
        """The summaries of the open items by kind, after both tasks."""
        self.judge()
        self.look(later)
        return {row["kind"]: row["summary"] for row in self.items()}

    def items(self, *, ended: bool = False) -> list[dict[str, Any]]:
        """The items, open or ended; of the hub itself none."""
        with self.owner.connect() as conn:
            cursor = conn.execute(
                "SELECT kind, severity, subject, job_id, since, until, summary, evidence,"
                " acknowledged_by FROM attention"
                " WHERE (until IS NOT NULL) = %s AND kind <> 'hub' ORDER BY id",
                [ended],
            )
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def result_of(self, job_id: str) -> str | None:
        """The result of a run."""
        with self.owner.connect() as conn:
            row = conn.execute(
                "SELECT result FROM series_runs JOIN jobs USING (id) WHERE job_id = %s", [job_id]
            ).fetchone()
        return None if row is None else row[0]

    def age(self, days: float) -> None:
        """Let every run be so much older than an update that is accepted now can make it."""
        with self.owner.transaction() as conn:
            conn.execute(
                "UPDATE jobs SET started_at = started_at - %(by)s,"
                " completed_at = completed_at - %(by)s",
                {"by": days * DAYS},
            )

    def set_progress(self, job_id: str, ago: float) -> None:
        """Let the last progress of a run be so many seconds ago, and its last update now."""
        with self.owner.transaction() as conn:
            conn.execute(
                "UPDATE jobs SET last_progress_at = %s, last_telemetry_at = %s WHERE job_id = %s",
                [self.now - timedelta(seconds=ago), self.now, job_id],
            )


@pytest.fixture
def fleet(owner: Database, config: Config) -> Fleet:
    find_attention._thresholds.clear()
    return Fleet(owner, config)


# Ended runs.


def test_good_runs_need_no_attention(fleet: Fleet) -> None:
    fleet.nights(10, 1)
    assert fleet.find() == {}
    assert fleet.result_of("job-1") == "good"


def test_a_failed_run_is_open_until_a_good_one(fleet: Fleet) -> None:
    fleet.nights(9, 6)
    fleet.nights(5, 1, done=GIB, status="failed", error_message="disk full")
    found = fleet.find()
    assert list(found) == ["failed"]
    assert found["failed"].startswith("The last 5 runs failed; the last good one ended ")
    [item] = fleet.items()
    assert item["evidence"]["failures"] == 5
    assert item["evidence"]["error"] == "disk full"
    assert item["since"] == fleet.now - timedelta(days=5) + timedelta(hours=1)
    fleet.run(0.2)
    assert fleet.find() == {}
    [item] = fleet.items(ended=True)
    assert item["until"] == fleet.now


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ({"done": 0, "total_bytes": 52 * GIB}, "It completed with 0 of 52 GiB."),
        ({"done": 85, "total_bytes": 3_200_000}, "It completed with 85 B of 3.05 MiB: 0.0027 %."),
        ({"done": 98, "total_bytes": 100}, "It completed with 98 B of 100 B: 98 %."),
        ({"done": 0, "total_bytes": None}, "It completed with 0 bytes."),
        ({"done": None, "progress_percent": 40}, "It completed at 40 %, by its own account."),
        (
            {"done": 50, "disks": {0: {"status": "failed"}, 1: {"status": "completed"}}},
            "It completed although these disks had not: 0 (failed).",
        ),
    ],
)
def test_a_completed_run_that_contradicts_itself_is_suspicious(
    fleet: Fleet, end: dict[str, Any], sentence: str
) -> None:
    job_id = fleet.run(1, **end)
    assert fleet.find() == {"suspicious": sentence}
    assert fleet.result_of(job_id) == "warning"


@pytest.mark.parametrize(
    "end",
    [
        {"done": None},  # a sender that reports no bytes
        {"done": None, "total_bytes": 1_000},
        {"done": 995, "total_bytes": 1_000},
        {"done": 1_200, "total_bytes": 1_000},
        {"done": 0, "total_bytes": 0},  # nothing had to be moved
        {"done": 1_000, "total_bytes": 1_000, "progress_percent": 99.2},
        {"done": None, "progress_percent": 100},
        {"done": 50, "disks": {0: {"status": "completed", "bytes_transferred": 50}}},
    ],
)
def test_what_is_unknown_or_rounded_is_not_suspicious(fleet: Fleet, end: dict[str, Any]) -> None:
    job_id = fleet.run(1, **end)
    assert fleet.find() == {}
    assert fleet.result_of(job_id) == "good"


def test_a_much_smaller_run_is_unusual(fleet: Fleet) -> None:
    fleet.nights(11, 2)
    fleet.run(1, done=GIB)
    found = fleet.find()
    assert list(found) == ["unusual"]
    assert found["unusual"] == (
        "It moved 1 GiB, 100 times less than usual (100 GiB, the last 10 runs)."
    )


def test_a_much_longer_run_is_unusual(fleet: Fleet) -> None:
    fleet.nights(11, 2)
    fleet.run(1, seconds=9 * HOUR)
    assert fleet.find() == {
        "unusual": "It took 9 h, 9.0 times longer than usual (1 h, the last 10 runs)."
    }


def test_four_runs_say_nothing_about_what_is_usual(fleet: Fleet) -> None:
    fleet.nights(5, 2)
    fleet.run(1, done=GIB)
    assert fleet.find() == {}


def test_a_late_correction_ends_the_item(fleet: Fleet) -> None:
    fleet.run(1, done=50, total_bytes=100, job_id="late")
    assert list(fleet.find()) == ["suspicious"]
    fleet.update("late", DAY - HOUR, status="completed", bytes_transferred=100, total_bytes=100)
    assert fleet.find() == {}


def test_huge_sizes_are_judged(fleet: Fleet) -> None:
    fleet.nights(7, 1, done=2**63 - 1)
    assert fleet.find() == {}
    assert fleet.result_of("job-1") == "good"


def test_a_cancelled_run_does_not_end_what_is_wrong(fleet: Fleet) -> None:
    fleet.run(3, status="failed", error_message="disk full")
    fleet.run(2, status="cancelled")
    assert fleet.find() == {"failed": "The last run failed; there has been no good one."}


def test_a_failed_series_that_was_given_up_needs_no_attention(fleet: Fleet) -> None:
    fleet.run(1, status="failed")
    fleet.age(58)
    assert list(fleet.find()) == ["failed"]
    fleet.now += 2 * DAYS
    fleet.look()
    assert fleet.find() == {}


def test_a_run_that_cannot_be_judged_stops_no_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        fleet.run(2, done=0, total_bytes=9, job_id=f"j{number}", vm_name=f"db{number}")

    def fail_for_one(run: Run, usual: Usual) -> list[Judgement]:
        return [] if 1 // (run.name != "j1") < 0 else judge(run, usual)

    monkeypatch.setattr(judge_runs, "judge", fail_for_one)
    fleet.judge()
    assert [item["job_id"] for item in fleet.items()] == ["j0", "j2", "j3"]
    assert judge_runs.run_once(fleet.owner, fleet.config).errors == 0  # it is not tried again
    monkeypatch.undo()
    fleet.update("j1", 2 * DAY - HOUR, status="completed", bytes_transferred=1, vm_name="db1")
    fleet.judge()
    assert {item["job_id"] for item in fleet.items()} == {"j0", "j1", "j2", "j3"}


def test_repaired_bytes_are_judged_again(fleet: Fleet) -> None:
    fleet.run(1, job_id="j", done=50, disks={0: {"bytes_transferred": 50, "status": "completed"}})
    with fleet.owner.transaction() as conn:  # as older hubs stored it
        conn.execute("UPDATE jobs SET bytes_transferred = 0")
    assert list(fleet.find()) == ["suspicious"]
    with fleet.owner.transaction() as conn:
        repair_jobs(conn, ["j"])
    assert fleet.find() == {}


# Missing runs.


def test_five_nights_without_a_run_are_overdue(fleet: Fleet) -> None:
    fleet.nights(15, 6)
    found = fleet.find()
    assert list(found) == ["overdue"]
    assert "usual is one every 1 d" in found["overdue"]
    fleet.run(0.1)
    assert fleet.find() == {}


def test_a_run_is_not_overdue_within_half_a_day(fleet: Fleet) -> None:
    fleet.nights(10, 1)
    assert fleet.find(later=0.4 * DAY) == {}
    assert list(fleet.find(later=0.7 * DAY)) == ["overdue"]


def test_a_quarterly_run_that_is_missing_is_overdue(fleet: Fleet) -> None:
    for quarter in range(4):
        fleet.run(1, job_id=f"q{quarter}")
        fleet.age(90)
    fleet.age(80)
    assert list(fleet.find()) == ["overdue"]


def test_nothing_is_overdue_before_a_backlog_has_come_in(fleet: Fleet) -> None:
    fleet.nights(10, 3)
    with fleet.owner.transaction() as conn:
        conn.execute(
            "INSERT INTO hub_absences VALUES (%s, %s)",
            [fleet.now - timedelta(hours=20), fleet.now - timedelta(minutes=50)],
        )
    assert fleet.find() == {}
    assert list(fleet.find(later=15 * 60)) == ["overdue"]


# Live runs.


def test_a_run_that_reports_without_progress_is_hung(fleet: Fleet) -> None:
    for ago in range(1_800, 900, -60):
        fleet.update("j", ago, bytes_transferred=2_000 - ago, total_bytes=10_000)
    fleet.set_progress("j", 910)
    found = fleet.find()
    assert list(found) == ["hung"]
    assert "nothing has changed since" in found["hung"]
    fleet.set_progress("j", 5)
    assert fleet.find() == {}


def test_long_pauses_of_a_run_are_not_hung(fleet: Fleet) -> None:
    for ago, done in ((3_000, 1), (2_400, 2), (1_200, 3)):  # 20 minutes between the last two
        fleet.update("j", ago, bytes_transferred=done, total_bytes=10_000)
    fleet.set_progress("j", 1_200)
    assert fleet.find() == {}
    fleet.set_progress("j", 5 * 1_200 + 60)
    assert list(fleet.find()) == ["hung"]


def test_a_phase_without_bytes_may_take_as_long_as_before(fleet: Fleet) -> None:
    for days in (3, 2):
        for ago, phase in ((0, "transferring"), (600, "verify"), (4_200, "verify")):
            fleet.update(f"j{days}", days * DAY - ago, current_phase=phase, bytes_transferred=9)
        fleet.update(f"j{days}", days * DAY - 4_201, status="completed", bytes_transferred=9)
    fleet.update("j", 4_000, current_phase="transferring", bytes_transferred=9)
    fleet.update("j", 3_990, current_phase="verify", bytes_transferred=9)
    fleet.set_progress("j", 3_990)
    assert fleet.find() == {}
    fleet.set_progress("j", 10_900)
    assert list(fleet.find()) == ["hung"]


def test_a_run_that_never_reports_progress_is_not_hung(fleet: Fleet) -> None:
    fleet.update("j", 7_000, current_phase="running")
    fleet.set_progress("j", 7_000)
    assert fleet.find() == {}


def test_a_run_without_progress_may_take_three_times_as_long_as_earlier_ones(fleet: Fleet) -> None:
    for days in (4, 3, 2):
        for ago in (0, 1_800, 3_600):
            fleet.update(f"j{days}", days * DAY - ago, current_phase="running")
        fleet.update(f"j{days}", days * DAY - 3_601, status="completed")
    fleet.update("j", 7_000, current_phase="running")
    fleet.set_progress("j", 7_000)
    assert fleet.find() == {}
    find_attention._thresholds.clear()
    fleet.set_progress("j", 10_900)
    assert list(fleet.find()) == ["hung"]


def test_pauses_of_earlier_runs_are_usual(fleet: Fleet) -> None:
    for days in (3, 2):  # a file of half an hour in each
        for ago, done in ((0, 0), (60, 1), (1_860, 2), (1_920, 3)):
            fleet.update(
                f"j{days}", days * DAY - ago, current_phase="transferring", bytes_transferred=done
            )
        fleet.update(f"j{days}", days * DAY - 1_930, status="completed", bytes_transferred=3)
    for ago, done in ((3_000, 0), (2_990, 1)):
        fleet.update("j", ago, current_phase="transferring", bytes_transferred=done)
    fleet.set_progress("j", 2_990)
    assert fleet.find() == {}
    find_attention._thresholds.clear()
    fleet.set_progress("j", 5_600)
    assert list(fleet.find()) == ["hung"]


def test_a_run_that_died_does_not_overlap_the_next(fleet: Fleet) -> None:
    fleet.update("a", 600, bytes_transferred=5)
    fleet.update("a", 200, bytes_transferred=6)
    fleet.update("b", 180, bytes_transferred=5)
    fleet.update("b", 10, bytes_transferred=6)
    assert fleet.find() == {}
    fleet.update("a", 5, bytes_transferred=7)
    assert list(fleet.find()) == ["overlapping"]


def test_a_hub_that_was_away_finds_no_run_hung(fleet: Fleet) -> None:
    fleet.update("j", 2_000, bytes_transferred=5)
    fleet.set_progress("j", 2_000)
    fleet.judge()
    with fleet.owner.transaction() as conn:
        conn.execute("DELETE FROM ingest_beats")
        conn.execute(
            "INSERT INTO ingest_beats VALUES ('web', %s, %s)",
            [fleet.now - timedelta(minutes=10), fleet.now],
        )
    find_attention.run_once(fleet.owner, fleet.config, fleet.now)
    assert fleet.items() == []


def test_two_live_runs_of_a_series_overlap(fleet: Fleet) -> None:
    fleet.update("a", 600, bytes_transferred=5)
    fleet.update("b", 300, bytes_transferred=5)
    fleet.update("a", 10, bytes_transferred=6)
    found = fleet.find()
    assert found == {"overlapping": "2 runs of the backup of db1 are live: a, b."}
    fleet.update("b", 0, status="completed", bytes_transferred=5)
    assert fleet.find() == {}


def test_a_run_that_is_far_behind_its_usual_progress_is_slow(fleet: Fleet) -> None:
    for days in range(8, 1, -1):
        for minutes in range(0, 60, 5):
            done = minutes * GIB
            fleet.update(f"j{days}", days * DAY - 60 * minutes, bytes_transferred=done)
        fleet.update(f"j{days}", days * DAY - HOUR, status="completed", bytes_transferred=60 * GIB)
    fleet.update("j", 1_800, bytes_transferred=0)
    fleet.update("j", 0, bytes_transferred=20 * GIB)
    assert fleet.find() == {}
    fleet.update("k", 1_800, bytes_transferred=0, vm_name="db2")  # of no known series
    fleet.update("j", -1, bytes_transferred=20 * GIB)
    fleet.update("l", 1_800, bytes_transferred=0)
    fleet.update("l", 0, bytes_transferred=9 * GIB)
    found = fleet.find()
    assert found["slow"].startswith("l had moved 9 GiB after 30 min; usual are at least ")
    assert [item["job_id"] for item in fleet.items() if item["kind"] == "slow"] == ["l"]


def test_a_run_that_is_old_in_a_series_of_short_ones_stops_no_other_look(fleet: Fleet) -> None:
    for days in range(8, 1, -1):
        fleet.run(days, seconds=0.002, job_id=f"j{days}")
    fleet.update("j", 30 * DAY, bytes_transferred=1)
    fleet.update("j", 0, bytes_transferred=2)
    with fleet.owner.transaction() as conn:
        conn.execute("UPDATE jobs SET started_at = %s WHERE job_id = 'j'", [fleet.now - 30 * DAYS])
    fleet.judge()
    with fleet.owner.transaction() as conn:
        conn.execute("UPDATE series SET pace_step_seconds = 0.0001, pace_low = '{9}'")
    fleet.look()
    assert "slow" in {item["kind"] for item in fleet.items()}


def test_a_look_that_fails_stops_no_other(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.nights(15, 6)
    fleet.judge()

    def fail(conn: Connection) -> list[object]:
        return [conn.execute("SELECT 1 / 0")]

    monkeypatch.setattr(live_runs, "read_slow", fail)
    with pytest.raises(HubError, match=r"^slow could not be looked for"):
        fleet.look()
    assert [item["kind"] for item in fleet.items()] == ["overdue"]


def test_a_sender_beside_a_newer_run_keeps_its_item(fleet: Fleet) -> None:
    fleet.update("a", 100, bytes_transferred=1)
    with fleet.owner.transaction() as conn:
        conn.execute("UPDATE jobs SET clock_skew_seconds = 90")
    assert list(fleet.find()) == ["clock"]
    fleet.update("b", -1, bytes_transferred=1)
    fleet.judge()
    assert [item["kind"] for item in fleet.items()] == ["clock"]
    assert fleet.items(ended=True) == []


def test_a_rule_that_allows_more_ends_an_item_of_a_hung_run(fleet: Fleet) -> None:
    fleet.update("j", 2_000, bytes_transferred=9, total_bytes=10_000)
    fleet.set_progress("j", 1_000)
    assert list(fleet.find()) == ["hung"]
    with fleet.owner.transaction() as conn:
        put_rule(conn, Match(), {"hung_after_seconds": 7_200})
    assert fleet.find() == {}


def test_a_mute_that_ended_while_no_task_ran_is_noticed(fleet: Fleet) -> None:
    fleet.run(1, status="failed")
    with fleet.owner.transaction() as conn:
        put_rule(conn, Match(), {"mute_until": fleet.now + timedelta(minutes=5)})
    assert fleet.find() == {}
    with fleet.owner.transaction() as conn:
        conn.execute(
            "INSERT INTO tasks (task_id, interval_seconds, created_at, last_finished_at)"
            " VALUES ('find_attention', 30, %(now)s, %(now)s)",
            {"now": fleet.now},
        )
    fleet.now += timedelta(hours=1)
    fleet.look()
    assert list(fleet.find()) == ["failed"]


def test_what_becomes_less_severe_stays_acknowledged(fleet: Fleet, owner: Database) -> None:
    def find(severity: Severity) -> str | None:
        with owner.transaction() as conn:
            finding = Finding("node_limit", severity, "node:n:disk", fleet.now, severity)
            reconcile(conn, ["node_limit"], [finding], fleet.now)
            conn.execute(
                "UPDATE attention SET acknowledged_at = now(), acknowledged_by = 'ann'"
                " WHERE noticed_at = %s AND severity = 'critical' AND summary = 'critical'",
                [fleet.now],
            )
        by = fleet.items()[0]["acknowledged_by"]
        return None if by is None else str(by)

    assert [find("critical"), find("warning")] == ["ann", "ann"]


def test_a_silent_run_is_one_item_until_a_good_run(fleet: Fleet) -> None:
    fleet.update("j", 0, bytes_transferred=5)
    fleet.judge()
    silent = fleet.config.fail_after_seconds + 60
    with fleet.owner.transaction() as conn:
        conn.execute("DELETE FROM ingest_beats")
        conn.execute(
            "INSERT INTO ingest_beats VALUES ('web', now() - interval '1 day', now() + %s)",
            [timedelta(seconds=silent)],
        )
    later = utc_now() + timedelta(seconds=silent)
    detect_stale_jobs.run_once(fleet.owner, fleet.config, later)
    judge_runs.run_once(fleet.owner, fleet.config, fleet.now)
    assert [(item["kind"], item["severity"]) for item in fleet.items()] == [("silent", "warning")]
    detect_stale_jobs.run_once(fleet.owner, fleet.config, later)
    judge_runs.run_once(fleet.owner, fleet.config, fleet.now)
    assert [(item["kind"], item["severity"]) for item in fleet.items()] == [("silent", "critical")]
    assert fleet.items(ended=True) == []


# Identity, clocks and losses.


def test_a_run_changes_its_series_with_its_identity(fleet: Fleet) -> None:
    fleet.update("j", 60, bytes_transferred=5, vm_name=None)
    fleet.judge()
    fleet.update("j", 30, status="failed", bytes_transferred=5, vm_name="db9", error_message="x")
    fleet.judge()
    with fleet.owner.connect() as conn:
        rows = conn.execute("SELECT vm_name, job_id, runs, state FROM series").fetchall()
    assert rows == [("db9", None, 1, "failed")]


def test_a_wrong_clock_is_an_item_of_the_series(fleet: Fleet) -> None:
    fleet.update("j", -300, bytes_transferred=5)
    assert "clock" in fleet.find()


def test_updates_that_arrived_late_are_not_a_wrong_clock(fleet: Fleet) -> None:
    fleet.update("j", 300, bytes_transferred=5)
    assert fleet.find() == {}


# What a sender says of itself.


def test_a_dry_run_is_not_a_good_run(client: FlaskClient, fleet: Fleet) -> None:
    url = "/api/v1/telemetry/backup/dry"
    body = {"bytes_transferred": 5, "total_bytes": 5, "vm_name": "db1"}
    client.post(url, json={**body, "status": "running", "dry_run": True})
    client.post(url, json={**body, "status": "completed", "dry_run": True, "unknown": 1})
    assert fleet.find() == {"suspicious": "It was a dry run: nothing was copied."}
    answer = client.get("/api/v1/jobs/dry").get_json()
    assert answer["warnings"] == ["The sender says that this is a dry run: nothing is copied."]
    refused = client.post(url, json={**body, "status": "running", "dry_run": "yes"})
    assert refused.get_json()["errors"] == {"dry_run": ["Must be true or false."]}


def test_a_sender_without_bytes_is_not_said_to_have_moved_none(
    client: FlaskClient, fleet: Fleet
) -> None:
    url = "/api/v1/telemetry/backup/"
    client.post(f"{url}quiet", json={"status": "completed", "vm_name": "db1"})
    client.post(
        f"{url}none", json={"status": "completed", "vm_name": "db2", "bytes_transferred": 0}
    )
    assert client.get("/api/v1/jobs/quiet").get_json()["warnings"] == []
    assert client.get("/api/v1/jobs/none").get_json()["warnings"] == [
        "The job completed with 0 bytes transferred."
    ]
    assert fleet.find() == {"suspicious": "It completed with 0 bytes."}


# Nodes.


def snapshot(client: FlaskClient, **metrics: Any) -> None:
    answer = client.post("/api/v1/telemetry/snapshot", json={"node_id": "n1", **metrics})
    assert answer.status_code == 200, answer.get_data()


def test_a_nearly_full_disk_is_critical_and_ends_with_hysteresis(
    client: FlaskClient, fleet: Fleet
) -> None:
    found = []
    for percent in (89, 97, 94, 89, 87.9, 89):
        snapshot(client, disk_percent=percent)
        fleet.look()
        found.append([(item["kind"], item["severity"]) for item in fleet.items()])
    assert found == [
        *([], [("node_limit", "critical")], [("node_limit", "warning")]),
        *([("node_limit", "warning")], [], []),
    ]


def test_full_memory_counts_after_ten_minutes(client: FlaskClient, fleet: Fleet) -> None:
    for minutes in range(12, -1, -1):
        time = fleet.now - timedelta(minutes=minutes)
        snapshot(client, memory_percent=96, timestamp=time.isoformat())
        if minutes == 5:
            fleet.look()
            assert fleet.items() == []
    fleet.look()
    assert [item["summary"] for item in fleet.items()] == [
        "The memory of n1 is at least 95 % full for 10 min."
    ]


def test_an_offline_node_is_open_until_it_is_back(client: FlaskClient, fleet: Fleet) -> None:
    snapshot(client, cpu_percent=1)
    with fleet.owner.transaction() as conn:
        conn.execute("UPDATE nodes SET state = 'offline'")
    fleet.look()
    assert [item["kind"] for item in fleet.items()] == ["node_offline"]
    snapshot(client, cpu_percent=2)
    fleet.look()
    assert fleet.items() == []


def test_an_agent_that_drops_snapshots_is_losing(client: FlaskClient, fleet: Fleet) -> None:
    time = fleet.now.isoformat()
    for _ in range(2):  # the second is a repeat
        snapshot(client, cpu_percent=1, lost_snapshots=3, timestamp=time)
    fleet.look()
    [item] = fleet.items()
    assert item["kind"] == "losing"
    assert item["evidence"]["lost_snapshots"] == 3
    node = client.get("/api/v1/nodes/n1").get_json()
    assert node["lost_snapshots"] == 3
    assert node["lost_at"] is not None
    refused = client.post(
        "/api/v1/telemetry/snapshot", json={"node_id": "n1", "lost_snapshots": -1}
    )
    assert list(refused.get_json()["errors"]) == ["lost_snapshots"]
    fleet.look(later=2 * DAY)
    assert fleet.items() == []


# The hub itself.


def hub_items(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Severity and summary of the open items of the hub, by subject; not those of this engine."""
    with fleet.owner.connect() as conn:
        rows = conn.execute(
            "SELECT subject, severity, summary FROM attention"
            " WHERE kind = 'hub' AND until IS NULL AND subject NOT IN ('engine', 'space')"
        )
        return {subject: (severity, summary) for subject, severity, summary in rows}


def test_what_is_wrong_with_the_hub_is_listed(fleet: Fleet) -> None:
    long_ago = fleet.now - timedelta(days=3)
    with fleet.owner.transaction() as conn:
        conn.execute(
            "INSERT INTO tasks"
            " (task_id, interval_seconds, created_at, last_finished_at, last_error) VALUES"
            " ('late', 60, %(old)s, %(old)s, NULL), ('failing', 60, %(old)s, %(now)s, 'Why.')",
            {"old": long_ago, "now": fleet.now},
        )
        conn.execute("INSERT INTO retention_clock VALUES (true, %s, 3)", [long_ago])
        for name, days in (("soon", 10), ("later", 20), ("over", -1)):
            conn.execute(
                "INSERT INTO tokens (id, name, scope, job_types, created_at, expires_at)"
                " VALUES (%(name)s, %(name)s, 'read', '{}', %(old)s, %(end)s)",
                {"name": name, "old": long_ago, "end": fleet.now + timedelta(days=days)},
            )
    fleet.look()
    found = hub_items(fleet)
    assert found.keys() == {
        *("task:late", "task:failing", "retention", "token:soon", "token:over"),
    }
    assert found["task:late"][0] == "critical"
    assert found["task:failing"] == ("critical", "The task failing failed: Why.")
    assert found["token:soon"][0] == "warning"
    assert found["token:over"][0] == "critical"
    with fleet.owner.transaction() as conn:  # the hub has just been started
        conn.execute("UPDATE ingest_beats SET up_since = beat_at - interval '2 minutes'")
    find_attention.run_once(fleet.owner, fleet.config, fleet.now)
    assert "task:late" not in hub_items(fleet)
    with fleet.owner.transaction() as conn:
        conn.execute("DELETE FROM ingest_beats")
        conn.execute(
            "INSERT INTO ingest_presence VALUES (true, %s) ON CONFLICT (is_only)"
            " DO UPDATE SET last_beat_at = excluded.last_beat_at",
            [long_ago],
        )
        conn.execute("DELETE FROM tasks")
        conn.execute("DELETE FROM tokens")
        conn.execute("DELETE FROM retention_clock")
    find_attention.run_once(fleet.owner, fleet.config, fleet.now)
    assert hub_items(fleet).keys() == {"ingest"}
    with fleet.owner.transaction() as conn:
        conn.execute("UPDATE ingest_presence SET last_beat_at = now()")


def test_a_page_of_runs_is_not_compared_with_each_series(owner: Database, config: Config) -> None:
    with owner.connect(autocommit=True) as conn:
        conn.execute(
            """INSERT INTO jobs (job_id, job_type, status, vm_name)
               SELECT 'job-' || n, 'backup', 'running', nullif('vm-' || n % 300, 'vm-0')
               FROM generate_series(1, 300) AS n"""
        )
        judge_runs.run_once(owner, config)
        ids = [row[0] for row in conn.execute("SELECT id FROM jobs ORDER BY id LIMIT 100")]
        conn.execute("SET enable_seqscan = off")  # as on the embedded engine
        explain = "EXPLAIN (ANALYZE, FORMAT JSON) " + series_store.SQL["place_runs"]
        row = conn.execute(explain, {"ids": ids}).fetchone()
    assert row is not None
    compared = [
        node["Rows Removed by Filter"] * node["Actual Loops"]
        for node in _nodes(row[0][0]["Plan"])
        if node.get("Relation Name") == "series" and "Rows Removed by Filter" in node
    ]
    assert sum(compared) <= 300


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def test_a_disk_that_fills_up_is_noticed() -> None:
    def after(minutes: int, free: int) -> FreeSpace:
        return FreeSpace(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes), free, 1_000)

    assert space_finding([after(0, 500), after(60, 499)]) is None
    fast = space_finding([after(0, 500), after(60, 450)])
    assert fast is not None
    assert fast.severity == "critical"
    assert "within a day" in fast.summary
    for free, severity in ((90, "warning"), (40, "critical")):
        short = space_finding([after(0, free)])
        assert short is not None
        assert short.severity == severity
    assert space_finding([after(0, 500), after(5, 450)]) is None  # too short a time to say
