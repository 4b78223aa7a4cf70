"""Destinations, routes and the outbox over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.database.pool import Database

BASE = "/api/v1/notifications"
SECRET = "hunter2hunter2"
NTFY = f"ntfy://user:{SECRET}@127.0.0.1:9/topic"


def put(client: FlaskClient, name: str = "ops", address: str = NTFY) -> Any:
    return client.put(f"{BASE}/destinations", json={"name": name, "address": address})


def put_route(client: FlaskClient, **fields: Any) -> Any:
    return client.put(f"{BASE}/routes", json={"name": "r", "destination": "ops", **fields})


def items(client: FlaskClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{BASE}/{path}").get_json()["items"]
    return found


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 400, answer.get_json()
    found: dict[str, list[str]] = answer.get_json()["errors"]
    return found


def test_a_destination_is_created_replaced_listed_and_deleted(client: FlaskClient) -> None:
    created = put(client)
    assert created.status_code == 201
    found = created.get_json()
    assert {name: found[name] for name in ("name", "service", "source", "waiting", "dead")} == {
        "name": "ops",
        "service": "ntfy",
        "source": "table",
        "waiting": 0,
        "dead": 0,
    }
    replaced = put(client, address="file:/run/secrets/ops")
    assert (replaced.status_code, replaced.get_json()["id"]) == (200, found["id"])
    assert replaced.get_json()["source"] == "file"
    assert items(client, "destinations") == [replaced.get_json()]
    path = f"{BASE}/destinations/{found['id']}"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert items(client, "destinations") == []


def test_no_answer_and_no_readable_table_has_an_address(
    client: FlaskClient, owner: Database
) -> None:
    answers = [put(client), put(client, "hook", f"webhook+https://example.org/{SECRET}")]
    answers += [put(client, "bad", f"nope://{SECRET}"), client.get(f"{BASE}/destinations")]
    assert not any(SECRET in answer.get_data(as_text=True) for answer in answers)
    with owner.connect() as conn:
        conn.execute("SET ROLE analyst")
        conn.execute("SELECT * FROM destinations")
        allowed = conn.execute(
            "SELECT has_table_privilege('analyst', 'destination_addresses', 'SELECT')"
        ).fetchone()
        conn.execute("RESET ROLE")
    assert allowed == (False,)


def test_a_webhook_without_a_secret_gets_one_that_is_shown_once(client: FlaskClient) -> None:
    created = put(client, address="webhook+https://example.org/hook").get_json()
    assert created["signing_secret"].startswith("whsec_")
    assert "signing_secret" not in items(client, "destinations")[0]
    given = put(client, address=f"webhook+https://example.org/hook#{created['signing_secret']}")
    assert "signing_secret" not in given.get_json()


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("nope://x", "not an address of a service"),
        ("mailto://user", "not an address of a service"),
        ("example.org", "Must be an address such as"),
        ("webhook+ftp://example.org", "Must be an address such as"),
        ("webhook://example.org", "webhook+https"),
        ("webhook+https://example.org#short", "whsec_"),
        ("webhook+https://example.org:port/", "not a URL"),
        ("alertmanager+http:///x", "webhook+https"),
        ("file:relative", "absolute path"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(
    client: FlaskClient, address: str, part: str
) -> None:
    [reason] = errors(put(client, address=address))["address"]
    assert part in reason


def test_a_route_is_created_replaced_listed_and_deleted(client: FlaskClient) -> None:
    put(client)
    created = put_route(client, kinds=["failed"], quiet_from="22:00", quiet_to="06:30")
    assert created.status_code == 201
    route = created.get_json()
    assert route["severities"] == ["critical", "warning"]
    assert (route["kinds"], route["quiet_from"], route["quiet_to"]) == (
        ["failed"],
        "22:00",
        "06:30",
    )
    replaced = put_route(client, digest="weekly", timezone="Europe/Berlin")
    assert (replaced.status_code, replaced.get_json()["id"]) == (200, route["id"])
    assert (replaced.get_json()["kinds"], replaced.get_json()["digest"]) == (None, "weekly")
    assert items(client, "routes") == [replaced.get_json()]
    sent_back = {
        name: value
        for name, value in replaced.get_json().items()
        if name not in ("id", "changed_at", "next_report_at")
    }
    assert client.put(f"{BASE}/routes", json=sent_back).status_code == 200
    path = f"{BASE}/routes/{route['id']}"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"destination": ""}, "destination"),
        ({"kinds": ["failde"]}, "kinds.0"),
        ({"kinds": []}, "kinds"),
        ({"severities": []}, "severities"),
        ({"machines": [""]}, "machines"),
        ({"digest": "hourly"}, "digest"),
        ({"repeat_hours": 0}, "repeat_hours"),
        ({"minimum_age_seconds": -1}, "minimum_age_seconds"),
        ({"quiet_from": "22:00"}, "quiet_to"),
        ({"quiet_from": "24:00", "quiet_to": "06:00"}, "quiet_from"),
        ({"quiet_from": "06:00", "quiet_to": "06:00"}, "quiet_to"),
        ({"timezone": "Berlin"}, "timezone"),
        ({"report_hour": 24}, "report_hour"),
        ({"tells_recovery": 1}, "tells_recovery"),
        ({"severity": ["critical"]}, "severity"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused_by_field(
    client: FlaskClient, fields: dict[str, Any], field: str
) -> None:
    put(client)
    assert field in errors(put_route(client, **fields))


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\u0000b", "x" * 101])
def test_a_name_that_cannot_be_shown_is_refused(client: FlaskClient, name: str) -> None:
    assert "name" in errors(put(client, name))


def test_an_alertmanager_gets_no_reports(client: FlaskClient) -> None:
    put(client, address="alertmanager+http://127.0.0.1:9093")
    refused = put_route(client, digest="daily")
    assert (refused.status_code, list(refused.get_json()["errors"])) == (409, ["digest"])


def test_a_route_needs_a_destination(client: FlaskClient) -> None:
    refused = put_route(client)
    assert refused.status_code == 409
    assert refused.get_json()["errors"] == {"destination": ["There is no destination 'ops'."]}


def test_a_test_message_is_in_the_outbox(client: FlaskClient) -> None:
    destination_id = put(client).get_json()["id"]
    sent = client.post(f"{BASE}/destinations/{destination_id}/test")
    assert sent.status_code == 202
    [found] = items(client, "outbox")
    assert (found["event"], found["state"], found["destination"]) == ("test", "waiting", "ops")
    assert sent.get_json() == found == client.get(f"{BASE}/outbox/{found['id']}").get_json()
    assert client.get(f"{BASE}/outbox/{found['id'] + 1}").status_code == 404
    assert client.post(f"{BASE}/destinations/{destination_id + 1}/test").status_code == 404
    assert client.post(f"{BASE}/outbox/{found['id']}/retry").status_code == 404  # it is not dead


def test_a_dead_letter_is_sent_again_on_request(client: FlaskClient, owner: Database) -> None:
    destination_id = put(client).get_json()["id"]
    message = client.post(f"{BASE}/destinations/{destination_id}/test").get_json()
    with owner.transaction() as conn:
        conn.execute("UPDATE notifications SET state = 'dead', settled_at = now(), error = 'x'")
    assert [row["state"] for row in items(client, "outbox?state=dead")] == ["dead"]
    assert items(client, "destinations")[0]["dead"] == 1
    again = client.post(f"{BASE}/outbox/{message['id']}/retry")
    assert (again.status_code, again.get_json()["state"]) == (202, "waiting")


def test_the_outbox_is_read_in_pages_and_by_destination(client: FlaskClient) -> None:
    ids = [put(client, name).get_json()["id"] for name in ("a", "b")]
    made = [
        client.post(f"{BASE}/destinations/{ids[number % 2]}/test").get_json()["id"]
        for number in range(5)
    ]
    first = client.get(f"{BASE}/outbox?limit=3").get_json()
    rest = client.get(f"{BASE}/outbox?limit=3&cursor={first['next_cursor']}").get_json()
    assert [row["id"] for row in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    of_b = items(client, f"outbox?destination_id={ids[1]}")
    assert {row["destination"] for row in of_b} == {"b"}
