"""`/series/nights`: what became of the last days of each series."""

from __future__ import annotations

import csv
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from app.config import Config
from app.database.pool import Database
from app.domain.rules import Match, Schedule
from app.store.rules import insert_window, put_rule
from tests.integration.test_attention import GIB, Fleet

HOUR = 3_600.0


@pytest.fixture
def fleet(owner: Database, config: Config) -> Fleet:
    return Fleet(owner, config)


def nights(client: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/api/v1/series/nights?days=14{query}")
    assert answer.status_code == 200, answer.get_data()
    body: dict[str, Any] = answer.get_json()
    return body


def states(client: FlaskClient, fleet: Fleet, query: str = "") -> dict[int, str | None]:
    """The state of the day so many days ago, of the only series."""
    body = nights(client, query)
    [item] = body["items"]
    newest = fleet.now.astimezone(ZoneInfo(body["zone"])).date()
    assert body["days"][-1] == newest.isoformat()
    return {13 - n: state for n, state in enumerate(item["state"])}


def test_each_day_tells_of_its_run(client: FlaskClient, fleet: Fleet) -> None:
    fleet.nights(14, 7, done=50 * GIB)
    fleet.run(6, status="failed", done=GIB, job_id="broken")
    fleet.run(5.99, done=50 * GIB, job_id="again")
    fleet.run(4, done=0, total_bytes=GIB, job_id="empty")
    fleet.run(3, status="failed", done=GIB, job_id="bad")
    fleet.run(2, status="cancelled", done=GIB, job_id="stopped")
    fleet.update("live", 0)
    fleet.judge()
    body = nights(client)
    [item] = body["items"]

    def at(name: str) -> dict[int, Any]:
        return dict(zip(range(13, -1, -1), item[name], strict=True))

    found = at("state")
    assert (item["vm_name"], item["job_id"], item["job_type"]) == ("db1", None, "backup")
    assert [found[day] for day in range(13, 6, -1)] == ["good"] * 7
    assert [found[day] for day in range(5, -1, -1)] == [
        *("missing", "warning", "failed", "cancelled", "missing", "running"),
    ]
    # 15 minutes later, and so perhaps on the next day; the night is good either way.
    day = 6 if at("run_job_id")[6] == "again" else 5
    assert at("run_job_id")[day] == "again"
    assert at("bytes")[7] == 50 * GIB
    assert at("seconds")[7] == pytest.approx(HOUR)
    assert (at("run_job_id")[3], at("run")[3], at("failures")[3]) == ("bad", 1, 1)
    assert (at("run_job_id")[1], at("runs")[1], at("seconds")[0]) == (None, 0, None)
    assert len(body["bounds"]) == 15


def test_a_run_belongs_to_the_local_day_on_which_it_began(
    client: FlaskClient, fleet: Fleet
) -> None:
    begin = fleet.now.replace(hour=23, minute=30, second=0) - timedelta(days=3)
    fleet.run((fleet.now - begin) / timedelta(days=1))
    fleet.judge()
    days = {}
    for zone, hour in (("UTC", 0), ("Asia/Tokyo", 0), ("Asia/Tokyo", 12)):
        body = nights(client, f"&zone={zone}&begins_hour={hour}")
        [item] = body["items"]
        days[zone, hour] = body["days"][item["state"].index("good")]
    local = begin.astimezone(ZoneInfo("Asia/Tokyo")).date()  # half past eight in the morning
    assert days == {
        ("UTC", 0): begin.astimezone(UTC).date().isoformat(),
        ("Asia/Tokyo", 0): local.isoformat(),
        ("Asia/Tokyo", 12): (local - timedelta(days=1)).isoformat(),
    }


def test_a_schedule_says_which_days_are_missing_and_maintenance_which_are_not(
    client: FlaskClient, fleet: Fleet, owner: Database
) -> None:
    begin = fleet.now.replace(hour=0, minute=0, second=0) - timedelta(days=10)
    fleet.run((fleet.now - begin) / timedelta(days=1))
    fleet.judge()
    assert "missing" not in states(client, fleet).values()
    with owner.transaction() as conn:
        put_rule(conn, Match(vm_name="db1"), {"schedule": Schedule("0 0 * * *", "UTC")})
    found = states(client, fleet)
    assert [found[day] for day in range(10, 1, -1)] == ["good", *["missing"] * 8]
    assert [found[day] for day in (13, 12, 11)] == [None] * 3  # it is not known what was expected
    with owner.transaction() as conn:
        at = begin + timedelta(days=4)
        insert_window(
            conn, at - timedelta(hours=1), at + timedelta(hours=1), Match(vm_name="db1"), "moved"
        )
    found = states(client, fleet)
    assert [found[day] for day in (7, 6, 5)] == ["missing", None, "missing"]


def test_pages_csv_and_tags(client: FlaskClient, fleet: Fleet) -> None:
    fleet.run(2, vm_name="a")
    fleet.run(1, vm_name="b")
    fleet.run(1, vm_name="c", job_id="c")
    fleet.update("lone", 3 * HOUR, vm_name=None)
    fleet.judge()
    everything = nights(client)["items"]
    assert [each["vm_name"] or each["job_id"] for each in everything] == ["a", "b", "c", "lone"]
    first = nights(client, "&limit=3")
    second = nights(client, f"&limit=3&cursor={first['next_cursor']}")
    assert first["items"] + second["items"] == everything
    assert second["next_cursor"] is None
    assert [each["vm_name"] for each in nights(client, "&vm_name=b")["items"]] == ["b"]
    assert nights(client, "&job_type=restore")["items"] == []

    answer = client.get("/api/v1/series/nights")
    tag = answer.headers["ETag"]
    assert not tag.startswith("W/")
    again = client.get("/api/v1/series/nights", headers={"If-None-Match": tag})
    assert again.status_code == 304

    text = client.get("/api/v1/series/nights?format=csv&vm_name=c").get_data(as_text=True)
    [line] = csv.DictReader(text.splitlines())
    assert (line["vm_name"], line["state"], line["run_job_id"], line["seconds"]) == (
        *("c", "good", "c", "3600.0"),
    )
    assert line["day"] in nights(client)["days"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("days=0", "days"),
        ("days=91", "days"),
        ("zone=Nowhere/City", "zone"),
        ("zone=../etc/passwd", "zone"),
        ("begins_hour=24", "begins_hour"),
        ("cursor=x", "cursor"),
        ("limit=501", "limit"),
    ],
)
def test_a_bad_query_names_the_field(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/api/v1/series/nights?{query}")
    assert answer.status_code == 400
    assert list(answer.get_json()["errors"]) == [field]
