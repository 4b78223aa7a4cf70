"""Rules and maintenance windows over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.clock import isoformat, utc_now
from app.store import rules as store
from tests.factories import at, make_body
from tests.tokens import bearer, make_token

RULES = "/api/v1/rules"
WINDOWS = "/api/v1/maintenance"


def put(client: FlaskClient, settings: Any, **match: Any) -> Any:
    return client.put(RULES, json={"match": match, "settings": settings})


def listed(client: FlaskClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(RULES).get_json()["items"]
    return items


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 400, answer.get_json()
    found: dict[str, list[str]] = answer.get_json()["errors"]
    return found


# Rules.


def test_a_rule_is_created_replaced_listed_and_deleted(client: FlaskClient) -> None:
    created = put(client, {"stall_after_seconds": 120, "memory_percent": 90}, job_type="backup")
    assert created.status_code == 201
    rule = created.get_json()
    assert rule["match"] == {"job_type": "backup"}
    assert rule["settings"] == {"stall_after_seconds": 120, "memory_percent": 90}
    replaced = put(client, {"stall_after_seconds": 180}, job_type="backup")
    assert replaced.status_code == 200
    assert replaced.get_json()["id"] == rule["id"]
    assert listed(client) == [replaced.get_json()]
    assert replaced.get_json()["settings"] == {"stall_after_seconds": 180}
    assert client.delete(f"{RULES}/{rule['id']}").status_code == 204
    assert listed(client) == []
    assert client.delete(f"{RULES}/{rule['id']}").status_code == 404


def test_the_most_specific_rule_is_listed_first(client: FlaskClient) -> None:
    matches: list[dict[str, str]] = [
        {},
        {"vm_name": "pg-*"},
        {"job_type": "backup"},
        {"job_id": "nightly"},
        {"vm_name": "pg-1"},
    ]
    for match in matches:
        assert put(client, {"hung_after_seconds": 60}, **match).status_code == 201
    assert [rule["match"] for rule in listed(client)] == [matches[n] for n in (3, 4, 1, 2, 0)]


def test_every_setting_is_kept_as_it_was_sent(client: FlaskClient) -> None:
    settings = {
        "stall_after_seconds": 5,
        "fail_after_seconds": 6,
        "hung_after_seconds": 7,
        "schedule": "30 2 * * 1-5",
        "timezone": "Europe/Berlin",
        "unusual_factor": 2.5,
        "disk_percent_warning": 80,
        "disk_percent_critical": 90.5,
        "memory_percent": 99,
        "mute_until": "2030-01-01T00:00:00Z",
    }
    answer = put(client, settings, job_id="*-nightly", phase="snapshot")
    assert answer.status_code == 201
    kept = answer.get_json()["settings"]
    assert kept.pop("mute_until").startswith("2030-01-01T00:00:00")
    assert settings.pop("mute_until")
    assert kept == settings
    # What is null is not set: the answer can be edited and sent again.
    again = put(client, {**settings, "schedule": None, "timezone": None}, job_id="*-nightly")
    assert "schedule" not in again.get_json()["settings"]


@pytest.mark.parametrize(
    ("settings", "field", "part"),
    [
        ({}, "settings", "Must have one of"),
        ({"memory_percent": None}, "settings", "Must have one of"),
        ({"stall_after": 5}, "settings.stall_after", "not known"),
        ({"stall_after_seconds": 0}, "settings.stall_after_seconds", "between 1 and 86400"),
        ({"stall_after_seconds": 1.5}, "settings.stall_after_seconds", "whole number"),
        ({"stall_after_seconds": "60"}, "settings.stall_after_seconds", "whole number"),
        ({"fail_after_seconds": 604_801}, "settings.fail_after_seconds", "between"),
        (
            {"stall_after_seconds": 60, "fail_after_seconds": 60},
            "settings.fail_after_seconds",
            "more than stall_after_seconds",
        ),
        ({"memory_percent": 101}, "settings.memory_percent", "1 to 100"),
        ({"disk_percent_warning": 0}, "settings.disk_percent_warning", "1 to 100"),
        (
            {"disk_percent_warning": 95, "disk_percent_critical": 90},
            "settings.disk_percent_critical",
            "more than disk_percent_warning",
        ),
        ({"unusual_factor": 1}, "settings.unusual_factor", "1.1 to 1000"),
        ({"schedule": "0 22 * *", "timezone": "UTC"}, "settings.schedule", "five fields"),
        ({"schedule": "0 0 22 * * *", "timezone": "UTC"}, "settings.schedule", "five fields"),
        ({"schedule": "0 25 * * *", "timezone": "UTC"}, "settings.schedule", "hour"),
        ({"schedule": "0 0 31 2 *", "timezone": "UTC"}, "settings.schedule", "day-of-month"),
        ({"schedule": "@daily", "timezone": "UTC"}, "settings.schedule", "five fields"),
        ({"schedule": "0 22 * * *"}, "settings.timezone", "belong together"),
        ({"memory_percent": 9, "timezone": "UTC"}, "settings.timezone", "belong together"),
        ({"schedule": "0 2 * * *", "timezone": "Mars"}, "settings.timezone", "IANA"),
        ({"schedule": "0 2 * * *", "timezone": "../UTC"}, "settings.timezone", "IANA"),
        ({"schedule": "0 2 * * *", "timezone": "/etc/hosts"}, "settings.timezone", "IANA"),
        ({"schedule": "0 2 * * *", "timezone": ""}, "settings.timezone", "IANA"),
        (
            {"schedule": "0 2 * * *", "timezone": "UTC", "overdue_after_seconds": 5},
            "settings.schedule",
            "overdue_after_seconds",
        ),
        ({"mute_until": "tomorrow"}, "settings.mute_until", "RFC 3339"),
        ([], "settings", "object"),
    ],
)
def test_a_bad_setting_is_refused_by_name(
    client: FlaskClient, settings: Any, field: str, part: str
) -> None:
    found = errors(put(client, settings))
    assert list(found) == [field]
    assert part in found[field][0]
    assert listed(client) == []


@pytest.mark.parametrize(
    ("match", "field"),
    [
        ({"job_type": "*"}, "match.job_type"),
        ({"job_type": "Backup"}, "match.job_type"),
        ({"vm_name": ""}, "match.vm_name"),
        ({"vm_name": 5}, "match.vm_name"),
        ({"phase": "x" * 256}, "match.phase"),
        ({"job_id": "nightly/2"}, "match.job_id"),
        ({"repository_id": "r"}, "match.repository_id"),
        ({"node_id": "a\0"}, "match.node_id"),
        (dict.fromkeys(("job_id", "vm_name", "node_id"), 255 * "\U00020000"), "match"),
    ],
)
def test_a_bad_condition_is_refused_by_name(
    client: FlaskClient, match: dict[str, Any], field: str
) -> None:
    assert list(errors(put(client, {"memory_percent": 90}, **match))) == [field]


def test_a_rule_needs_its_two_parts_and_nothing_else(client: FlaskClient) -> None:
    assert set(errors(client.put(RULES, json={}))) == {"match", "settings"}
    body = {"match": {}, "settings": {"memory_percent": 90}, "stall_after_seconds": 5}
    assert list(errors(client.put(RULES, json=body))) == ["stall_after_seconds"]
    assert client.put(RULES, data="match", content_type="text/plain").status_code == 415


def test_there_is_a_limit_to_the_rules(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_RULES", 2)
    for n in range(2):
        assert put(client, {"memory_percent": 90}, node_id=f"n{n}").status_code == 201
    assert put(client, {"memory_percent": 90}, node_id="n2").status_code == 409
    assert put(client, {"memory_percent": 80}, node_id="n1").status_code == 200
    assert len(listed(client)) == 2


# Maintenance.


def plan(client: FlaskClient, **body: Any) -> Any:
    minutes = {name: body.pop(name) for name in ("from", "to") if name in body}
    times = {name: at_minutes(value) for name, value in minutes.items()}
    return client.post(WINDOWS, json={"reason": "deploy", **times, **body})


def at_minutes(minutes: Any) -> Any:
    if not isinstance(minutes, int):
        return minutes
    return isoformat(utc_now() + timedelta(minutes=minutes))


def test_maintenance_is_planned_listed_and_ended(client: FlaskClient) -> None:
    answer = plan(client, to=60, match={"vm_name": "pg-*"})
    assert answer.status_code == 201
    window = answer.get_json()
    assert (window["state"], window["match"], window["reason"]) == (
        "open",
        {"vm_name": "pg-*"},
        "deploy",
    )
    later = plan(client, **{"from": 60, "to": 120}).get_json()
    assert (later["state"], later["match"]) == ("planned", {})
    assert states(client) == {later["id"]: "planned", window["id"]: "open"}

    ended = client.delete(f"{WINDOWS}/{window['id']}").get_json()
    cancelled = client.delete(f"{WINDOWS}/{later['id']}").get_json()
    assert (ended["state"], cancelled["state"]) == ("ended", "ended")
    assert cancelled["from"] == cancelled["to"]
    assert states(client) == {}
    assert states(client, "?state=ended") == dict.fromkeys((later["id"], window["id"]), "ended")
    assert client.delete(f"{WINDOWS}/{window['id']}").get_json() == ended
    assert client.delete(f"{WINDOWS}/0").status_code == 404


def states(client: FlaskClient, query: str = "") -> dict[int, str]:
    answer = client.get(WINDOWS + query)
    return {window["id"]: window["state"] for window in answer.get_json()["items"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "to"),
        ({"to": -1, "from": -5}, "to"),
        ({"to": 5, "from": 6}, "to"),
        ({"to": 30 * 1440 + 1}, "to"),
        ({"to": "soon"}, "to"),
        ({"to": 5, "from": "now"}, "from"),
        ({"to": 5, "reason": " "}, "reason"),
        ({"to": 5, "reason": "x" * 501}, "reason"),
        ({"to": 5, "match": {"vm": "a"}}, "match.vm"),
        ({"to": 5, "vm_name": "a"}, "vm_name"),
    ],
)
def test_a_bad_window_is_refused_by_name(
    client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    assert list(errors(plan(client, **body))) == [field]
    assert states(client, "?state=open,planned,ended") == {}


def test_a_window_may_have_begun(client: FlaskClient) -> None:
    assert plan(client, **{"from": -60, "to": 60, "match": None}).get_json()["state"] == "open"


def test_an_unknown_state_is_refused(client: FlaskClient) -> None:
    assert list(errors(client.get(f"{WINDOWS}?state=past"))) == ["state"]


def test_there_is_a_limit_to_the_windows(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_WINDOWS", 1)
    assert plan(client, to=5).status_code == 201
    assert plan(client, to=5).status_code == 409


# Who may.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", RULES),
        ("DELETE", f"{RULES}/1"),
        ("POST", WINDOWS),
        ("DELETE", f"{WINDOWS}/1"),
    ],
)
def test_only_administrators_change_them(guarded: FlaskClient, method: str, path: str) -> None:
    for scope in ("read", "ingest"):
        answer = guarded.open(path, method=method, headers=bearer(make_token(scope)), json={})
        assert answer.status_code == 403
        assert "requires scope admin" in answer.get_json()["detail"]
    answer = guarded.open(path, method=method, headers=bearer(make_token("admin")), json={})
    assert answer.status_code in (400, 404)


# What applies to a job.


def thresholds(client: FlaskClient, job_id: str = "j") -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/v1/jobs/{job_id}").get_json()["thresholds"]
    return found


def push(client: FlaskClient, **changes: Any) -> Any:
    return client.post("/api/v1/telemetry/backup/j", json=make_body(**changes))


def test_a_job_says_which_rules_apply(client: FlaskClient) -> None:
    push(client, vm_name="pg-1")
    none = {"value": None, "rule_id": None, "raised_by": None}
    assert thresholds(client)["stall_after_seconds"] == {**none, "value": 60}
    assert thresholds(client)["fail_after_seconds"] == {**none, "value": 300}
    assert thresholds(client)["hung_after_seconds"] == none
    general = put(client, {"stall_after_seconds": 90, "hung_after_seconds": 900}, job_type="backup")
    special = put(client, {"stall_after_seconds": 120, "unusual_factor": 3}, vm_name="pg-*")
    other = put(client, {"stall_after_seconds": 5}, vm_name="db-*")
    ids = [answer.get_json()["id"] for answer in (general, special, other)]
    found = thresholds(client)
    assert found["stall_after_seconds"] == {**none, "value": 120, "rule_id": ids[1]}
    assert found["hung_after_seconds"] == {**none, "value": 900, "rule_id": ids[0]}
    assert found["unusual_factor"] == {**none, "value": 3, "rule_id": ids[1]}


def test_the_rhythm_of_a_job_is_a_schedule_or_a_distance(client: FlaskClient) -> None:
    push(client)
    schedule = {"schedule": "0 22 * * *", "timezone": "Europe/Berlin"}
    put(client, {"overdue_after_seconds": 90_000}, job_type="backup")
    assert thresholds(client)["overdue_after_seconds"]["value"] == 90_000
    put(client, schedule, job_id="j")
    found = thresholds(client)
    assert found["overdue_after_seconds"]["value"] is None
    assert found["schedule"]["value"] == schedule


def test_a_job_says_until_when_it_is_muted(client: FlaskClient) -> None:
    push(client)
    put(client, {"mute_until": at(-60)}, job_id="j")
    assert thresholds(client)["mute_until"]["value"] is None
    put(client, {"mute_until": "2030-01-01T00:00:00Z"}, job_type="backup")
    assert thresholds(client)["mute_until"]["value"].startswith("2030-01-01T00:00:00")


@pytest.mark.parametrize("interval", [1, 86_400])
def test_a_sender_says_how_often_it_reports(client: FlaskClient, interval: int) -> None:
    assert push(client, interval_seconds=interval).status_code == 200
    assert client.get("/api/v1/jobs/j").get_json()["interval_seconds"] == interval
    raised = {"value": 3 * interval, "rule_id": None, "raised_by": "interval"}
    if interval > 20:
        assert thresholds(client)["stall_after_seconds"] == raised


@pytest.mark.parametrize("interval", [0, 86_401, 1.5, "60", True])
def test_a_bad_interval_is_refused_by_name(client: FlaskClient, interval: Any) -> None:
    assert list(errors(push(client, interval_seconds=interval))) == ["interval_seconds"]
    registration = {"job_id": "j", "job_type": "backup", "interval_seconds": interval}
    answer = client.post("/api/v1/jobs", json=registration)
    assert list(errors(answer)) == ["interval_seconds"]


def test_a_registration_says_how_often_its_sender_reports(client: FlaskClient) -> None:
    registration = {"job_id": "j", "job_type": "backup", "interval_seconds": 90}
    answer = client.post("/api/v1/jobs", json=registration)
    assert answer.get_json()["interval_seconds"] == 90
