"""Pushing updates over HTTP: what is stored, the job's state, and refusals."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app.clock import utc_now
from app.database.pool import Database
from app.domain.staleness import Threshold
from app.store.staleness import Verdict, fail_jobs, stall_jobs
from tests.factories import NOW, at, make_body

URL = "/api/v1/telemetry/backup/job-1"


def push(client: FlaskClient, job_id: str = "job-1", **changes: Any) -> dict[str, Any]:
    answer = client.post(f"/api/v1/telemetry/backup/{quote(job_id)}", json=make_body(**changes))
    assert answer.status_code == 200, answer.get_json()
    body: dict[str, Any] = answer.get_json()
    return body


def job(client: FlaskClient, job_id: str = "job-1") -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"/api/v1/jobs/{quote(job_id)}").get_json()
    return body


def count(database: Database, table: str) -> int:
    with database.reading() as conn:
        row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def events(client: FlaskClient, job_id: str = "job-1") -> list[tuple[str, str | None, str | None]]:
    items = client.get(f"/api/v1/jobs/{job_id}/events").get_json()["items"]
    return [(item["kind"], item["from_status"], item["to_status"]) for item in items]


# -- what is stored ------------------------------------------------------------------------------


def test_first_update_creates_the_job(client: FlaskClient) -> None:
    receipt = push(client)
    assert receipt["accepted"]
    assert receipt["applied"]
    assert not receipt["duplicate"]
    assert receipt["time"] == at(-60)
    stored = job(client)
    assert stored["status"] == "running"
    assert stored["started_at"] == at(-60)
    assert stored["progress_percent"] == 50.0
    assert stored["last_telemetry_at"] == receipt["received_at"]
    assert events(client) == [("transition", None, "running")]


def test_minimal_update_is_enough(client: FlaskClient) -> None:
    answer = client.post(URL, json={"job_type": "backup", "status": "running"})
    assert answer.status_code == 200
    assert job(client)["current_phase"] is None


def test_absent_field_means_unchanged(client: FlaskClient) -> None:
    push(client)
    push(client, bytes_transferred=None, transfer_speed_bps=None, timestamp=at(-50))
    stored = job(client)
    assert stored["bytes_transferred"] == 50_000
    assert stored["transfer_speed_bps"] == 3_221_225_472


def test_null_means_absent(client: FlaskClient) -> None:
    push(client)
    body = {**make_body(timestamp=at(-50)), "bytes_transferred": None, "disks": None}
    assert client.post(URL, json=body).status_code == 200
    assert job(client)["bytes_transferred"] == 50_000


def test_completion_sets_progress_100_and_eta_0_and_keeps_the_speed(client: FlaskClient) -> None:
    push(client)
    body = {
        "job_id": "job-1",
        "status": "completed",
        "current_phase": "finalizing",
        "bytes_transferred": 107374182400,
        "total_bytes": 107374182400,
        "timestamp": at(-10),
        "disks": [{"disk_index": 0, "bytes_transferred": 107374182400, "status": "completed"}],
    }
    assert client.post(URL, json=body).status_code == 200
    stored = job(client)
    assert (stored["status"], stored["current_phase"]) == ("completed", "finalizing")
    assert (stored["progress_percent"], stored["eta_seconds"]) == (100.0, 0)
    assert stored["transfer_speed_bps"] == 3_221_225_472
    assert stored["completed_at"] == at(-10)
    assert stored["ended_by"] == "sender"
    assert stored["warnings"] == []
    assert events(client)[-1] == ("transition", "running", "completed")


def test_the_same_update_again_is_stored_once(client: FlaskClient, database: Database) -> None:
    push(client, disks=[{"disk_index": 0, "progress_percent": 5}])
    again = push(client, disks=[{"disk_index": 0, "progress_percent": 5}])
    assert again["duplicate"]
    assert not again["applied"]
    assert again["reason"]
    assert count(database, "job_telemetry") == count(database, "disk_telemetry") == 1


def test_duplicate_does_not_count_as_seen(client: FlaskClient) -> None:
    seen = push(client)["received_at"]
    push(client)
    assert job(client)["last_telemetry_at"] == seen


def test_two_updates_of_one_second_are_both_stored(client: FlaskClient, database: Database) -> None:
    push(client, bytes_transferred=1)
    push(client, bytes_transferred=2)
    push(client, bytes_transferred=2, disks=[{"disk_index": 0}])
    assert count(database, "job_telemetry") == 3


def test_two_updates_without_a_timestamp_are_both_stored(
    client: FlaskClient, database: Database
) -> None:
    push(client, timestamp=None)
    push(client, timestamp=None)
    assert count(database, "job_telemetry") == 2


def test_completed_and_running_of_one_second_end_completed(client: FlaskClient) -> None:
    push(client, status="completed", timestamp=at(-5))
    push(client, status="running", timestamp=at(-5), bytes_transferred=99_000)
    assert job(client)["status"] == "completed"


# -- order ---------------------------------------------------------------------------------------


def test_older_update_does_not_roll_back(client: FlaskClient) -> None:
    push(client, bytes_transferred=90_000, timestamp=at(-30))
    late = push(client, bytes_transferred=10_000, timestamp=at(-40))
    assert late["accepted"]
    assert not late["applied"]
    stored = job(client)
    assert stored["bytes_transferred"] == 90_000
    assert stored["started_at"] == at(-40)


def test_older_update_fills_missing_fields(client: FlaskClient) -> None:
    push(client, current_phase=None, timestamp=at(-30))
    late = push(client, current_phase="snapshot", timestamp=at(-40))
    assert late["applied"]
    assert job(client)["current_phase"] == "snapshot"


def test_running_after_the_end_is_charted_only(client: FlaskClient, database: Database) -> None:
    push(client, status="completed", bytes_transferred=100_000, timestamp=at(-30))
    late = push(client, bytes_transferred=5, current_phase="other", timestamp=at(-20))
    assert late["accepted"]
    assert not late["applied"]
    assert "completed" in late["reason"]
    stored = job(client)
    assert (stored["status"], stored["bytes_transferred"]) == ("completed", 100_000)
    assert count(database, "job_telemetry") == 2


def test_end_with_an_old_timestamp_ends_the_job(client: FlaskClient) -> None:
    push(client, bytes_transferred=10, timestamp=at(-50))
    push(client, bytes_transferred=30, timestamp=at(-30))
    ended = push(
        client, status="failed", error="disk full", bytes_transferred=20, timestamp=at(-40)
    )
    assert ended["applied"]
    stored = job(client)
    assert (stored["status"], stored["bytes_transferred"]) == ("failed", 20)
    assert (stored["completed_at"], stored["error_message"]) == (at(-40), "disk full")


def test_second_different_end_only_adds_an_event(client: FlaskClient) -> None:
    push(client, status="completed", timestamp=at(-30))
    push(client, status="failed", error="late", timestamp=at(-20))
    stored = job(client)
    assert (stored["status"], stored["error_message"]) == ("completed", None)
    assert events(client)[-1] == ("warning", None, None)


def test_second_end_has_no_later_effect(client: FlaskClient) -> None:
    push(client, bytes_transferred=10, timestamp=at(-50), disks=[disk(0, bytes_transferred=1)])
    push(client, status="completed", bytes_transferred=None, timestamp=at(-30))
    other: dict[str, Any] = {
        "bytes_transferred": 99,
        "disks": [disk(0, bytes_transferred=9), disk(1)],
    }
    push(client, status="failed", error="no", timestamp=at(-35), **other)
    push(client, current_phase="snapshot", bytes_transferred=5, timestamp=at(-60))  # a late one
    stored = job(client)
    assert (stored["status"], stored["error_message"]) == ("completed", None)
    assert stored["bytes_transferred"] == 1
    assert len(stored["disks"]) == 1


def test_two_ends_at_the_same_time_leave_one(client: FlaskClient) -> None:
    both = [
        make_body(job_type="backup", job_id="job-1", status=status, bytes_transferred=number)
        for number, status in enumerate(["completed", "failed"])
    ]
    client.post("/api/v1/telemetry/batch", json={"updates": both})
    stored = job(client)
    assert (stored["status"], stored["bytes_transferred"]) == ("failed", 1)
    assert sorted(kind for kind, _, _ in events(client)) == ["transition", "warning"]


# -- disks ---------------------------------------------------------------------------------------


def disk(index: int, **fields: Any) -> dict[str, Any]:
    return {"disk_index": index, **fields}


def test_disks_decide_the_bytes_of_a_completed_job(client: FlaskClient) -> None:
    push(client, disks=[disk(0, bytes_transferred=60), disk(1, bytes_transferred=40)])
    done = [disk(0, bytes_transferred=70, status="completed"), disk(1, status="completed")]
    push(client, status="completed", bytes_transferred=200, disks=done, timestamp=at(-5))
    stored = job(client)
    assert stored["bytes_transferred"] == 110
    assert len(stored["warnings"]) == 1
    assert "200" in stored["warnings"][0]


def test_completion_with_empty_disks_keeps_the_reported_bytes(client: FlaskClient) -> None:
    push(client, status="completed", bytes_transferred=77, disks=[])
    assert job(client)["bytes_transferred"] == 77


def test_one_disk_without_bytes_leaves_the_reported_bytes(client: FlaskClient) -> None:
    disks = [disk(0, bytes_transferred=60, progress_percent=100), disk(1, progress_percent=100)]
    push(client, status="completed", bytes_transferred=200, disks=disks)
    stored = job(client)
    assert stored["bytes_transferred"] == 200
    assert [d["status"] for d in stored["disks"]] == ["completed", "completed"]


def test_job_totals_are_summed_from_the_disks(client: FlaskClient) -> None:
    disks = [
        disk(0, bytes_transferred=60, total_bytes=100, transfer_speed_bps=5),
        disk(1, bytes_transferred=40, total_bytes=100, transfer_speed_bps=6),
    ]
    client.post(URL, json={"status": "running", "disks": disks})
    stored = job(client)
    assert (stored["bytes_transferred"], stored["total_bytes"]) == (100, 200)
    assert (stored["transfer_speed_bps"], stored["progress_percent"]) == (11, 50.0)


def test_unfinished_disks_of_a_completed_job_are_named(client: FlaskClient) -> None:
    disks = [disk(0, status="pending"), disk(7, status="transferring", progress_percent=100)]
    push(client, status="completed", disks=disks)
    stored = job(client)
    assert [d["status"] for d in stored["disks"]] == ["pending", "completed"]
    assert any("disk 0 (pending)" in warning for warning in stored["warnings"])


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_unfinished_disks_end_as_their_job_does(client: FlaskClient, end: str) -> None:
    push(client, disks=[disk(0, status="transferring"), disk(1, status="completed"), disk(2)])
    push(client, status=end, timestamp=at(-5))
    assert [d["status"] for d in job(client)["disks"]] == [end, "completed", end]


def test_completed_without_a_byte_is_flagged(client: FlaskClient) -> None:
    client.post(URL, json={"status": "completed", "bytes_transferred": 0})
    assert any("0 bytes" in warning for warning in job(client)["warnings"])


def test_percent_above_100_is_100_with_a_warning(client: FlaskClient) -> None:
    push(client, progress_percent=170)
    stored = job(client)
    assert stored["progress_percent"] == 100.0
    assert len(stored["warnings"]) == 1


# -- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600, -40 * 86_400, 3e8])
def test_implausible_timestamp_is_shifted_flagged_and_recognised(
    client: FlaskClient, database: Database, seconds: float
) -> None:
    first = push(client, timestamp=at(seconds))
    assert abs(_micros(first["time"]) - _micros(first["received_at"])) < 1_000_000
    second = push(client, bytes_transferred=60_000, timestamp=at(seconds + 10))
    assert _micros(second["time"]) - _micros(first["time"]) == 10_000_000
    assert push(client, timestamp=at(seconds))["duplicate"]
    assert count(database, "job_telemetry") == 2
    stored = job(client)
    ahead = seconds - (utc_now() - NOW).total_seconds()  # `at` counts from the run's start
    assert abs(stored["clock_offset_seconds"] + ahead) < 60
    assert any("clock" in warning for warning in stored["warnings"])


def _micros(text: str) -> int:
    from app.clock import to_micros
    from app.schemas.fields import parse_timestamp

    return to_micros(parse_timestamp(text))


def test_last_seen_uses_the_hubs_clock(client: FlaskClient) -> None:
    receipt = push(client, timestamp=at(-86_400))
    assert job(client)["last_telemetry_at"] == receipt["received_at"] > at(-60)


# -- batches -------------------------------------------------------------------------------------


def items(number: int) -> list[dict[str, Any]]:
    return [
        make_body(job_type="backup", job_id=f"b{n % 7}", bytes_transferred=n, timestamp=at(-n - 1))
        for n in range(number)
    ]


def test_batch_counts_its_results(client: FlaskClient, database: Database) -> None:
    batch = items(1000)
    batch[3]["bytes_transferred"] = -1
    answer = client.post("/api/v1/telemetry/batch", json={"updates": [*batch, batch[0]]})
    assert answer.status_code == 200
    body = answer.get_json()
    assert (body["accepted"], body["duplicates"]) == (999, 1)
    assert [entry["index"] for entry in body["rejected"]] == [3]
    assert "bytes_transferred" in body["rejected"][0]["errors"]
    assert count(database, "job_telemetry") == 999


def test_batch_as_gzipped_ndjson(client: FlaskClient) -> None:
    lines = "\n".join([*map(json.dumps, items(5)), "no json", ""])
    answer = client.post(
        "/api/v1/telemetry/batch",
        data=gzip.compress(lines.encode()),
        headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
    )
    body = answer.get_json()
    assert body["accepted"] == 5
    assert [entry["index"] for entry in body["rejected"]] == [5]


def test_batch_item_of_another_type_than_its_job_is_rejected_alone(client: FlaskClient) -> None:
    batch = [*items(2), {**make_body(), "job_type": "restore", "job_id": "b0"}]
    body = client.post("/api/v1/telemetry/batch", json={"updates": batch}).get_json()
    assert body["accepted"] == 2
    assert list(body["rejected"][0]["errors"]) == ["job_type"]


def test_old_updates_are_stored(client: FlaskClient, database: Database) -> None:
    batch = [make_body(job_type="backup", job_id="old", timestamp=at(-3600 * h)) for h in range(50)]
    body = client.post("/api/v1/telemetry/batch", json={"updates": batch}).get_json()
    assert body["accepted"] == 50
    assert count(database, "job_telemetry") == 50


def test_empty_batch_is_fine(client: FlaskClient) -> None:
    body = client.post("/api/v1/telemetry/batch", json={"updates": []}).get_json()
    assert body == {"accepted": 0, "duplicates": 0, "rejected": [], "not_applied": []}


# -- refusals change nothing ---------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(make_body()).encode()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "field"),
    [
        ("backup/x", b"", JSON, 400, "body"),
        ("backup/x", b"{", JSON, 400, "body"),
        ("backup/x", b"[]", JSON, 400, "body"),
        ("backup/x", b'{"status":"zzz"}', JSON, 400, "status"),
        ("backup/x", GOOD, {}, 415, "Content-Type"),
        ("backup/x", GOOD, {"Content-Type": "text/plain"}, 415, "Content-Type"),
        ("backup/x", GOOD, {**JSON, "Content-Encoding": "br"}, 415, "Content-Encoding"),
        ("backup/x", GOOD, {**JSON, "Content-Encoding": "gzip"}, 400, "body"),
        ("backup/x", gzip.compress(GOOD)[:-4], {**JSON, "Content-Encoding": "gzip"}, 400, "body"),
        ("backup/x", b" " * (1 << 20) + GOOD, JSON, 413, "body"),
        (
            "backup/x",
            gzip.compress(b" " * (1 << 20) + GOOD),
            {**JSON, "Content-Encoding": "gzip"},
            413,
            "body",
        ),
        ("Backup/x", GOOD, JSON, 400, "job_type"),
        ("snapshot/x", GOOD, JSON, 400, "job_type"),
        ("backup/a/b", GOOD, JSON, 400, "job_id"),
        ("backup/a%2Fb", GOOD, JSON, 400, "job_id"),
        ("backup/summary", GOOD, JSON, 400, "job_id"),
        ("backup/a%00b", GOOD, JSON, 400, "job_id"),
        ("backup/a%0Ab", GOOD, JSON, 400, "job_id"),
        ("backup/a%E2%80%8Bb", GOOD, JSON, 400, "job_id"),
        ("backup/a%20", GOOD, JSON, 400, "job_id"),
        ("backup/" + "x" * 256, GOOD, JSON, 400, "job_id"),
        ("batch", b'{"updates":7}', JSON, 400, "updates"),
        ("batch", b"{}", JSON, 400, "updates"),
        ("batch", b"nonsense", {"Content-Type": "application/x-ndjson"}, 400, "body"),
    ],
)
def test_bad_request_is_refused_with_a_reason(
    client: FlaskClient,
    database: Database,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    field: str,
) -> None:
    answer = client.post(f"/api/v1/telemetry/{path}", data=body, headers=headers)
    problem = answer.get_json()
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert problem["type"].startswith("urn:telemetry-hub:problem:"), "senders look for it"
    assert problem["detail"].startswith(field)
    if status == 400:
        assert field in problem["errors"]
    assert count(database, "jobs") == count(database, "job_telemetry") == 0


def test_another_job_type_than_the_jobs_is_a_conflict(client: FlaskClient) -> None:
    push(client)
    answer = client.post("/api/v1/telemetry/restore/job-1", json=make_body(timestamp=at(-1)))
    assert answer.status_code == 409
    assert list(answer.get_json()["errors"]) == ["job_type"]
    assert job(client)["last_telemetry_at"] < at(3600)


@pytest.mark.parametrize("job_id", ["with space", "ümläut", "😀", "a+b&c=d", "x" * 255, "%41"])
def test_odd_job_ids_are_fine(client: FlaskClient, job_id: str) -> None:
    assert push(client, job_id)["job_id"] == job_id
    assert job(client, job_id)["job_id"] == job_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/api/v1/jobs", 405),
        ("GET", "/api/v1/telemetry/batch", 405),
        ("POST", "/api/v1/telemetry/history/x", 405),
        ("GET", "/api/v1/jobs/x/complete", 405),
    ],
)
def test_unknown_paths_and_methods_answer_problems(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.get_json()["type"].startswith("urn:telemetry-hub:problem:")
    assert answer.headers["X-Request-ID"]


# -- registration --------------------------------------------------------------------------------

REGISTRATION = {
    "job_id": "job-1",
    "job_type": "backup",
    "vm_name": "vm-1",
    "repository_id": "repo",
    "total_bytes": 100,
    "disks": [{"disk_index": 0, "size_bytes": 60}, {"disk_index": 1, "size_bytes": 40}],
}


def test_registered_job_is_pending_and_then_runs(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs", json=REGISTRATION)
    body = answer.get_json()
    assert answer.status_code == 201
    assert (body["status"], body["total_bytes"], len(body["disks"])) == ("pending", 100, 2)
    assert body["started_at"] == body["created_at"]
    assert client.post("/api/v1/jobs", json=REGISTRATION).status_code == 200
    push(client, total_bytes=None)
    stored = job(client)
    assert (stored["status"], stored["vm_name"], stored["total_bytes"]) == ("running", "vm-1", 100)
    assert stored["started_at"] == at(-60)
    assert events(client) == [("transition", None, "pending"), ("transition", "pending", "running")]


def test_registration_fills_missing_fields(client: FlaskClient) -> None:
    push(client, total_bytes=77)
    assert client.post("/api/v1/jobs", json=REGISTRATION).status_code == 200
    stored = job(client)
    assert (stored["vm_name"], stored["total_bytes"]) == ("vm-1", 77)


@pytest.mark.parametrize("field", ["job_type", "vm_name", "repository_id"])
def test_registration_that_differs_is_a_conflict(client: FlaskClient, field: str) -> None:
    client.post("/api/v1/jobs", json=REGISTRATION)
    answer = client.post("/api/v1/jobs", json={**REGISTRATION, field: "other"})
    assert answer.status_code == 409
    assert list(answer.get_json()["errors"]) == [field]


def register(client: FlaskClient, **named: Any) -> None:
    body = {"job_id": "job-1", "job_type": "backup", **named}
    assert client.post("/api/v1/jobs", json=body).status_code in (200, 201)


SIZES = [{"disk_index": 0, "size_bytes": 60}, {"disk_index": 1, "size_bytes": 40}]


def test_registered_disks_alone_give_the_total(client: FlaskClient) -> None:
    register(client, disks=SIZES)
    stored = job(client)
    assert (stored["total_bytes"], [d["total_bytes"] for d in stored["disks"]]) == (100, [60, 40])


def test_a_total_registered_later_gives_the_percent(client: FlaskClient) -> None:
    client.post(URL, json={"status": "running", "bytes_transferred": 50})
    seen = job(client)["last_telemetry_at"]
    register(client, total_bytes=100)
    stored = job(client)
    assert (stored["status"], stored["progress_percent"]) == ("running", 50.0)
    assert stored["last_telemetry_at"] == seen


def test_disks_registered_after_a_completion_are_unfinished(client: FlaskClient) -> None:
    push(client, status="completed", bytes_transferred=77, progress_percent=40)
    register(client, disks=SIZES)
    stored = job(client)
    assert (stored["status"], stored["progress_percent"]) == ("completed", 100.0)
    assert (stored["bytes_transferred"], stored["completed_at"]) == (77, at(-60))
    assert [d["status"] for d in stored["disks"]] == ["pending", "pending"]
    assert any("disk 0 (pending), 1 (pending)" in warning for warning in stored["warnings"])


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_disks_registered_after_another_end_get_its_status(client: FlaskClient, end: str) -> None:
    push(client, status=end, error="why", disks=[disk(0, status="completed")])
    register(client, disks=SIZES)
    stored = job(client)
    assert (stored["status"], stored["error_message"]) == (end, "why")
    assert [d["status"] for d in stored["disks"]] == ["completed", end]
    assert [d["size_bytes"] for d in stored["disks"]] == [60, 40]


@pytest.mark.parametrize("is_in_order", [True, False])
def test_a_rebuild_keeps_what_was_registered(client: FlaskClient, is_in_order: bool) -> None:
    register(client, total_bytes=1000, vm_name="vmR", disks=SIZES)
    end = {"status": "completed", "timestamp": at(-60)}
    later = {"status": "running", "timestamp": at(-50), "total_bytes": 2000, "vm_name": "vmX"}
    for body in [end, later] if is_in_order else [later, end]:
        assert client.post(URL, json=body).status_code == 200
    stored = job(client)
    assert (stored["total_bytes"], stored["vm_name"]) == (1000, "vmR")
    assert len(stored["disks"]) == 2
    assert "registered" not in stored


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
def test_registering_again_changes_nothing(
    client: FlaskClient, database: Database, status: str
) -> None:
    push(client, status=status)
    register(client, total_bytes=9, disks=SIZES)
    before, log = job(client), events(client)
    with database.transaction() as conn:
        conn.execute("UPDATE jobs SET performance_metrics = '{}'")
    register(client, total_bytes=9, disks=SIZES)
    register(client, total_bytes=8, disks=[{"disk_index": 1, "size_bytes": 7}])  # the first stays
    assert events(client) == log
    after = job(client)
    assert after.pop("performance_metrics") == {}
    assert before.pop("performance_metrics") is None
    assert [(d["disk_index"], d["size_bytes"]) for d in after["disks"]] == [(0, 60), (1, 40)]
    assert after == before


def test_an_ended_job_whose_updates_are_gone_keeps_its_row(
    client: FlaskClient, owner: Database
) -> None:
    push(client, status="completed", vm_name="vm-1", disks=[disk(0, bytes_transferred=5)])
    before = job(client)
    with owner.transaction() as conn:
        conn.execute("DELETE FROM job_telemetry")
        conn.execute("DELETE FROM disk_telemetry")
    answer = client.post("/api/v1/jobs", json=REGISTRATION)
    assert answer.status_code == 409
    assert list(answer.get_json()["errors"]) == ["job_id"]
    assert job(client) == before


def _change_status(database: Database, status: str) -> tuple[Any, ...]:
    """Let the detector stall the silent job, or fail it; the resulting state."""
    with database.transaction() as conn:
        row = conn.execute("SELECT id, clock_timestamp() FROM jobs").fetchone()
        assert row is not None
        due = [Verdict(row[0], row[1], Threshold(60), "silent")]
        stall_jobs(conn, due, row[1], None)
        if status == "failed":
            fail_jobs(conn, due, row[1], None)
    return _state(database)


def _state(database: Database) -> tuple[Any, ...]:
    with database.reading() as conn:
        row = conn.execute(
            "SELECT status, error_message, before_verdict, ended_by, completed_at,"
            " last_telemetry_at FROM jobs"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("status", ["stalled", "failed"])
def test_registration_does_not_revive_a_job(
    client: FlaskClient, database: Database, status: str
) -> None:
    disks = [disk(0, status="transferring", bytes_transferred=30)]
    client.post(URL, json={"status": "running", "error": "slow", "timestamp": at(-60)})
    client.post(URL, json={"status": "running", "disks": disks, "timestamp": at(-50)})
    status_change = _change_status(database, status)
    log = events(client)
    register(client, vm_name="vm-1", total_bytes=300, disks=SIZES)
    assert _state(database) == status_change
    assert status_change[:2] == (status, "silent")
    assert events(client) == log
    stored = job(client)
    assert (stored["vm_name"], stored["total_bytes"]) == ("vm-1", 300)
    assert (stored["bytes_transferred"], stored["progress_percent"]) == (30, 10.0)
    shown = ["failed", "failed"] if status == "failed" else ["transferring", "pending"]
    assert [d["status"] for d in stored["disks"]] == shown
    client.post(URL, json={"status": "running", "timestamp": at(-40)})
    revived = job(client)
    assert (revived["status"], revived["error_message"]) == ("running", "slow")
    assert [d["status"] for d in revived["disks"]] == ["transferring", "pending"]
    assert (revived["vm_name"], revived["total_bytes"]) == ("vm-1", 300)


def test_a_registered_job_that_reports_only_its_end_began_when_registered(
    client: FlaskClient,
) -> None:
    registered = client.post("/api/v1/jobs", json=REGISTRATION).get_json()
    push(client, status="completed", timestamp=None)
    stored = job(client)
    assert stored["started_at"] == registered["started_at"] < stored["completed_at"]
    assert stored["duration_seconds"] > 0
    push(client, timestamp=at(-40))  # a late one
    assert job(client)["started_at"] == at(-40)


def test_an_end_before_the_registration_is_the_start_too(client: FlaskClient) -> None:
    client.post("/api/v1/jobs", json=REGISTRATION)
    push(client, status="completed", timestamp=at(-40))
    assert job(client)["started_at"] == job(client)["completed_at"] == at(-40)


def test_job_completes_without_telemetry(client: FlaskClient) -> None:
    client.post("/api/v1/jobs", json=REGISTRATION)
    disks = [disk(0, bytes_transferred=60), disk(1, bytes_transferred=40)]
    answer = client.post(
        "/api/v1/jobs/job-1/complete", json={"status": "completed", "disks": disks}
    )
    assert answer.status_code == 200
    stored = job(client)
    assert (stored["status"], stored["bytes_transferred"]) == ("completed", 100)
    assert stored["last_telemetry_at"] is None
    assert stored["progress_percent"] == 100.0
    assert stored["started_at"] == stored["created_at"] < stored["completed_at"]


def test_completing_again_differently_is_a_conflict(client: FlaskClient) -> None:
    client.post("/api/v1/jobs", json=REGISTRATION)
    url = "/api/v1/jobs/job-1/complete"
    assert client.post(url, json={"status": "failed", "error": "no"}).status_code == 200
    assert client.post(url, json={"status": "failed"}).get_json()["duplicate"]
    assert client.post(url, json={"status": "completed"}).status_code == 409
    assert job(client)["error_message"] == "no"
    missing = client.post("/api/v1/jobs/none/complete", json={"status": "completed"})
    assert missing.status_code == 404


def test_end_without_a_timestamp_follows_a_sender_whose_clock_is_ahead(
    client: FlaskClient,
) -> None:
    push(client, timestamp=at(200), disks=[disk(0, bytes_transferred=50_000)])
    client.post("/api/v1/jobs/job-1/complete", json={"status": "completed"})
    stored = job(client)
    assert (stored["bytes_transferred"], stored["current_phase"]) == (50_000, "transferring")
    assert _micros(stored["completed_at"]) > _micros(stored["started_at"])
    assert len(stored["disks"]) == 1


# -- snapshots -----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/api/v1/telemetry/snapshot", "/api/telemetry/snapshot"])
def test_snapshot_is_stored_once_and_shown(
    client: FlaskClient, database: Database, url: str
) -> None:
    body = {"node_id": "n1", "timestamp": at(-5), "cpu_percent": 12.5, "uptime_seconds": 7}
    older = {**body, "timestamp": at(-65), "cpu_percent": 99.0}
    first = client.post(url, json=body).get_json()
    assert (first["accepted"], first["duplicates"]) == (1, 0)
    both = client.post(url, json={"snapshots": [body, older, {"cpu_percent": 1}]}).get_json()
    assert (both["accepted"], both["duplicates"]) == (1, 1)
    assert [entry["index"] for entry in both["rejected"]] == [2]
    assert count(database, "node_telemetry") == 2
    assert client.get("/api/v1/nodes/n1").get_json()["cpu_percent"] == 12.5


@pytest.mark.parametrize(
    "timestamp",
    [
        "0001-01-01T00:00:00Z",
        "0000-12-31T19:03:58-04:56",
        "0001-01-01T00:53:28+00:53",
        "0001-01-01T00:00:00+02:00",
        "1601-01-01T00:00:00Z",
        "1900-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.9999999-05:00",
    ],
)
def test_timestamp_that_was_never_set_counts_as_absent(client: FlaskClient, timestamp: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    for _ in range(2):
        answer = push(client, timestamp=timestamp)
        assert not answer["duplicate"]
        assert answer["applied"]
        assert datetime.fromisoformat(answer["time"]) > before
    stored = job(client)
    assert stored["clock_offset_seconds"] is None
    assert "never set" in stored["warnings"][0]
    assert len(stored["warnings"]) == 1


def push_bare(client: FlaskClient, **named: Any) -> None:
    """An update that names only what is given."""
    answer = client.post(URL, json={"status": "running", **named})
    assert answer.status_code == 200, answer.get_json()


def test_percent_follows_what_was_named_last(client: FlaskClient) -> None:
    push_bare(client, progress_percent=10, total_bytes=1000, timestamp=at(-30))
    push_bare(client, bytes_transferred=900, timestamp=at(-20))
    assert job(client)["progress_percent"] == 90
    push_bare(client, progress_percent=95, timestamp=at(-10))
    assert job(client)["progress_percent"] == 95


def test_percent_of_a_disk_follows_what_was_named_last(client: FlaskClient) -> None:
    push_bare(
        client,
        disks=[{"disk_index": 0, "progress_percent": 10, "total_bytes": 1000}],
        progress_percent=10,
        timestamp=at(-30),
    )
    push_bare(client, disks=[{"disk_index": 0, "bytes_transferred": 900}], timestamp=at(-20))
    stored = job(client)
    assert (stored["disks"][0]["progress_percent"], stored["progress_percent"]) == (90, 90)


def test_percents_of_disks_count_by_their_sizes(client: FlaskClient) -> None:
    sizes = [{"disk_index": 0, "size_bytes": 900}, {"disk_index": 1, "size_bytes": 100}]
    registration = {"job_id": "job-1", "job_type": "backup", "disks": sizes}
    assert client.post("/api/v1/jobs", json=registration).status_code == 201
    push_bare(
        client,
        disks=[
            {"disk_index": 0, "progress_percent": 50},
            {"disk_index": 1, "progress_percent": 100},
        ],
    )
    assert job(client)["progress_percent"] == 55


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"progress_percent": 10}, {"progress_percent": 11}),
        ({"bytes_transferred": 10}, {"bytes_transferred": 11}),
        ({"current_phase": "snapshot"}, {"current_phase": "verify"}),
        (
            {"disks": [{"disk_index": 0, "progress_percent": 10}]},
            {"disks": [{"disk_index": 0, "progress_percent": 11}]},
        ),
        (
            {"disks": [{"disk_index": 0, "status": "pending"}]},
            {"disks": [{"disk_index": 0, "status": "transferring"}]},
        ),
        (
            {"bytes_transferred": 5, "disks": [{"disk_index": 0, "bytes_transferred": 1}]},
            {"bytes_transferred": 5, "disks": [{"disk_index": 0, "bytes_transferred": 2}]},
        ),
    ],
)
def test_whatever_moves_is_progress(
    client: FlaskClient, first: dict[str, Any], second: dict[str, Any]
) -> None:
    push_bare(client, **first, timestamp=at(-30))
    began = job(client)["last_progress_at"]
    push_bare(client, **first, timestamp=at(-20))
    assert job(client)["last_progress_at"] == began
    push_bare(client, **second, timestamp=at(-10))
    moved = job(client)["last_progress_at"]
    assert moved > began
    push_bare(client, **second, timestamp=at(-5))
    assert job(client)["last_progress_at"] == moved


def test_an_odd_value_of_a_snapshot_costs_only_itself(client: FlaskClient) -> None:
    url = "/api/v1/telemetry/snapshot"
    good = {"node_id": "n1", "timestamp": at(-5), "cpu_percent": 250.0, "load_avg_1m": 1.5}
    odd = {
        "node_id": "n2",
        "timestamp": at(-5),
        "cpu_percent": 12.5,
        "memory_percent": 100.4,
        "disk_percent": -1,
        "uptime_seconds": -0.2,
        "network_rx_rate_mbps": -3,
        "process_count": "many",
    }
    assert client.post(url, json=good).get_json()["adjusted"] == []
    for expected in ({"accepted": 1, "duplicates": 0}, {"accepted": 0, "duplicates": 1}):
        answer = client.post(url, json={"snapshots": [{"node_id": ""}, odd]}).get_json()
        assert {name: answer[name] for name in expected} == expected
        assert [entry["index"] for entry in answer["rejected"]] == [0]
        assert answer["adjusted"] == [
            {
                "index": 1,
                "notes": {
                    "memory_percent": ["Is 100.4; 100 is kept."],
                    "disk_percent": ["Must be 0 to 100. It is not kept."],
                    "uptime_seconds": [f"Must be between 0 and {2**63 - 1}. It is not kept."],
                    "network_rx_rate_mbps": [f"Must be 0 to {10**15}. It is not kept."],
                    "process_count": ["Must be a whole number. It is not kept."],
                },
            }
        ]
    node = client.get("/api/v1/nodes/n2").get_json()
    assert (node["cpu_percent"], node["memory_percent"]) == (12.5, 100)
    for name in ("disk_percent", "uptime_seconds", "network_rx_rate_mbps", "process_count"):
        assert node[name] is None


# -- long errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"unknown": 1}], ids=["fast", "schema"])
def test_a_long_error_keeps_its_beginning_and_its_end(
    client: FlaskClient, more: dict[str, Any]
) -> None:
    error = f"begin {'é' * 40_000} end"
    disks = [disk(0, error_message=error)]
    body = {"status": "failed", "timestamp": at(-5), "error": error, "disks": disks, **more}
    raw = json.dumps(body, ensure_ascii=False).encode()
    answers = [client.post(URL, data=raw, content_type="application/json") for _ in range(2)]
    assert [answer.get_json().get("duplicate") for answer in answers] == [False, True]
    stored = job(client)
    for kept in (stored["error_message"], stored["disks"][0]["error_message"]):
        assert len(kept.encode()) <= 64 * 1024
        assert kept.startswith("begin é")
        assert kept.endswith("é end")
        assert re.search(r"\n… \d+ bytes cut …\n", kept)
    assert (
        "The sender reported an error of more than 64 KiB; its middle was cut."
        in stored["warnings"]
    )


def test_an_error_of_64_kib_is_kept_whole(client: FlaskClient) -> None:
    error = "é" * (32 * 1024)
    push(client, status="failed", timestamp=at(-5), error=error)
    assert job(client)["error_message"] == error
    assert job(client)["warnings"] == []


def test_late_update_that_changes_nothing_is_no_progress(client: FlaskClient) -> None:
    push_bare(client, disks=[{"disk_index": 0, "bytes_transferred": 5}], timestamp=at(-30))
    push(client, status="completed", timestamp=at(-20))
    ended = job(client)["last_progress_at"]
    push_bare(client, disks=[{"disk_index": 0, "bytes_transferred": 4}], timestamp=at(-40))
    assert job(client)["last_progress_at"] == ended
    push_bare(client, disks=[{"disk_index": 0, "bytes_transferred": 6}], timestamp=at(-25))
    assert job(client)["last_progress_at"] > ended
