"""Runs of a job over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.factories import at, make_body

URL = "/api/v1/telemetry/backup/nightly"


def push(client: FlaskClient, seconds: int, **changes: Any) -> dict[str, Any]:
    answer = client.post(URL, json=make_body(timestamp=at(seconds), **changes))
    assert answer.status_code == 200, answer.get_json()
    receipt: dict[str, Any] = answer.get_json()
    return receipt


def get(client: FlaskClient, path: str, code: int = 200, **query: Any) -> Any:
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == code, answer.get_json()
    return answer.get_json()


@pytest.fixture
def nights(client: FlaskClient) -> FlaskClient:
    """Three runs, of which the second failed."""
    for number, end in enumerate(("completed", "failed", "completed")):
        begun = -30_000 + number * 10_000
        assert push(client, begun, vm_name="vm-1")["run"] == number + 1
        push(client, begun + 30, disks=[{"disk_index": number, "bytes_transferred": 5}])
        receipt = push(client, begun + 60, status=end, bytes_transferred=100 * (number + 1))
        assert (receipt["run"], receipt["applied"]) == (number + 1, True)
    return client


def test_a_job_is_its_newest_run(nights: FlaskClient) -> None:
    newest = get(nights, "/jobs/nightly")
    assert (newest["job_id"], newest["run"], newest["status"]) == ("nightly", 3, "completed")
    second = get(nights, "/jobs/nightly", run=2)
    assert (second["job_id"], second["run"], second["status"]) == ("nightly", 2, "failed")
    assert [disk["disk_index"] for disk in second["disks"]] == [1]
    assert second["disks"][0]["job_id"] == "nightly"
    assert get(nights, "/jobs/nightly", run=1)["started_at"] == at(-30_000)


def test_its_runs_are_listed_the_newest_first(nights: FlaskClient) -> None:
    runs = get(nights, "/jobs/nightly/runs", limit=2)
    assert [(run["job_id"], run["run"], run["status"]) for run in runs["items"]] == [
        ("nightly", 3, "completed"),
        ("nightly", 2, "failed"),
    ]
    rest = get(nights, "/jobs/nightly/runs", limit=2, cursor=runs["next_cursor"])
    assert [run["run"] for run in rest["items"]] == [1]
    assert rest["next_cursor"] is None
    assert get(nights, "/jobs/other/runs", 404)["detail"] == "There is no job 'other'."
    csv = nights.get("/api/v1/jobs/nightly/runs?format=csv").get_data(as_text=True)
    assert len(csv.strip().splitlines()) == 4


def test_each_run_says_how_many_its_job_has(nights: FlaskClient) -> None:
    nights.post("/api/v1/telemetry/backup/once", json=make_body(timestamp=at(-10)))
    assert {run["runs"] for run in get(nights, "/jobs", job_id="nightly")["items"]} == {3}
    assert {run["runs"] for run in get(nights, "/jobs", q="nightly")["items"]} == {3}
    assert [run["runs"] for run in get(nights, "/jobs", job_id="once")["items"]] == [1]
    assert get(nights, "/jobs/nightly", run=1)["runs"] == 3
    assert get(nights, "/jobs/once")["runs"] == 1
    machine = get(nights, "/machines")["items"][0]
    assert machine["last_job"]["runs"] == 3


def test_lists_and_counts_are_of_runs(nights: FlaskClient) -> None:
    failed = get(nights, "/jobs", status="failed")["items"]
    assert [(run["job_id"], run["run"]) for run in failed] == [("nightly", 2)]
    assert len(get(nights, "/jobs", job_id="nightly")["items"]) == 3
    assert get(nights, "/jobs/summary", job_id="nightly")["total"] == 3
    assert len(get(nights, "/jobs", q="IGHTL")["items"]) == 3
    machine = get(nights, "/machines")["items"][0]
    assert (machine["jobs"], machine["last_job"]["run"]) == (3, 3)
    assert machine["last_job"]["job_id"] == "nightly"


@pytest.mark.parametrize(("run", "shown"), [(None, 3), (1, 1), (2, 2), (3, 3)])
def test_a_run_has_its_own_chart_events_and_updates(
    nights: FlaskClient, run: int | None, shown: int
) -> None:
    query = {} if run is None else {"run": run}
    chart = get(nights, "/telemetry/history/nightly", **query)
    assert (chart["job_id"], chart["run"], chart["snapshots"]) == ("nightly", shown, 3)
    assert chart["started_at"] == at(-40_000 + shown * 10_000)
    disk = get(nights, "/telemetry/history/nightly", disk=shown - 1, **query)
    assert (disk["run"], disk["snapshots"]) == (shown, 1)
    events = get(nights, "/jobs/nightly/events", **query)["items"]
    reached = [event["to_status"] for event in events if event["kind"] == "transition"]
    assert reached == ["running", "failed" if shown == 2 else "completed"]
    assert len(get(nights, "/jobs/nightly/updates", **query)["items"]) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/nightly",
        "/telemetry/history/nightly",
        "/jobs/nightly/events",
        "/jobs/nightly/updates",
    ],
)
def test_an_unknown_run_is_not_found(nights: FlaskClient, path: str) -> None:
    detail = get(nights, path, 404, run=4)["detail"]
    assert detail == "The job 'nightly' has no run 4."
    for run in ("0", "-1", "x", "1.5"):
        assert list(get(nights, path, 400, run=run)["errors"]) == ["run"]


def test_a_first_update_says_so(client: FlaskClient) -> None:
    push(client, -100, new_run=True)
    push(client, -60, status="completed")
    assert push(client, -58)["run"] == 1
    assert push(client, -56, new_run=True)["run"] == 2
    repeated = push(client, -56, new_run=True)
    assert (repeated["run"], repeated["duplicate"]) == (2, True)
    answer = client.post(URL, json=make_body(new_run="yes"))
    assert answer.get_json()["errors"] == {"new_run": ["Must be true or false."]}


def test_a_registration_of_an_ended_job_begins_a_run(client: FlaskClient) -> None:
    body = {"job_id": "nightly", "job_type": "backup"}
    assert client.post("/api/v1/jobs", json=body).status_code == 201
    ended = client.post("/api/v1/jobs/nightly/complete", json={"status": "completed"})
    assert ended.get_json()["run"] == 1
    again = client.post("/api/v1/jobs", json=body)
    assert (again.status_code, again.get_json()["run"]) == (201, 2)
    again = client.post("/api/v1/jobs", json=body)
    assert (again.status_code, again.get_json()["run"]) == (200, 2)
    ended = client.post("/api/v1/jobs/nightly/complete", json={"status": "failed"})
    assert (ended.get_json()["run"], ended.get_json()["applied"]) == (2, True)
    assert get(client, "/jobs/nightly", run=1)["status"] == "completed"


def test_a_batch_names_what_changed_nothing(client: FlaskClient) -> None:
    items = [
        {
            "job_id": "nightly",
            "job_type": "backup",
            **make_body(timestamp=at(seconds), status=status),
        }
        for seconds, status in ((-100, "running"), (-90, "completed"), (-80, "running"))
    ]
    answer = client.post("/api/v1/telemetry/batch", json={"updates": items}).get_json()
    reason = "the job has already ended: completed"
    assert answer["not_applied"] == [{"index": 2, "reason": reason}]
    again = client.post("/api/v1/telemetry/batch", json={"updates": items}).get_json()
    assert (again["duplicates"], again["not_applied"]) == (3, [])
