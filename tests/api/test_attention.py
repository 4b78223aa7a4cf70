"""`/attention` and `/series`, and what they add to jobs and machines."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.config import Config
from app.database.pool import Database
from app.domain.attention.items import About, Finding, Kind, Severity
from app.store.findings import reconcile
from tests.integration.test_attention import GIB, Fleet

EARLY = datetime(2026, 3, 1, 4, 5, tzinfo=UTC)
KINDS: tuple[Kind, ...] = ("failed", "slow", "clock", "node_offline")


def find(
    owner: Database, kind: Kind, severity: Severity, subject: str, hours: float = 0, **about: Any
) -> None:
    """Open one item."""
    since = EARLY + timedelta(hours=hours)
    finding = Finding(kind, severity, subject, since, f"{subject} is bad.", About(**about))
    with owner.transaction() as conn:
        reconcile(conn, [kind], [finding], EARLY, subjects=[subject])


def end(owner: Database, kind: Kind, subject: str) -> None:
    """End an item."""
    with owner.transaction() as conn:
        reconcile(conn, [kind], [], EARLY + timedelta(days=1), subjects=[subject])


def get(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.get_data()
    body: dict[str, Any] = answer.get_json()
    return body


def subjects(client: FlaskClient, query: str = "") -> list[str]:
    return [item["subject"] for item in get(client, f"/attention{query}")["items"]]


@pytest.fixture
def items(client: FlaskClient, owner: Database) -> None:
    find(owner, "clock", "info", "series:1", -5, series_id=1, vm_name="a", job_id="j/2")
    find(owner, "slow", "warning", "run:k", 2, job_id="k", job_type="backup")
    find(owner, "failed", "critical", "series:2", 1, series_id=2, repository_id="r")
    find(owner, "failed", "critical", "series:3", 0, series_id=3, vm_name="b")
    find(owner, "node_offline", "critical", "node:n", -9, node_id="n")
    end(owner, "node_offline", "node:n")


@pytest.mark.usefixtures("items")
def test_the_worst_and_oldest_comes_first_and_what_has_ended_last(client: FlaskClient) -> None:
    open_ones = ["series:3", "series:2", "run:k", "series:1"]
    assert subjects(client) == open_ones
    assert subjects(client, "?state=ended") == ["node:n"]
    assert subjects(client, "?state=all") == [*open_ones, "node:n"]


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=failed,slow", ["series:3", "series:2", "run:k"]),
        ("severity=info", ["series:1"]),
        ("vm_name=b", ["series:3"]),
        ("job_type=backup", ["run:k"]),
        ("repository_id=r", ["series:2"]),
        ("job_id=j", ["series:1"]),
        ("series_id=2", ["series:2"]),
        ("node_id=n&state=all", ["node:n"]),
        ("node_id=n", []),
        ("acknowledged=true", []),
        ("acknowledged=false&severity=warning", ["run:k"]),
    ],
)
def test_filters(client: FlaskClient, query: str, found: list[str]) -> None:
    assert subjects(client, f"?{query}") == found


@pytest.mark.usefixtures("items")
def test_pages_have_every_item_once(client: FlaskClient) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = get(client, f"/attention?state=all&limit=2{cursor}")
        seen += [item["subject"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ["series:3", "series:2", "run:k", "series:1", "node:n"]


@pytest.mark.usefixtures("items")
def test_an_item_says_what_since_when_and_what_to_check(client: FlaskClient) -> None:
    item = get(client, "/attention?series_id=1")["items"][0]
    assert item == {
        "id": item["id"],
        "kind": "clock",
        "severity": "info",
        "subject": "series:1",
        "series_id": 1,
        "job_id": "j",
        "run": 2,
        "node_id": None,
        "vm_name": "a",
        "job_type": None,
        "repository_id": None,
        "since": "2026-02-28T23:05:00Z",
        "noticed_at": "2026-03-01T04:05:00Z",
        "until": None,
        "summary": "series:1 is bad.",
        "advice": "Check that the sender's machine synchronises its clock (NTP).",
        "evidence": {},
        "acknowledged_at": None,
        "acknowledged_by": None,
        "note": None,
    }
    assert get(client, f"/attention/{item['id']}") == item
    answer = client.get("/api/v1/attention")
    again = client.get("/api/v1/attention", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert not answer.headers["ETag"].startswith("W/")


@pytest.mark.usefixtures("items")
def test_an_item_about_no_job_has_no_run(client: FlaskClient) -> None:
    [item] = get(client, "/attention?node_id=n&state=all")["items"]
    assert (item["job_id"], item["run"]) == (None, None)


@pytest.mark.usefixtures("items")
def test_evidence_is_json_in_csv(client: FlaskClient, owner: Database) -> None:
    with owner.transaction() as conn:
        conn.execute("""UPDATE attention SET evidence = '{"error": null, "failures": 2}'""")
    text = client.get("/api/v1/attention?format=csv").get_data(as_text=True)
    [line, *_] = csv.DictReader(text.splitlines())
    assert json.loads(line["evidence"]) == {"error": None, "failures": 2}
    assert line["since_utc"].endswith("Z")
    assert line["until_utc"] == ""


@pytest.mark.usefixtures("items")
def test_acknowledging(client: FlaskClient, owner: Database) -> None:
    number = get(client, "/attention?kind=slow")["items"][0]["id"]
    path = f"/api/v1/attention/{number}/acknowledge"
    first = client.post(path, json={"by": "ann", "note": "known"}).get_json()
    assert (first["acknowledged_by"], first["note"]) == ("ann", "known")
    second = client.post(path, json={"by": "bob", "note": "still"}).get_json()
    assert (second["acknowledged_by"], second["note"]) == ("ann", "still")
    assert second["acknowledged_at"] == first["acknowledged_at"]
    assert subjects(client, "?acknowledged=true") == ["run:k"]
    # What gets worse is new.
    find(owner, "slow", "critical", "run:k", 2, job_id="k")
    worse = get(client, f"/attention/{number}")
    assert (worse["severity"], worse["acknowledged_at"], worse["acknowledged_by"]) == (
        *("critical", None, None),
    )


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/attention?kind=bad", 400),
        ("/attention?state=closed", 400),
        ("/attention?series_id=x", 400),
        ("/attention?cursor=x", 400),
        ("/attention/0", 404),
        ("/attention/99999999999999999999", 404),
        ("/series/0", 404),
        ("/series?attention=bad", 400),
        ("/jobs?result=bad", 400),
        ("/jobs?attention=bad", 400),
    ],
)
def test_what_is_not_known_is_refused(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "field"), [({"by": 5}, "by"), ({"note": "x" * 2_001}, "note"), ([], "body")]
)
def test_a_bad_acknowledgement_names_the_field(
    client: FlaskClient, owner: Database, body: Any, field: str
) -> None:
    find(owner, "slow", "warning", "run:k", job_id="k")
    number = get(client, "/attention")["items"][0]["id"]
    answer = client.post(f"/api/v1/attention/{number}/acknowledge", json=body)
    assert answer.status_code == 400
    assert list(answer.get_json()["errors"]) == [field]


# Series and results.


def test_series_and_results(client: FlaskClient, owner: Database, config: Config) -> None:
    fleet = Fleet(owner, config)
    fleet.nights(7, 2, repository_id="repo-a")
    fleet.run(1, done=GIB, repository_id="repo-a", job_id="small")
    fleet.run(1.5, vm_name="aaa")
    fleet.find()

    series = get(client, "/series")["items"]
    assert [each["vm_name"] for each in series] == ["aaa", "db1"]
    db1 = series[1]
    assert get(client, f"/series/{db1['id']}") == db1
    assert (db1["job_type"], db1["repository_id"], db1["runs"]) == ("backup", "repo-a", 7)
    assert (db1["state"], db1["attention"]) == ("warning", ["unusual"])
    assert db1["last_run"]["job_id"] == db1["last_good_run"]["job_id"] == "small"
    assert db1["last_run"]["result"] == "warning"
    assert db1["usual"]["bytes"]["median"] == pytest.approx(100 * GIB)
    assert db1["usual"]["seconds"]["median"] == pytest.approx(3_600)
    assert db1["distance_seconds"] == pytest.approx(86_400)
    assert db1["next_expected_at"] is not None
    assert [each["vm_name"] for each in get(client, "/series?attention=any")["items"]] == ["db1"]
    assert get(client, "/series?attention=failed")["items"] == []
    assert len(get(client, "/series?state=good")["items"]) == 1
    first = get(client, "/series?limit=1")
    second = get(client, f"/series?limit=1&cursor={first['next_cursor']}")
    assert [first["items"][0], second["items"][0]] == series
    assert second["next_cursor"] is None
    lines = client.get("/api/v1/series?format=csv").get_data(as_text=True).splitlines()
    assert lines[0].startswith("id,vm_name,job_id,job_type,")
    assert len(lines) == 3

    job = get(client, "/jobs/small")
    assert job["result"] == "warning"
    assert job["series_id"] == db1["id"]
    assert [finding["kind"] for finding in job["findings"]] == ["unusual"]
    listed = {each["job_id"]: each["result"] for each in get(client, "/jobs")["items"]}
    assert listed["small"] == "warning"
    assert set(listed.values()) == {"good", "warning"}
    assert [each["job_id"] for each in get(client, "/jobs?result=warning")["items"]] == ["small"]
    assert len(get(client, "/jobs?result=good")["items"]) == 7
    assert [each["job_id"] for each in get(client, "/jobs?attention=any")["items"]] == ["small"]
    assert get(client, "/jobs?attention=failed")["items"] == []
    assert get(client, "/jobs/summary")["by_result"] == {"good": 7, "warning": 1}
    assert get(client, "/jobs/summary?vm_name=aaa")["by_result"] == {"good": 1, "warning": 0}
    machines = {each["vm_name"]: each for each in get(client, "/machines")["items"]}
    assert machines["db1"]["by_result"] == {"good": 6, "warning": 1}
    assert machines["db1"]["last_job"]["result"] == "warning"
    assert machines["aaa"]["by_result"] == {"good": 1, "warning": 0}
