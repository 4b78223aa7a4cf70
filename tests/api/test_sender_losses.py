"""Updates lost by the sender: from the push that reports them to the job, chart and metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.database.pool import Database
from tests.factories import at

URL = "/api/v1/telemetry/backup/job-1"
BATCH = "/api/v1/telemetry/batch"


def body(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"status": "running", "timestamp": at(seconds), **fields}


def named(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"job_id": "job-1", "job_type": "backup", **body(seconds, **fields)}


def losses(database: Database) -> list[tuple[Any, ...]]:
    with database.reading() as conn:
        return conn.execute(
            "SELECT job_id, lost_updates, received_at > now() - interval '1 minute' "
            "FROM sender_losses ORDER BY job_id, time"
        ).fetchall()


def counted(client: FlaskClient) -> float:
    """The lost updates by the metrics, since the process started."""
    text = client.get("/api/v1/metrics").get_data(as_text=True)
    name = "hub_sender_lost_updates_total "
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


def test_push_reports_lost_updates(client: FlaskClient, database: Database) -> None:
    before = counted(client)
    answer = client.post(URL, json=body(-30, lost_updates=12))
    assert answer.status_code == 200
    assert not answer.get_json()["duplicate"]
    assert losses(database) == [("job-1", 12, True)]
    job = client.get("/api/v1/jobs/job-1").get_json()
    assert job["warnings"] == [f"The sender lost 12 updates (last reported {at(-30)})."]
    for lost, new in ((12, 0), (3, 0), (15, 3)):
        again = client.post(URL, json=body(-30, lost_updates=lost)).get_json()
        assert again["duplicate"]
        assert not again["applied"]
        assert counted(client) - before == 12 + new
    assert losses(database) == [("job-1", 15, True)]
    events = client.get("/api/v1/jobs/job-1/events").get_json()["items"]
    assert [event["kind"] for event in events] == ["transition", "warning"]
    assert events[1]["reason"] == f"The sender lost 12 updates (last reported {at(-30)})."


@pytest.mark.parametrize("nothing", [{}, {"lost_updates": 0}, {"lost_updates": None}])
def test_no_loss_is_not_recorded(
    client: FlaskClient, database: Database, nothing: dict[str, Any]
) -> None:
    assert client.post(URL, json=body(-30, **nothing)).status_code == 200
    assert losses(database) == []
    assert client.get("/api/v1/jobs/job-1").get_json()["warnings"] == []


@pytest.mark.parametrize("is_ndjson", [False, True])
def test_each_update_of_a_batch_may_report_losses(
    client: FlaskClient, database: Database, is_ndjson: bool
) -> None:
    before = counted(client)
    items = [
        named(-50),
        named(-40, lost_updates=2),
        named(-40, lost_updates=5),  # a repeat with more losses
        named(-30, lost_updates=2.0),
        named(-20, lost_updates=-1),
        {**named(-30, lost_updates=9), "job_id": "job-2"},
    ]
    text = "\n".join(map(json.dumps, items)) if is_ndjson else json.dumps({"updates": items})
    kind = "application/x-ndjson" if is_ndjson else "application/json"
    answer = client.post(BATCH, data=text, content_type=kind).get_json()
    assert (answer["accepted"], answer["duplicates"]) == (4, 1)
    assert [(each["index"], list(each["errors"])) for each in answer["rejected"]] == [
        (4, ["lost_updates"])
    ]
    assert losses(database) == [("job-1", 5, True), ("job-1", 2, True), ("job-2", 9, True)]
    assert counted(client) - before == 16
    warnings = client.get("/api/v1/jobs/job-1").get_json()["warnings"]
    assert warnings == [f"The sender lost 7 updates (last reported {at(-30)})."]


@pytest.mark.parametrize("bad", [-1, 2**31, 1.5, True, "3", [], 10**30])
def test_a_bad_count_is_refused_naming_the_field(client: FlaskClient, bad: Any) -> None:
    answer = client.post(URL, json=body(-30, lost_updates=bad))
    assert answer.status_code == 400
    assert list(answer.get_json()["errors"]) == ["lost_updates"]


def test_openapi_describes_the_field_and_the_reason(client: FlaskClient) -> None:
    schemas = client.get("/api/v1/openapi.json").get_json()["components"]["schemas"]
    for name in ("Update", "BatchItem"):
        field = schemas[name]["properties"]["lost_updates"]
        assert field["type"] == ["integer", "null"]
        assert (field["minimum"], field["maximum"]) == (0, 2**31 - 1)
        assert "drop" in field["description"]
    assert "sender_lost" in schemas["Gap"]["properties"]["reason"]["enum"]


def chart(client: FlaskClient) -> dict[str, Any]:
    got: dict[str, Any] = client.get("/telemetry/history/job-1").get_json()
    return got


def test_chart_attributes_the_gap_to_the_sender(client: FlaskClient) -> None:
    client.post(URL, json=body(-500))
    client.post(URL, json=body(-400))
    client.post(URL, json=body(-100, lost_updates=60))
    shown = chart(client)
    assert [gap["reason"] for gap in shown["gaps"]] == ["silence", "sender_lost"]
    client.post(URL, json=body(-90, status="completed"))
    assert chart(client)["gaps"] == shown["gaps"]


def test_repeat_with_more_losses_changes_the_chart(client: FlaskClient) -> None:
    client.post(URL, json=body(-400))
    client.post(URL, json=body(-100))
    before = client.get("/telemetry/history/job-1")
    client.post(URL, json=body(-100, lost_updates=60))
    after = client.get("/telemetry/history/job-1")
    assert before.get_json()["gaps"][0]["reason"] == "silence"
    assert after.get_json()["gaps"][0]["reason"] == "sender_lost"
    assert before.headers["ETag"] != after.headers["ETag"]
