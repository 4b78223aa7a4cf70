"""Analysts: the document's every query on a small site with known answers, the views, the comments,
and what the role may not do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from psycopg import errors

from app.checks.doctor import run_checks
from app.config import ROOT, Config
from app.database.migrate import MIGRATIONS_DIR
from app.database.pool import Connection, Database
from app.domain.staleness import BEAT_GAP_SECONDS, Threshold, judge_silence
from tests.analyst_site import (
    DAILY,
    DEAD,
    ENDED,
    HOUR,
    LIVE,
    MIB,
    OFFSITE,
    REVIVED,
    RUNNING,
    STALLED,
    Analyst,
)

Rows = list[dict[str, Any]]


# ---- the document -------------------------------------------------------------------------------


def read_document() -> dict[str, list[str]]:
    """The SQL blocks of docs/analysts.md, by the heading above them."""
    blocks: dict[str, list[str]] = {}
    heading = fence = ""
    for line in (ROOT / "docs" / "analysts.md").read_text().splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
            if fence == "```sql":
                blocks.setdefault(heading, []).append("")
        elif fence == "```sql":
            blocks[heading][-1] += line + "\n"
        elif not fence and line.startswith("#"):
            heading = line.lstrip("# ")
    return blocks


DOCUMENT = read_document()


def as_grafana_sends_it(sql: str) -> str:
    """A panel's query with its macros and variables replaced, TimescaleDB switched on."""
    sql = re.sub(r"\$__timeGroup\((\w+), \$__interval\)", r"time_bucket('300.000s',\1)", sql)
    last_day = r"\1 BETWEEN now() - interval '1 day' AND now()"
    return re.sub(r"\$__timeFilter\((\w+)\)", last_day, sql).replace("$vm_name", "pgtest1")


def ask(analyst: Analyst, heading: str, nth: int = 0) -> Rows:
    """What a block of the document answers."""
    return analyst.execute(as_grafana_sends_it(DOCUMENT[heading][nth])).fetchall()


# ---- what the document answers ------------------------------------------------------------------


@pytest.mark.parametrize("heading", DOCUMENT)
def test_every_block_has_an_answer(analyst: Analyst, heading: str) -> None:
    for nth, _ in enumerate(DOCUMENT[heading]):
        assert ask(analyst, heading, nth)


def test_the_document_has_its_queries() -> None:
    assert sum(map(len, DOCUMENT.values())) >= 30


def by(rows: Rows, key: str, *columns: str) -> dict[Any, Any]:
    """One or several columns of each row, by a key that is unique."""
    found = {
        row[key]: row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns)
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def test_coverage_counts_jobs_with_and_without_telemetry(analyst: Analyst) -> None:
    columns = ("total", "with_telemetry", "without_telemetry", "coverage_percent")
    assert by(ask(analyst, "Telemetry coverage"), "status", *columns) == {
        "completed": (8, 7, 1, 87.5),
        "running": (5, 4, 1, 80.0),
        "failed": (2, 2, 0, 100.0),
        "stalled": (1, 1, 0, 100.0),
        "cancelled": (1, 1, 0, 100.0),
    }
    by_machine = by(ask(analyst, "Telemetry coverage", 1), "vm_name", "coverage_percent")
    assert by_machine["old01"] == 0
    assert by_machine["web01"] == 100


def test_update_frequency_of_live_and_ended_jobs(analyst: Analyst) -> None:
    columns = ("telemetry_seconds", "updates", "seconds_per_update", "gb_transferred")
    found = by(ask(analyst, "How often jobs report"), "job_id", *columns, "mb_per_second")
    assert found[LIVE][1:] == (240, 5, 116.7, 100)
    assert found["backup-mail01-full"][1:] == (13, 60, 70.3, 100)
    assert "backup-old01-1" not in found  # it has no telemetry


def test_stale_statistics_are_the_detectors(analyst: Analyst) -> None:
    stalled = ("stalled", "Job stalled due to no telemetry updates for 60s", 1)
    failed = ("failed", "Job failed due to no telemetry updates for 5m0s", 1)
    columns = ("status", "error_message", "total")
    by_view = {tuple(row[c] for c in columns) for row in ask(analyst, "Stale jobs by message")}
    by_text = {tuple(row[c] for c in columns) for row in ask(analyst, "Stale jobs by message", 1)}
    assert by_view == {stalled, failed}
    assert by_text - by_view == {("failed", "I/O stalled: disk full", 1)}


def test_bytes_are_checked_against_disks(analyst: Analyst) -> None:
    heading = "Bytes of jobs and of their disks"
    assert by(ask(analyst, heading), "job_id", "disks", "difference_bytes") == {
        "backup-web01-empty": (0, None),
        "backup-web01-differs": (2, 1000),
    }
    assert by(ask(analyst, heading, 1), "job_id", "bytes_transferred").keys() == {
        "backup-web01-differs"
    }
    right = analyst.execute(
        "SELECT job_id FROM aggregation_check WHERE aggregation_correct = 1"
    ).fetchall()
    assert {"job_id": "backup-mail01-full"} in right
    assert {"job_id": "backup-old01-2"} in right


def test_silence_calls_for_a_verdict(analyst: Analyst) -> None:
    expected = {
        LIVE: "OK",
        "restore-mail01-hung": "OK",
        STALLED.job_id: "OK",  # that is what it is
        "backup-old01-1": "OK",
        "backup-web01-quiet": "should_be_stalled",
        "replication-web01-lost": "should_be_failed",
    }
    heading = "What the status of silent jobs should be"
    assert by(ask(analyst, heading), "job_id", "verdict") == expected
    assert by(ask(analyst, heading, 1), "job_id", "verdict") == expected
    assert all(row["watched_seconds"] >= HOUR for row in ask(analyst, heading))


def test_verdicts_follow_the_sessions_thresholds(site: Database, analyst: Analyst) -> None:
    with site.transaction() as conn:
        conn.execute("SET LOCAL hub.stale_after_seconds = '1'")
        conn.execute("SET LOCAL hub.fail_after_seconds = '80'")
        found = dict(conn.execute("SELECT job_id, verdict FROM running_verdicts").fetchall())
    assert found[LIVE] == "should_be_stalled"
    assert found["backup-web01-quiet"] == found[STALLED.job_id] == "should_be_failed"
    with site.transaction() as conn:  # what is left of them in the session says nothing
        found = dict(conn.execute("SELECT job_id, verdict FROM running_verdicts").fetchall())
    assert found[LIVE] == "OK"


def test_verdicts_follow_the_interval_and_the_pauses_of_a_job(site: Database) -> None:
    """By the same thresholds as the detector's."""
    query = "SELECT stale_after_seconds, fail_after_seconds FROM running_verdicts WHERE job_id = %s"
    with site.reading() as conn, conn.transaction(force_rollback=True):
        for interval, pause in ((None, None), (10, 9), (100, 70), (None, 70), (None, 9000)):
            conn.execute(
                "UPDATE jobs SET interval_seconds = %s, pause_seconds = %s WHERE job_id = %s",
                [interval, pause, LIVE],
            )
            judged = judge_silence(Threshold(60), Threshold(300), 240, interval, pause)
            row = conn.execute(query, [LIVE]).fetchone()
            assert row == (judged.stall.seconds, judged.fail.seconds), (interval, pause)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ("INSERT INTO rules (job_type, memory_percent) VALUES ('backup', 90)", "should_be_stalled"),
        ("INSERT INTO rules (vm_name, stall_after_seconds) VALUES ('x', 9)", "should_be_stalled"),
        ("INSERT INTO rules (vm_name, stall_after_seconds) VALUES ('web01', 9)", "by_rule"),
        ("INSERT INTO rules (job_id, fail_after_seconds) VALUES ('*-quiet', 9)", "by_rule"),
        (
            "INSERT INTO maintenance (from_at, to_at, reason) "
            "VALUES (now() - interval '9 days', now() - interval '1 s', 'r')",
            "by_rule",
        ),
        (
            "INSERT INTO maintenance (from_at, to_at, reason) "
            "VALUES (now() - interval '9 days', now() - interval '8 days', 'r')",
            "should_be_stalled",
        ),
    ],
)
def test_a_verdict_that_a_rule_or_maintenance_may_change_is_not_given(
    site: Database, change: str, verdict: str
) -> None:
    with site.reading() as conn, conn.transaction(force_rollback=True):
        conn.execute(change.encode())
        found = dict(conn.execute("SELECT job_id, verdict FROM running_verdicts").fetchall())
    assert found["backup-web01-quiet"] == verdict


def test_a_hub_that_takes_no_updates_watches_no_job(site: Database, analyst: Analyst) -> None:
    with site.transaction() as conn:
        conn.execute(
            "UPDATE ingest_beats SET beat_at = now() - make_interval(secs => %s)",
            [BEAT_GAP_SECONDS + 1],
        )
        row = conn.execute("SELECT max(watched_seconds) FROM running_verdicts").fetchone()
    assert row == (None,)


def test_live_jobs_disks_and_failures_are_at_hand(analyst: Analyst) -> None:
    running = ask(analyst, "What is running")
    assert len(running) == 6
    assert running[-1]["job_id"] == "backup-old01-1"
    disks = by(ask(analyst, "The disks of a job"), "disk_index", "percent", "mb_per_second")
    assert disks == {0: (50, 75), 1: (50, 25)}
    last = by(ask(analyst, "What stalled or failed last"), "job_id", "status", "ended_by")
    assert last[STALLED.job_id] == ("stalled", None)
    assert last[DEAD.job_id] == ("failed", "detector")
    assert last["backup-mail01-failed"] == ("failed", "sender")
    hung = ask(analyst, "Jobs that hang although they report")
    assert [row["job_id"] for row in hung] == ["restore-mail01-hung"]


def test_the_donut_of_a_machine_and_repository(analyst: Analyst) -> None:
    assert by(ask(analyst, "Jobs by status"), "status", "jobs") == {"completed": 11, "running": 1}


def test_nodes_report_every_minute(analyst: Analyst) -> None:
    nodes = by(ask(analyst, "Nodes in the last ten minutes"), "node_id", "snapshots", "cpu_percent")
    assert nodes.keys() == {"node-a", "node-b"}
    assert all(5 <= snapshots <= 10 and cpu == 20 for snapshots, cpu in nodes.values())


def test_performance_is_over_speeds_above_zero(analyst: Analyst) -> None:
    (found,) = ask(analyst, "Peak, mean and lowest speed of a job")
    speeds = (found["peak_speed_bps"], found["avg_speed_bps"], found["min_speed_bps"])
    assert speeds == (100 * MIB,) * 3
    assert found["snapshots"] == 240
    assert found["last_at"] - found["first_at"] == timedelta(seconds=239 * 5)
    machine = by(ask(analyst, "Peak, mean and lowest speed of a job", 1), "job_id", "snapshots")
    assert machine == {LIVE: 240} | {run.job_id: 13 for run in [*DAILY, REVIVED]}
    empty = analyst.execute(
        "SELECT peak_speed_bps, avg_speed_bps, min_speed_bps, snapshots FROM job_performance "
        "WHERE job_id = 'backup-web01-empty'"
    ).fetchone()
    assert empty is not None
    assert list(empty.values()) == [None, None, None, 13]


def test_slow_backups_stand_out_against_their_own_median(analyst: Analyst) -> None:
    slowest = ask(analyst, "The slowest backups of the week")[:2]
    assert {row["job_id"] for row in slowest} == {"backup-pgtest1-day1", "backup-web01-empty"}
    day1 = next(row for row in slowest if row["job_id"] == "backup-pgtest1-day1")
    assert (day1["mb_per_second"], day1["usual_mb_per_second"]) == (40, 100)
    assert day1["share_of_usual"] == 0.4


def test_throughput_adds_up_to_what_moved(analyst: Analyst) -> None:
    gb: dict[str, float] = defaultdict(float)
    for row in ask(analyst, "Throughput of each repository by the hour"):
        gb[row["repository_id"]] += row["gb"]
    offsite = [run for run in [*ENDED, STALLED, *RUNNING] if run.repository_id == OFFSITE]
    assert gb[OFFSITE] == pytest.approx(sum(run.moved_bytes for run in offsite) / 1024**3, abs=0.1)


def test_uneven_disks_have_a_ratio(analyst: Analyst) -> None:
    ratios = by(ask(analyst, "Uneven disks"), "job_id", "ratio")
    assert ratios == {"backup-mail01-full": 4, LIVE: 3, "backup-web01-differs": 1}


def test_success_leaves_out_what_was_cancelled(analyst: Analyst) -> None:
    rows = ask(analyst, "Success and duration by machine")
    found = {(row["vm_name"], row["job_type"]): row for row in rows}
    assert ("web01", "replication") not in found
    mail = found["mail01", "backup"]
    assert (mail["completed"], mail["failed"], mail["success_percent"]) == (1, 1, 50)
    assert mail["p95_minutes"] == 12


def test_silences_are_found_in_the_rollup(analyst: Analyst) -> None:
    silences = ask(analyst, "Silences of the last day")
    assert [(row["job_id"], row["silence"], row["lost_updates"]) for row in silences] == [
        ("backup-web01-gap", timedelta(seconds=660), 120)
    ]


def test_phases_come_from_summaries_and_updates(analyst: Analyst) -> None:
    phases = {
        (row["vm_name"], row["phase"]): (row["times"], row["mean_seconds"])
        for row in ask(analyst, "Time spent in each phase")
    }
    assert phases["pgtest1", "snapshot"] == (11, 60)
    assert phases["pgtest1", "transferring"] == (11, 660)
    live = by(ask(analyst, "Time spent in each phase", 1), "current_phase", "took")
    assert live == {"snapshot": timedelta(seconds=5), "transferring": None}


def test_warnings_estimates_and_false_alarms(analyst: Analyst) -> None:
    warnings = by(ask(analyst, "Jobs with warnings"), "code", "newest_job_id")
    assert warnings == {
        "no_bytes": "backup-web01-empty",
        "clock_shifted": "backup-erp-shifted",
        "sender_lost": "backup-web01-gap",
    }
    errors = by(ask(analyst, "How good the senders' estimates are"), "quarter", "median_error")
    assert errors == dict.fromkeys((1, 2, 3, 4), 0.5)
    (alarm,) = ask(analyst, "False alarms")
    assert alarm["job_id"] == REVIVED.job_id
    assert float(alarm["silent_seconds"]) >= 400
    steps = [row["to_status"] for row in ask(analyst, "What happened to a job")]
    assert steps == ["running", "stalled", "failed", "running", "completed"]


def test_what_needs_attention_is_listed_with_the_worst_first(analyst: Analyst) -> None:
    found = ask(analyst, "What needs attention")
    severities = [row["severity"] for row in found]
    assert severities == sorted(severities, key=["critical", "warning", "info"].index)
    kinds = {(row["kind"], row["job_id"]) for row in found}
    assert ("silent", DEAD.job_id) in kinds
    assert ("failed", "backup-mail01-failed") in kinds
    assert ("silent", STALLED.job_id) in kinds
    assert ("hung", "restore-mail01-hung") in kinds


def test_unusual_runs_and_false_alarms_are_counted(analyst: Analyst) -> None:
    usual = by(ask(analyst, "What is usual for a machine"), "name", "counted_runs", "median")
    assert usual == {
        "seconds": (11, pytest.approx(720)),
        "bytes": (11, pytest.approx(100 * MIB * 720)),
        "bps": (11, pytest.approx(100 * MIB)),
    }
    reasons = {(row["job_id"], row["kind"]) for row in ask(analyst, "Why runs have a warning")}
    assert ("backup-pgtest1-day1", "unusual") in reasons
    assert ("backup-web01-empty", "suspicious") in reasons
    columns = ("items", "false_alarms", "false_percent")
    alarms = by(ask(analyst, "False alarms per week"), "kind", *columns)
    assert alarms["clock"] == (1, 1, 100)
    assert alarms["hung"] == (1, 0, 0)


def test_a_machine_without_a_good_run_for_two_days_is_listed(analyst: Analyst) -> None:
    found = by(ask(analyst, "Machines without a good run for two days"), "vm_name", "failures")
    assert found == {"vpn01": 0}


def test_busy_nodes_before_a_failure(analyst: Analyst) -> None:
    (found,) = ask(analyst, "Busy nodes before failures")
    assert (found["job_id"], found["node_id"]) == ("backup-mail01-failed", "node-a")
    assert (found["cpu_percent"], found["memory_percent"]) == (97, 40)


def test_late_and_wrong_senders_are_named(analyst: Analyst) -> None:
    arrivals = by(ask(analyst, "Late arrivals"), "arrived", "jobs")
    assert arrivals["5 longer"] == 1
    assert arrivals.keys() == {"1 under 1 s", "5 longer"}
    offsets = by(ask(analyst, "Wrong clocks"), "name", "clock_offset_seconds")
    assert offsets["node-b"] == -3600
    assert offsets["backup-erp-shifted"] == pytest.approx(-2 * HOUR, abs=60)
    quickest = by(ask(analyst, "Wrong clocks", 1), "vm_name", "quickest_arrival")
    assert quickest["laptop"] == timedelta(minutes=20)
    assert quickest["pgtest1"] == timedelta(milliseconds=700)


def test_what_senders_lost_is_added_up_by_job(analyst: Analyst) -> None:
    (lost,) = ask(analyst, "What senders lost")
    assert (lost["job_id"], lost["vm_name"]) == ("backup-web01-gap", "web01")
    assert (lost["lost_updates"], lost["times"]) == (120, 1)


def test_charts_of_live_and_ended_jobs(analyst: Analyst) -> None:
    live = ask(analyst, "The chart of a job")
    assert max(row["highest_bps"] for row in live) == 100 * MIB
    assert live[-1]["percent"] == 50
    ended = ask(analyst, "The chart of a job", 1)
    assert max(row["highest_bps"] for row in ended) == 100 * MIB
    assert ended[-1]["at"] - ended[0]["at"] == timedelta(minutes=12)


def test_days_hours_and_weeks_add_up(analyst: Analyst) -> None:
    weeks = [row for row in ask(analyst, "Growth of backups") if row["vm_name"] == "pgtest1"]
    assert sum(row["backups"] for row in weeks) == 11
    days = ask(analyst, "Local days")
    everything = [*ENDED, REVIVED, DEAD, STALLED, *RUNNING]
    assert sum(row["updates"] for row in days) == sum(run.count for run in everything)
    hours = ask(analyst, "The busiest hours")
    assert sum(row["job_hours"] for row in hours) >= len(everything)
    nodes = ask(analyst, "A day of the nodes")
    assert {row["mean_cpu_percent"] for row in nodes if row["node_id"] == "node-b"} == {20}


# ---- the views ----------------------------------------------------------------------------------


def test_updates_are_shown_as_they_were_reported(site: Database, analyst: Analyst) -> None:
    rows = analyst.execute(
        "SELECT bytes_transferred, progress_percent, vm_name, received_at - time AS lag "
        "FROM job_updates WHERE job_id = %s ORDER BY time, seq",
        ["backup-mail01-full"],
    ).fetchall()
    run = next(run for run in ENDED if run.job_id == "backup-mail01-full")
    reported = [update.fields for update in run.updates(0)]
    assert [row["progress_percent"] for row in rows] == [f["progress_percent"] for f in reported]
    assert [row["vm_name"] for row in rows] == ["mail01"] + [None] * 12
    assert {row["lag"] for row in rows} == {timedelta(milliseconds=700)}


def test_older_names_lead_to_the_same_jobs(analyst: Analyst) -> None:
    job = analyst.execute("SELECT * FROM backup_jobs WHERE id = %s", [LIVE]).fetchone()
    assert job is not None
    assert (job["vm_context_id"], job["vm_backup_context_id"]) == ("pgtest1", "pgtest1/repo-main")
    assert job["repository_path"] is None
    assert job["status"] == "running"
    disks = analyst.execute(
        "SELECT disk_index, size_gb FROM backup_disks WHERE backup_job_id = %s ORDER BY 1", [LIVE]
    ).fetchall()
    gb = 2 * 100 * 5 * 239 / 1024  # in all, in units of 1024^3 bytes
    assert [disk["size_gb"] for disk in disks] == pytest.approx([gb * 0.75, gb * 0.25], abs=0.01)
    types = analyst.execute(
        "SELECT count(*) AS jobs FROM backup_jobs WHERE id NOT LIKE 'backup-%'"
    ).fetchone()
    assert types == {"jobs": 0}


def test_history_of_nodes_has_the_fields_they_send(analyst: Analyst) -> None:
    cursor = analyst.execute("SELECT * FROM telemetry_history LIMIT 1")
    names = [column.name for column in cursor.description or ()]
    assert len(names) == 19
    assert names[:3] == ["node_id", "timestamp", "cpu_percent"]


def refresh(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        for rollup in ("job_speed_1m", "job_speed_1h"):
            conn.execute(
                f"CALL refresh_continuous_aggregate('{rollup}', now() - interval '20 days', "
                "now() - interval '1 hour')"
            )


def test_performance_is_the_same_once_materialised(site: Database, analyst: Analyst) -> None:
    query = "SELECT * FROM job_performance ORDER BY job_id"
    in_real_time = analyst.execute(query).fetchall()
    refresh(site)
    assert analyst.execute(query).fetchall() == in_real_time


@pytest.mark.parametrize(
    "condition",
    [
        "= 'backup-pgtest1-day2'",
        "= ANY (ARRAY(SELECT job_id FROM jobs WHERE vm_name = 'pgtest1'))",
    ],
)
def test_performance_of_a_job_reads_its_own_rows(
    site: Database, analyst: Analyst, condition: str
) -> None:
    refresh(site)
    plan = analyst.execute(
        f"EXPLAIN (FORMAT JSON) SELECT * FROM job_performance WHERE job_id {condition}"
    ).fetchone()
    assert plan is not None
    scans = list(scans_of(plan["QUERY PLAN"][0]["Plan"]))
    assert any("_hyper_" in scan["Relation Name"] for scan in scans)
    for scan in scans:
        if "_hyper_" in scan["Relation Name"]:
            wanted = [scan.get(key, "") for key in ("Index Cond", "Recheck Cond", "Filter")]
            assert "job_id = " in " ".join(wanted), scan


def scans_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read a table."""
    if "Relation Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from scans_of(part)


# ---- comments, and files that are applied again -------------------------------------------------

OURS = """
c.relnamespace = 'public'::regnamespace
AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
UNCOMMENTED = f"""
SELECT c.relname::text
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {OURS} AND obj_description(c.oid, 'pg_class') IS NULL
UNION ALL
SELECT c.relname || '.' || a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {OURS} AND col_description(c.oid, a.attnum) IS NULL
UNION ALL
SELECT c.oid::regprocedure::text
FROM (SELECT oid, pronamespace AS relnamespace FROM pg_proc) AS c
WHERE {OURS} AND obj_description(c.oid, 'pg_proc') IS NULL
ORDER BY 1
"""


def uncommented(conn: Connection) -> list[str]:
    return [name for (name,) in conn.execute(UNCOMMENTED).fetchall()]


def test_everything_has_a_comment(open_owner: Database) -> None:
    with open_owner.reading() as conn:
        assert uncommented(conn) == []


@pytest.mark.parametrize("name", ["analyst_role", "analyst_views", "comments"])
def test_each_file_can_be_applied_again_alone(
    open_owner: Database, config: Config, name: str
) -> None:
    sql = (MIGRATIONS_DIR / "repeatable" / f"{name}.sql").read_bytes()
    with open_owner.reading() as conn, conn.transaction(force_rollback=True):
        conn.execute(sql)
        assert uncommented(conn) == []
        assert all(check.ok for check in run_checks(conn, config) if check.name == "analyst")
        conn.execute("SET LOCAL ROLE analyst")
        conn.execute("SELECT * FROM job_performance LIMIT 1")
        conn.execute("SELECT * FROM update_frequency LIMIT 1")


def test_a_user_without_the_rights_is_only_warned(open_owner: Database) -> None:
    sql = (MIGRATIONS_DIR / "repeatable" / "analyst_role.sql").read_bytes()
    with open_owner.reading() as conn, conn.transaction(force_rollback=True):
        notices: list[str] = []
        conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        conn.execute("ALTER ROLE analyst RENAME TO somebody_else")
        conn.execute("CREATE ROLE hub_owner NOLOGIN")
        conn.execute("GRANT USAGE ON LANGUAGE plpgsql TO hub_owner")  # the embedded engine's is not
        conn.execute("SET LOCAL ROLE hub_owner")
        conn.execute(sql)
    assert any("analyst may not read" in notice for notice in notices)


# ---- what an analyst may, and may not -----------------------------------------------------------


def test_the_analyst_reads_everything_but_secrets(analyst: Analyst) -> None:
    relations = analyst.execute(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c "
        f"WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {OURS}"
        " AND c.relname <> 'destination_addresses'"
    ).fetchall()
    assert len(relations) >= 25
    for relation in relations:
        analyst.execute(f"SELECT * FROM {relation['name']} LIMIT 0")


FORBIDDEN = {
    "read addresses of destinations": "SELECT * FROM destination_addresses",
    "insert": "INSERT INTO jobs (job_id, job_type) VALUES ('x', 'backup')",
    "insert into a view": "INSERT INTO job_updates (time, job_id) VALUES (now(), 'x')",
    "update": "UPDATE jobs SET status = 'running'",
    "update a view": "UPDATE backup_jobs SET status = 'running'",
    "delete": "DELETE FROM job_telemetry",
    "delete from a rollup": "DELETE FROM job_speed_1h",
    "truncate": "TRUNCATE job_telemetry",
    "truncate a rollup": "TRUNCATE job_speed_1m",
    "create a table": "CREATE TABLE mine (x integer)",
    "create a view": "CREATE VIEW mine AS SELECT 1 AS x",
    "drop a view": "DROP VIEW backup_jobs",
    "alter": "ALTER TABLE jobs ADD COLUMN mine integer",
    "comment": "COMMENT ON TABLE jobs IS 'mine'",
    "refresh": "CALL refresh_continuous_aggregate('job_speed_1m', NULL, now())",
    "compress": "SELECT compress_chunk(chunk) FROM show_chunks('job_telemetry') AS chunk",
    "drop chunks": "SELECT drop_chunks('job_telemetry', now())",
    "drop chunks of a rollup": "SELECT drop_chunks('job_speed_1m', now())",
    "add a policy": "SELECT add_retention_policy('job_telemetry', interval '1 day')",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_analyst_cannot(analyst: Analyst, statement: str) -> None:
    # The second one: a rollup is a view, which is read-only.
    with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
        analyst.execute(statement)


def test_the_analyst_cannot_write_into_a_chunk(analyst: Analyst) -> None:
    chunk = analyst.execute("SELECT show_chunks('job_telemetry')::text AS name LIMIT 1").fetchone()
    assert chunk is not None
    with pytest.raises(errors.InsufficientPrivilege):
        analyst.execute(f"DELETE FROM {chunk['name']}")


def test_rights_alone_refuse_it_as_well(site: Database) -> None:
    """Without the bridge's list of statements, which comes first on the embedded engine."""
    written = ("insert", "insert into a view", "update", "delete", "truncate", "create a table")
    for name in written:
        with site.reading() as conn, conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL ROLE analyst")
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(FORBIDDEN[name])
