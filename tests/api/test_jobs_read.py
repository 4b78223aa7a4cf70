"""Reading jobs, their events, counts by status, and machines."""

from __future__ import annotations

import base64
import csv
import io
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

import orjson
import pytest
from flask.testing import FlaskClient
from psycopg import Connection
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from app.database.pool import Database
from app.schemas import jobs as schemas
from app.schemas.queries import _checksum, decode_cursor, encode_cursor
from app.store import estimates
from tests.factories import at

START = datetime(2025, 10, 10, 12, tzinfo=UTC)
ENDED = {"completed", "failed", "cancelled"}


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def insert(database: Database, table: str, **row: Any) -> None:
    """Insert one row; dictionaries become jsonb."""
    values = {k: Jsonb(v) if isinstance(v, dict) else v for k, v in row.items()}
    query = SQL("INSERT INTO {} ({}) VALUES ({})").format(
        Identifier(table),
        SQL(", ").join(map(Identifier, values)),
        SQL(", ").join(map(Placeholder, values)),
    )
    with database.reading() as conn:
        conn.execute(query, values)


def add_job(database: Database, job_id: str = "j", **changes: Any) -> None:
    """Add a job that started and arrived at START; if it has ended, it did so a minute later."""
    row = {"job_type": "backup", "status": "running", "created_at": START, "started_at": START}
    row |= changes
    if row["status"] in ENDED:
        row = {"completed_at": after(60), "ended_by": "sender"} | row
    insert(database, "jobs", job_id=job_id, **row)


def get(client: FlaskClient, path: str, **query: Any) -> Any:
    """The body of a 200."""
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def refused(client: FlaskClient, path: str, **query: Any) -> dict[str, list[str]]:
    """The errors by field of a 400."""
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == 400, answer.get_data(as_text=True)
    assert answer.mimetype == "application/problem+json"
    errors: dict[str, list[str]] = answer.get_json()["errors"]
    return errors


def ids(body: Any) -> list[str]:
    return [item["job_id"] for item in body["items"]]


# The list.


def test_no_jobs_are_an_empty_list(client: FlaskClient) -> None:
    assert get(client, "/jobs") == {"items": [], "next_cursor": None}


def test_the_newest_run_is_listed_first(client: FlaskClient, database: Database) -> None:
    add_job(database, "new", started_at=after(10))
    add_job(database, "newer at the same time", started_at=after(10))
    add_job(database, "old, arrived late", created_at=after(99))
    assert ids(get(client, "/jobs")) == ["newer at the same time", "new", "old, arrived late"]


def test_a_listed_job_has_the_documented_keys(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert set(get(client, "/jobs")["items"][0]) == set(schemas.JobItemSchema().fields)


def test_list_omits_disks_and_summaries(client: FlaskClient, database: Database) -> None:
    add_job(database, performance_metrics={"snapshots": 1})
    assert not {"disks", "performance_metrics", "field_times"} & set(
        get(client, "/jobs")["items"][0]
    )


def test_pages_follow_each_other_without_gap_or_repeat(
    client: FlaskClient, database: Database
) -> None:
    for number in range(7):
        add_job(database, f"j{number}", started_at=after(number // 3))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get(client, "/jobs", limit=2, cursor=cursor)
        seen += ids(page)
        cursor = page["next_cursor"]
    assert seen == [f"j{number}" for number in (6, 5, 4, 3, 2, 1, 0)]


def test_new_job_does_not_shift_the_pages(client: FlaskClient, database: Database) -> None:
    add_job(database, "a")
    add_job(database, "b", started_at=after(1))
    cursor = get(client, "/jobs", limit=1)["next_cursor"]
    add_job(database, "c", started_at=after(2))
    assert ids(get(client, "/jobs", limit=1, cursor=cursor)) == ["a"]


def test_the_last_full_page_has_no_cursor(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert get(client, "/jobs", limit=1)["next_cursor"] is None


def test_a_cursor_is_url_safe(client: FlaskClient, database: Database) -> None:
    add_job(database, "a")
    add_job(database, "b")
    cursor = get(client, "/jobs", limit=1)["next_cursor"]
    assert quote(cursor, safe="") == cursor


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "failed"}, ["c"]),
        ({"status": "failed,running"}, ["c", "a"]),
        ({"job_type": "replication"}, ["b"]),
        ({"vm_name": "Müller 💾"}, ["c", "a"]),
        ({"vm_name": "Müller 💾", "repository_id": "r2"}, ["c"]),
        ({"from": "2025-10-10T12:00:10Z"}, ["c", "b"]),
        ({"to": "2025-10-10T12:00:10Z"}, ["a"]),
        ({"from": "2025-10-10T14:00:10+02:00", "to": "2025-10-10T12:00:11Z"}, ["b"]),
        ({"vm_name": "unknown"}, []),
        ({"job_id": "b"}, ["b"]),
        ({"job_id": "b", "status": "failed"}, []),
        ({"job_id": "nothing"}, []),
        ({"vm_name": "", "status": ""}, ["c", "b", "a"]),
        ({"active_from": "2025-10-10T12:00:45Z"}, ["c", "a"]),
        ({"active_to": "2025-10-10T12:00:20Z"}, ["b", "a"]),
        (
            {"active_from": "2025-10-10T12:00:30Z", "active_to": "2025-10-11T00:00:00Z"},
            ["c", "b", "a"],
        ),
        ({"q": "MÜLLER"}, ["c", "a"]),
        ({"q": "r2"}, ["c"]),
        ({"q": "full"}, ["c"]),
        ({"q": "B"}, ["b"]),
        ({"q": "müller", "status": "running"}, ["a"]),
        ({"sort": "duration"}, ["c", "b", "a"]),
        ({"sort": "duration", "order": "asc"}, ["a", "b", "c"]),
        ({"sort": "bytes"}, ["b", "c", "a"]),
        ({"sort": "speed", "order": "desc"}, ["b", "c", "a"]),
        ({"sort": "started_at", "order": "asc"}, ["a", "b", "c"]),
    ],
)
def test_filters(
    client: FlaskClient, database: Database, query: dict[str, str], expected: list[str]
) -> None:
    add_job(database, "a", vm_name="Müller 💾", repository_id="r1")
    add_job(
        database,
        "b",
        job_type="replication",
        status="completed",
        started_at=after(10),
        completed_at=after(40),
        bytes_transferred=60_000,
    )
    add_job(
        database,
        "c",
        status="failed",
        vm_name="Müller 💾",
        repository_id="r2",
        started_at=after(20),
        bytes_transferred=1000,
        error_message="disk full",
    )
    assert ids(get(client, "/jobs", **query)) == expected


def test_a_plus_that_arrives_as_a_space_is_still_an_offset(
    client: FlaskClient, database: Database
) -> None:
    add_job(database)
    answer = client.get("/api/v1/jobs?from=2025-10-10T13:00:00+01:00")
    assert ids(answer.get_json()) == ["j"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "１"}, "limit"),
        ({"status": "sleeping"}, "status"),
        ({"status": "failed,sleeping"}, "status"),
        ({"from": "2025-10-10"}, "from"),
        ({"from": "2025-10-10T12:00:00"}, "from"),
        ({"to": "2025-02-30T12:00:00Z"}, "to"),
        ({"from": "2026-02-30T00:00:00Z"}, "from"),
        ({"from": "2025-10-10T12:00:00Z", "to": "2025-10-10T12:00:00Z"}, "to"),
        ({"active_from": "2025-10-10T12:00:00Z", "active_to": "2025-10-10T12:00:00Z"}, "active_to"),
        ({"sort": "size"}, "sort"),
        ({"order": "up"}, "order"),
        ({"format": "xml"}, "format"),
        ({"limit": "10001", "format": "csv"}, "limit"),
        ({"q": "x" * 256}, "q"),
        ({"statuss": "failed"}, "statuss"),
        ({"statuss": ""}, "statuss"),
        ({"status": ["failed", "running"]}, "status"),
        ({"vm_name": "a\0b"}, "vm_name"),
        ({"repository_id": "x" * 256}, "repository_id"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "not base64!"}, "cursor"),
        ({"cursor": "ü"}, "cursor"),
    ],
)
def test_a_bad_query_is_refused_naming_its_field(
    client: FlaskClient, query: dict[str, str], field: str
) -> None:
    assert list(refused(client, "/jobs", **query)) == [field]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/machines", "cursor, limit"),
        ("/nodes", "cursor, format, limit"),
        ("/jobs/j", "run"),
        ("/jobs/j/runs", "cursor, format, limit"),
        ("/jobs/j/events", "cursor, limit, run"),
        ("/jobs/j/updates", "cursor, format, limit, run"),
        ("/nodes/n/events", "cursor, limit"),
        ("/nodes/n/history", "from, metrics, points, to"),
        ("/telemetry/history/j", "disk, format, from, points, run, to"),
    ],
)
def test_an_unknown_parameter_is_refused_naming_the_known_ones(
    client: FlaskClient, path: str, known: str
) -> None:
    reasons = refused(client, path, sorted="x")
    assert reasons == {"sorted": [f"Is not known; known are: {known}."]}


@pytest.mark.parametrize("path", ["/nodes/n", "/health", "/metrics", "/openapi.json"])
def test_an_address_without_a_query_refuses_any(client: FlaskClient, path: str) -> None:
    reasons = refused(client, path, points="10")
    assert reasons == {"points": ["Is not known; this address takes no query parameters."]}


def test_a_push_is_not_refused_for_a_query(client: FlaskClient) -> None:
    answer = client.post("/api/v1/telemetry/backup/j?source=a&source=b", json={"status": "running"})
    assert answer.status_code == 200


# CSV.


def read_csv(client: FlaskClient, path: str, **query: Any) -> tuple[list[dict[str, str]], Any]:
    """The lines of a CSV by column, and the headers of the answer."""
    answer = client.get(f"/api/v1{path}", query_string={"format": "csv", **query})
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text))), answer.headers


def test_jobs_as_csv_name_units_and_utc(client: FlaskClient, database: Database) -> None:
    add_job(
        database,
        "=cmd()",
        status="failed",
        transfer_speed_bps=5,
        error_message='Disk "a", full\nand more',
        warnings={"x": "One.", "y": "Two."},
    )
    (line,), headers = read_csv(client, "/jobs")
    assert "jobs.csv" in headers["Content-Disposition"]
    assert line["job_id"] == "'=cmd()"
    assert line["started_at_utc"] == "2025-10-10T12:00:00Z"
    assert line["completed_at_utc"] == "2025-10-10T12:01:00Z"
    assert line["transfer_speed_bytes_per_second"] == "5"
    assert line["duration_seconds"] == "60.0"
    assert line["progress_percent"] == line["newest_update_at_utc"] == ""
    assert line["error_message"] == 'Disk "a", full\nand more'
    assert line["warnings"] == "One.; Two."
    assert read_csv(client, "/jobs", status="running")[0] == []


def test_csv_has_its_pages_linked(client: FlaskClient, database: Database) -> None:
    for number in range(5):
        add_job(database, f"j{number}", started_at=after(number), vm_name="a b&c")
    seen: list[str] = []
    query: dict[str, Any] = {"limit": "2", "vm_name": "a b&c", "sort": "bytes"}
    while True:
        lines, headers = read_csv(client, "/jobs", **query)
        seen += [line["job_id"] for line in lines]
        if "Link" not in headers:
            break
        link = re.fullmatch(r'<\?(.*)>; rel="next"', headers["Link"])
        assert link is not None
        query = dict(parse_qsl(link[1]))
    assert seen == ["j4", "j3", "j2", "j1", "j0"]


def test_csv_may_have_more_lines_than_json_has_items(client: FlaskClient) -> None:
    assert read_csv(client, "/jobs", limit=10_000)[0] == []


def push(client: FlaskClient, **body: Any) -> None:
    answer = client.post("/api/v1/telemetry/backup/j", json=body)
    assert answer.status_code == 200, answer.text


def test_updates_of_a_job_are_listed_page_by_page(client: FlaskClient) -> None:
    for number in range(5):
        push(
            client,
            status="running",
            timestamp=at(-60 + number // 2),
            bytes_transferred=number,
            total_bytes=200,
            progress_percent=number / 2,
            error="x" * 600 if number == 4 else None,
        )
    first = get(client, "/jobs/j/updates", limit=3)
    second = get(client, "/jobs/j/updates", limit=3, cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    items = first["items"] + second["items"]
    assert set(items[0]) == set(schemas.JobUpdateSchema().fields)
    assert [item["bytes_transferred"] for item in items] == [0, 1, 2, 3, 4]
    assert [item["progress_percent"] for item in items] == [0, 0.5, 1, 1.5, 2]
    assert [item["time"] for item in items] == [at(-60 + number // 2) for number in range(5)]
    assert items[0]["current_phase"] is None
    assert items[4]["error_message"] == "x" * 499 + "…"
    lines, _ = read_csv(client, "/jobs/j/updates")
    assert [line["bytes_transferred"] for line in lines] == ["0", "1", "2", "3", "4"]
    assert lines[0]["time_utc"] == at(-60)
    assert lines[0]["received_at_utc"] > at(-60)
    assert lines[0]["transfer_speed_bytes_per_second"] == ""


def test_a_late_update_is_listed_too(client: FlaskClient) -> None:
    push(client, status="running", timestamp=at(-60), bytes_transferred=1)
    push(client, status="completed", timestamp=at(-30), bytes_transferred=2)
    push(client, status="running", timestamp=at(-90), bytes_transferred=0)
    push(client, status="running", timestamp=at(-10), bytes_transferred=3)
    items = get(client, "/jobs/j/updates")["items"]
    assert [item["bytes_transferred"] for item in items] == [0, 1, 2, 3]


def test_updates_of_an_unknown_job_are_a_404(client: FlaskClient) -> None:
    assert client.get("/api/v1/jobs/unknown/updates").status_code == 404


def test_a_job_without_updates_has_an_empty_list(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert get(client, "/jobs/j/updates") == {"items": [], "next_cursor": None}


# Long errors.


def test_lists_show_the_beginning_of_an_error(client: FlaskClient, database: Database) -> None:
    error = "é" * 501
    add_job(database, vm_name="vm", status="failed", error_message=error)
    insert(
        database,
        "job_events",
        job_id="j",
        time=START,
        kind="transition",
        actor="sender",
        reason="",
        evidence={"error": error, "time": "x"},
    )
    short = "é" * 499 + "…"
    assert get(client, "/jobs")["items"][0]["error_message"] == short
    assert get(client, "/machines")["items"][0]["last_job"]["error_message"] == short
    evidence = get(client, "/jobs/j/events")["items"][0]["evidence"]
    assert evidence == {"error": short, "time": "x"}
    assert get(client, "/jobs/j")["error_message"] == error


# What is not known.


def test_what_was_not_reported_is_null(client: FlaskClient) -> None:
    push(client, status="running", timestamp=at(-60), disks=[{"disk_index": 0}])
    for job in (get(client, "/jobs/j"), get(client, "/jobs")["items"][0]):
        for name in ("progress_percent", "current_phase", "eta_seconds"):
            assert job[name] is None, name
    assert get(client, "/jobs/j")["disks"][0]["progress_percent"] is None


def test_what_was_reported_as_0_stays_0(client: FlaskClient) -> None:
    disks = [{"disk_index": 0, "progress_percent": 0}, {"disk_index": 1, "total_bytes": 5}]
    push(
        client,
        status="running",
        timestamp=at(-60),
        progress_percent=0,
        current_phase="pending",
        disks=disks,
    )
    job = get(client, "/jobs/j")
    assert (job["progress_percent"], job["current_phase"]) == (0, "pending")
    assert [disk["progress_percent"] for disk in job["disks"]] == [0, 0]


def test_a_known_total_makes_the_percent_known(client: FlaskClient) -> None:
    push(client, status="running", timestamp=at(-60), total_bytes=100)
    assert get(client, "/jobs/j")["progress_percent"] == 0


def test_an_eta_of_0_is_unknown_until_the_job_has_completed(client: FlaskClient) -> None:
    push(client, status="running", timestamp=at(-60), eta_seconds=0)
    assert get(client, "/jobs/j")["eta_seconds"] is None
    push(client, status="completed", timestamp=at(-50))
    job = get(client, "/jobs/j")
    assert (job["eta_seconds"], job["progress_percent"]) == (0, 100)


# Cursors.


def test_a_cursor_of_another_order_is_refused(client: FlaskClient, database: Database) -> None:
    add_job(database, "a")
    add_job(database, "b")
    cursor = get(client, "/jobs", limit=1)["next_cursor"]
    for other in ({"sort": "bytes"}, {"order": "asc"}):
        assert list(refused(client, "/jobs", cursor=cursor, **other)) == ["cursor"]


def test_a_cursor_of_another_list_is_refused(client: FlaskClient) -> None:
    assert list(refused(client, "/jobs", cursor=encode_cursor("machines", "vm"))) == ["cursor"]


def test_edited_cursor_is_refused() -> None:
    cursor = encode_cursor("updates", 1_760_097_600_000_000, 42)
    assert decode_cursor("updates", cursor) == [1_760_097_600_000_000, 42]
    for position in range(len(cursor)):
        other = "A" if cursor[position] != "A" else "B"
        with pytest.raises(ValueError):
            decode_cursor("updates", cursor[:position] + other + cursor[position + 1 :])
    made_up = [base64.b64encode(raw).decode() for raw in (b"[1,2]", b"123456[1,2]", b"1234567")]
    for edited in (cursor[:-1], cursor + "A", cursor + "=", *made_up):
        with pytest.raises(ValueError):
            decode_cursor("updates", edited)


FORGED: list[Any] = [
    None,
    True,
    -1,
    2**63,
    -(2**63),
    1.5,
    1e300,
    253_402_300_800_000_000,
    "",
    "x",
    "\0",
    [],
    {},
]
LISTS: dict[str, tuple[str, list[str], list[Any]]] = {
    "/jobs": ("jobs", ["started_at", "desc"], [1, 1]),
    "/jobs?sort=bytes": ("jobs", ["bytes", "desc"], [1, 1]),
    "/jobs?sort=duration": ("jobs", ["duration", "desc"], [1, 1]),
    "/jobs?sort=speed": ("jobs", ["speed", "desc"], [1, 1]),
    "/jobs/j/updates": ("updates", [], [1, 1]),
    "/jobs/j/events": ("events", [], [1]),
    "/machines": ("machines", [], ["m"]),
    "/nodes": ("nodes", [], ["n"]),
    "/nodes/n/events": ("node_events", [], [1]),
}


@pytest.mark.parametrize("path", LISTS)
def test_forged_cursor_is_refused_or_starts_a_page_elsewhere(
    client: FlaskClient, database: Database, path: str
) -> None:
    """With a right checksum, which anyone can compute."""
    add_job(database)
    client.post("/api/v1/telemetry/snapshot", json={"node_id": "n"})
    kind, order, key = LISTS[path]
    forged: list[Any] = [
        [*order, *key[:at], value, *key[at + 1 :]] for at in range(len(key)) for value in FORGED
    ]
    forged += [[], [*order, *key, 1], {"a": 1}, "x", None, 7]
    for each in forged:
        payload = orjson.dumps(each)
        raw = _checksum(kind, payload) + payload
        cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        together = "&" if "?" in path else "?"
        answer = client.get(f"/api/v1{path}{together}cursor={cursor}")
        assert answer.status_code in (200, 400), each
        if answer.status_code == 400:
            assert list(answer.get_json()["errors"]) == ["cursor"]
    assert answer.status_code == 400


# One job.


@pytest.mark.parametrize("job_id", ["backup-pgtest1-1760096737", "mit Leer zeichen", "Ü 💾", "%2e"])
def test_any_id_without_a_slash_finds_its_job(
    client: FlaskClient, database: Database, job_id: str
) -> None:
    add_job(database, job_id)
    assert get(client, f"/jobs/{quote(job_id, safe='')}")["job_id"] == job_id


def test_a_job_has_the_documented_keys(client: FlaskClient, database: Database) -> None:
    add_job(database)
    insert(database, "job_disks", job_id="j", disk_index=0)
    job = get(client, "/jobs/j")
    assert set(job) == set(schemas.JobSchema().fields)
    assert set(job["disks"][0]) == set(schemas.JobDiskSchema().fields)


def test_a_job_is_answered_as_it_is_stored(client: FlaskClient, database: Database) -> None:
    add_job(
        database,
        status="completed",
        bytes_transferred=107_374_182_400,
        total_bytes=2**63 - 1,
        progress_percent=33.333333,
        warnings={"clock": "The clock is off.", "disks": "Disks do not add up."},
        newest_update_at=after(60.25),
        completed_at=after(60.25),
        performance_metrics={"peak_speed_bps": 5, "chart_data": [{"t": 0, "s": 5, "p": 1.5}]},
    )
    job = get(client, "/jobs/j")
    assert job["total_bytes"] == 2**63 - 1
    assert job["progress_percent"] == 33.33
    assert sorted(job["warnings"]) == ["Disks do not add up.", "The clock is off."]
    assert job["created_at"] == "2025-10-10T12:00:00Z"
    assert job["completed_at"] == "2025-10-10T12:01:00.250000Z"
    assert job["last_telemetry_at"] is None
    assert job["duration_seconds"] == 60.25
    assert job["performance_metrics"]["chart_data"] == [{"t": 0, "s": 5, "p": 1.5}]


def test_disks_come_by_index_with_their_own_state(client: FlaskClient, database: Database) -> None:
    add_job(database)
    for index in (10, 2, 0):
        insert(
            database,
            "job_disks",
            job_id="j",
            disk_index=index,
            status="transferring",
            progress_percent=66.666,
            newest_update_at=after(index + 0.5),
        )
    disks = get(client, "/jobs/j")["disks"]
    assert [disk["disk_index"] for disk in disks] == [0, 2, 10]
    assert disks[1]["progress_percent"] == 66.67
    assert disks[1]["newest_update_at"] == "2025-10-10T12:00:02.500000Z"
    assert disks[1]["size_bytes"] is None


def test_a_job_without_disks_has_an_empty_list(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert get(client, "/jobs/j")["disks"] == []


def test_the_hub_estimates_a_running_job(client: FlaskClient) -> None:
    for seconds in range(-1000, 0, 5):
        share = seconds + 1000 if seconds < -500 else 500 + (seconds + 500) / 5
        push(
            client,
            status="running",
            timestamp=at(seconds),
            current_phase="transferring",
            bytes_transferred=round(share * 1e6),
            total_bytes=10**9,
        )
    for job in (get(client, "/jobs/j"), get(client, "/jobs")["items"][0]):
        estimate = job["hub_eta"]
        assert set(estimate) == set(schemas.TimeLeftSchema().fields)
        assert estimate["basis"] == "rate"
        assert estimate["seconds"] == pytest.approx(2005, abs=3)  # 401 MB at 0.2 MB/s
        assert estimate["low"] < estimate["seconds"] < estimate["high"]


def test_the_hub_estimates_from_percents_and_from_disks(client: FlaskClient) -> None:
    for seconds in range(-100, 0, 10):
        push(client, status="running", timestamp=at(seconds), progress_percent=(seconds + 100) / 2)
    estimate = get(client, "/jobs/j")["hub_eta"]
    assert (estimate["seconds"], estimate["basis"]) == (110, "percent")
    for seconds in range(-100, 0, 10):
        done = {"disk_index": 0, "bytes_transferred": seconds + 100, "total_bytes": 180}
        body = {"status": "running", "timestamp": at(seconds), "disks": [done]}
        client.post("/api/v1/telemetry/backup/disks", json=body)
    estimate = get(client, "/jobs/disks")["hub_eta"]
    assert (estimate["seconds"], estimate["basis"]) == (90, "rate")


def test_the_hub_estimates_from_earlier_runs(client: FlaskClient, database: Database) -> None:
    points = [{"t": 0, "p": 0}, {"t": 300, "p": None}, {"t": 600, "p": 0}, {"t": 900, "p": 100}]
    for number in range(2):
        add_job(
            database,
            f"earlier {number}",
            vm_name="vm",
            status="completed",
            completed_at=after(1000),
            performance_metrics={"chart_data": points},
        )
    push(client, status="running", timestamp=at(-600), vm_name="vm", total_bytes=10)
    push(client, status="running", timestamp=at(0), bytes_transferred=0)
    estimate = get(client, "/jobs/j")["hub_eta"]
    assert (estimate["seconds"], estimate["basis"]) == (400, "history")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "stalled"}, "The job is stalled: no updates arrive."),
        ({}, "Neither a total nor a percent is known."),
        ({"total_bytes": 5}, "Nothing has moved yet."),
    ],
)
def test_an_estimate_that_is_not_possible_has_a_reason(
    client: FlaskClient, database: Database, changes: dict[str, Any], reason: str
) -> None:
    add_job(database, newest_update_at=after(100), **changes)
    estimate = get(client, "/jobs/j")["hub_eta"]
    assert (estimate["seconds"], estimate["reason"]) == (None, reason)


def test_a_job_that_is_not_live_has_no_estimate(client: FlaskClient, database: Database) -> None:
    add_job(database, "pending", status="pending")
    add_job(database, "ended", status="failed")
    assert [job["hub_eta"] for job in get(client, "/jobs")["items"]] == [None, None]


def test_a_list_is_read_in_as_many_statements_as_a_job(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[object] = []
    execute = Connection.execute
    reader = threading.get_ident()  # the application has threads of its own

    def counted(conn: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        # Not those that wait for a standby.
        if threading.get_ident() == reader and "pg_last_wal_replay_lsn" not in str(query):
            statements.append(query)
        return execute(conn, query, *args, **kwargs)

    monkeypatch.setattr("psycopg.Connection.execute", counted)
    needed = []
    for number in range(3):
        add_job(database, f"j{number}", newest_update_at=after(100), vm_name="vm")
        estimates._kept.clear()
        statements.clear()
        get(client, "/jobs")
        needed.append(len(statements))
    assert needed[0] == needed[-1] > 0
    statements.clear()
    get(client, "/jobs")
    assert len(statements) == needed[0] - 2  # nothing is estimated again


def test_an_update_that_arrives_late_changes_the_estimate(client: FlaskClient) -> None:
    push(client, status="running", timestamp=at(-100), bytes_transferred=0, total_bytes=1000)
    push(client, status="running", timestamp=at(0), bytes_transferred=100)
    assert get(client, "/jobs/j")["hub_eta"]["seconds"] == 900
    push(client, status="running", timestamp=at(-50), bytes_transferred=0)
    assert get(client, "/jobs/j")["hub_eta"]["seconds"] == 450


def test_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    for path in ("/api/v1/jobs/unknown", "/api/v1/jobs/unknown/events"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.mimetype == "application/problem+json"
        assert "unknown" in answer.get_json()["detail"]


@pytest.mark.parametrize("path", ["/jobs/a%00b", "/jobs/a%2Fb", "/jobs/a%07b/events"])
def test_invalid_id_is_a_400(client: FlaskClient, path: str) -> None:
    assert list(refused(client, path)) == ["job_id"]


def test_job_id_may_equal_a_path_segment(client: FlaskClient, database: Database) -> None:
    add_job(database, "events")
    assert get(client, "/jobs/events")["job_id"] == "events"
    assert get(client, "/jobs/events/events")["items"] == []


# Events.


def test_events_come_in_order_page_by_page(client: FlaskClient, database: Database) -> None:
    add_job(database)
    add_job(database, "other")
    for number, job_id in enumerate(["j", "other", "j", "j"]):
        insert(
            database,
            "job_events",
            job_id=job_id,
            time=after(number),
            kind="transition",
            from_status="running",
            to_status="stalled",
            actor="detector",
            reason=f"reason {number}",
            evidence={"silence_seconds": 61.5},
        )
    first = get(client, "/jobs/j/events", limit=2)
    second = get(client, "/jobs/j/events", limit=2, cursor=first["next_cursor"])
    reasons = [event["reason"] for event in first["items"] + second["items"]]
    assert reasons == ["reason 0", "reason 2", "reason 3"]
    assert second["next_cursor"] is None
    assert set(first["items"][0]) == set(schemas.JobEventSchema().fields)
    assert first["items"][1]["time"] == "2025-10-10T12:00:02Z"
    assert first["items"][0]["evidence"] == {"silence_seconds": 61.5}


def test_a_job_without_events_is_an_empty_list(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert get(client, "/jobs/j/events") == {"items": [], "next_cursor": None}


# Counts by status.


def test_the_summary_counts_every_status(client: FlaskClient, database: Database) -> None:
    add_job(database, "a")
    add_job(database, "b", status="failed", vm_name="vm1", repository_id="r")
    add_job(database, "c", status="failed", vm_name="vm2")
    assert get(client, "/jobs/summary") == {
        "total": 3,
        "by_status": {
            "pending": 0,
            "running": 1,
            "stalled": 0,
            "completed": 0,
            "failed": 2,
            "cancelled": 0,
        },
        "by_result": {"good": 0, "warning": 0},
    }
    assert get(client, "/jobs/summary", vm_name="vm1", repository_id="r")["total"] == 1


def test_summary_validates_its_query(client: FlaskClient) -> None:
    assert list(refused(client, "/jobs/summary", status="sleeping")) == ["status"]


# ETags.


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/summary", "/jobs/j", "/jobs/j/events", "/machines"]
)
def test_unchanged_answer_gets_304(client: FlaskClient, database: Database, path: str) -> None:
    add_job(database, vm_name="web01")
    first = client.get(f"/api/v1{path}")
    headers = {"If-None-Match": first.headers["ETag"]}
    again = client.get(f"/api/v1{path}", headers=headers)
    assert (again.status_code, again.get_data()) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"
    add_job(database, "another", vm_name="web02", status="failed")
    with database.reading() as conn:
        conn.execute("UPDATE jobs SET current_phase = 'finalizing' WHERE job_id = 'j'")
    insert(
        database, "job_events", job_id="j", time=START, kind="warning", actor="hub", reason="New."
    )
    assert client.get(f"/api/v1{path}", headers=headers).status_code == 200


# Machines.


def test_a_machine_shows_its_newest_job_and_counts(client: FlaskClient, database: Database) -> None:
    add_job(database, "vm1-old", vm_name="vm1", status="completed")
    add_job(
        database,
        "vm1-new",
        vm_name="vm1",
        status="failed",
        started_at=after(100),
        completed_at=after(160.5),
        bytes_transferred=7,
        error_message="disk full",
    )
    add_job(database, "vm0-only", vm_name="vm0", newest_update_at=after(5))
    add_job(database, "nameless")
    body = get(client, "/machines")
    assert [machine["vm_name"] for machine in body["items"]] == ["vm0", "vm1"]
    machine = body["items"][1]
    assert machine["jobs"] == 2
    assert machine["by_status"]["completed"] == machine["by_status"]["failed"] == 1
    assert machine["by_status"]["running"] == 0
    assert machine["by_result"] == {"good": 1, "warning": 0}
    assert machine["last_job"] == {
        "job_id": "vm1-new",
        "run": 1,
        "runs": 1,
        "job_type": "backup",
        "status": "failed",
        "result": None,
        "started_at": "2025-10-10T12:01:40Z",
        "completed_at": "2025-10-10T12:02:40.500000Z",
        "bytes_transferred": 7,
        "duration_seconds": 60.5,
        "error_message": "disk full",
    }
    assert body["items"][0]["last_job"]["duration_seconds"] == 5.0
    assert set(machine) == set(schemas.MachineSchema().fields)


def test_a_run_that_arrives_late_is_not_the_last_of_its_machine(
    client: FlaskClient, database: Database
) -> None:
    add_job(database, "new", vm_name="vm", status="completed", started_at=after(3600))
    add_job(database, "old", vm_name="vm", status="failed", created_at=after(7200))
    assert get(client, "/machines")["items"][0]["last_job"]["job_id"] == "new"


def test_machines_are_paged_by_name(client: FlaskClient, database: Database) -> None:
    names = ["a", "b", "c c", "ü"]
    for name in names:
        add_job(database, f"{name}-1", vm_name=name)
        add_job(database, f"{name}-2", vm_name=name)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get(client, "/machines", limit=2, cursor=cursor)
        seen += [machine["vm_name"] for machine in page["items"]]
        cursor = page["next_cursor"]
    assert seen == names


def test_no_machines_are_an_empty_list(client: FlaskClient, database: Database) -> None:
    add_job(database)
    assert get(client, "/machines") == {"items": [], "next_cursor": None}


# Query plans: none of these may scan the whole table.


@pytest.mark.parametrize(
    ("name", "condition", "index"),
    [
        ("keys_by_start", "true", "jobs_newest_idx"),
        (
            "keys_by_start",
            "active_during && tstzrange(now(), now())",
            "jobs_(active|newest)_idx",
        ),
        (
            "keys_by_start",
            "vm_name = 'm' AND status = 'failed'",
            "jobs_(machine|status|newest)_idx",
        ),
        ("keys_by_start_of_statuses", "true", "jobs_(status|newest)_idx"),
        ("keys_by_start_of_statuses", "job_type = 't'", "jobs_(type|status|newest)_idx"),
        ("keys_by_start_of_statuses", "repository_id = 'r'", "jobs_(repository|status|newest)_idx"),
        (
            "count_jobs",
            "started_at > now() AND status = ANY(%(statuses)s)",
            "jobs_(status|newest)_idx",
        ),
        ("list_machines", "true", "jobs_machine_idx"),
        ("list_machines", "true", "machine_job_counts_key"),
        ("read_counts_of_machine", "vm_name = 'm'", "machine_job_counts_key"),
        ("list_events", "true", "job_events_job_idx"),
    ],
)
def test_frequent_reads_use_their_index(
    database: Database, name: str, condition: str, index: str
) -> None:
    from app.store.jobs import QUERIES

    if "keys" in name and "active" not in condition:
        condition += " AND (started_at, id) < (now(), 5)"
    query = QUERIES[name].replace("{conditions}", condition).replace("{limit}", "51")
    query = query.replace("{direction}", "DESC")
    values = {"limit": 51, "after_name": "", "name": "j", "after_id": 0, "statuses": ["failed"]}
    # For an empty table the planner prefers a sequential scan unless it is disabled. Which of the
    # suitable indexes it takes depends on the statistics that other tests left.
    with database.transaction() as conn:
        conn.execute("SET LOCAL enable_seqscan = off")
        plan = conn.execute(f"EXPLAIN {query}", values).fetchall()
    assert any(re.search(index, row[0]) for row in plan), plan
