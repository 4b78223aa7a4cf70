"""GET /telemetry/history/{job_id}: the answer, its formats, its limits and its ETag."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.database.pool import Connection, Database
from app.schemas.history import HistorySchema
from tests.factories import at, make_body

URL = "/api/v1/telemetry/history/j"
START = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)
LARGEST = 2**63 - 1

Sample = tuple[float, int | None, int | None]  # seconds, speed, bytes


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    # No transaction: the application shares the embedded engine's only session.
    with database.reading() as conn:
        yield conn


def instant(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def store_job(conn: Connection, samples: Sequence[Sample] = (), **columns: Any) -> None:
    """Store job `j` with one update for each sample, and columns of its row."""
    seconds = [float(sample[0]) for sample in samples]
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase,
               transfer_speed_bps, bytes_transferred)
           SELECT %s + make_interval(secs => v.seconds), 0, 'j', 'running', 'transferring',
                  v.speed, v.bytes
           FROM unnest(%s::float8[], %s::bigint[], %s::bigint[]) AS v (seconds, speed, bytes)""",
        (START, seconds, [sample[1] for sample in samples], [sample[2] for sample in samples]),
    )
    values: dict[str, Any] = {
        "status": "running",
        "vm_name": None,
        "started_at": START + timedelta(seconds=min(seconds, default=0)),
        "newest_update_at": START + timedelta(seconds=max(seconds)) if seconds else None,
        "completed_at": None,
        "ended_by": None,
        "bytes_transferred": 0,
        "total_bytes": 0,
        **columns,
    }
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, vm_name, started_at, newest_update_at,
               completed_at, ended_by, bytes_transferred, total_bytes)
           VALUES ('j', 'backup', %(status)s, %(vm_name)s, %(started_at)s, %(newest_update_at)s,
                   %(completed_at)s, %(ended_by)s, %(bytes_transferred)s, %(total_bytes)s)""",
        values,
    )


def read(client: FlaskClient, **query: Any) -> dict[str, Any]:
    response = client.get(URL, query_string=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    return body


def every_5_seconds(count: int) -> list[Sample]:
    return [(n * 5, n % 7 * 100, n * 1000) for n in range(count)]


# The answer.


def test_chart_of_a_finished_job(client: FlaskClient, conn: Connection) -> None:
    store_job(
        conn,
        [(0, 0, 0), (5, 300, 1500), (10, None, None), (95.5, 100, 2000)],
        status="completed",
        ended_by="sender",
        completed_at=START + timedelta(seconds=100),
        vm_name="pgtest1",
        bytes_transferred=2000,
        total_bytes=3000,
    )
    assert read(client) == {
        "job_id": "j",
        "run": 1,
        "job_type": "backup",
        "vm_name": "pgtest1",
        "status": "completed",
        "started_at": "2026-03-01T10:00:07Z",
        "completed_at": "2026-03-01T10:01:47Z",
        "duration_seconds": 100.0,
        "from": "2026-03-01T10:00:07Z",
        "to": "2026-03-01T10:01:43Z",
        "source": "updates",
        "resolution_seconds": 0,
        "snapshots": 4,
        "peak_speed_bps": 300,
        "avg_speed_bps": 200.0,
        "min_speed_bps": 100,
        "effective_speed_bps": 20.0,
        "speed_source": "reported",
        "chart_data": [
            {"t": 0, "s": 0, "s_min": 0, "s_max": 0, "p": 0, "b": 0},
            {"t": 5, "s": 300, "s_min": 300, "s_max": 300, "p": 50, "b": 1500},
            {"t": 10, "s": None, "s_min": None, "s_max": None, "p": None, "b": None},
            {"t": 95.5, "s": 100, "s_min": 100, "s_max": 100, "p": 66.67, "b": 2000},
        ],
        "last_point_unfinished": False,
        "gap_seconds": 60.0,
        "gaps": [
            {"from": "2026-03-01T10:00:17Z", "to": "2026-03-01T10:01:42.500000Z",
             "reason": "silence"}
        ],
        "gaps_omitted": 0,
        "phases": [
            {"phase": "transferring", "from_t": 0, "to_t": 95.5, "seconds": 95.5, "bytes": 2000}
        ],
        "phases_omitted": 0,
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 4, 1000])
def test_the_answer_is_as_documented(client: FlaskClient, conn: Connection, count: int) -> None:
    store_job(conn, every_5_seconds(count))
    body = read(client, points=100)
    assert HistorySchema().validate(body) == {}
    documented = {field.data_key or name for name, field in HistorySchema().fields.items()}
    assert set(body) == documented - {"disk"}


def test_chart_is_served_without_the_prefix_too(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(3))
    assert client.get("/telemetry/history/j").get_json() == read(client)


@pytest.mark.parametrize(
    ("status", "percent"), [("running", 99.99), ("failed", 99.99), ("completed", 100.0)]
)
@pytest.mark.parametrize("disk", [None, 0])
def test_only_a_completed_job_reaches_100_percent(
    client: FlaskClient, conn: Connection, status: str, percent: float, disk: int | None
) -> None:
    end = {} if status == "running" else {"completed_at": START, "ended_by": "sender"}
    store_job(conn, [(0, 1, 200)], status=status, bytes_transferred=200, total_bytes=200, **end)
    conn.execute(
        """INSERT INTO job_disks (job_id, disk_index, total_bytes) VALUES ('j', 0, 200)""",
    )
    conn.execute(
        """INSERT INTO disk_telemetry (time, job_id, disk_index, bytes_transferred)
           VALUES (%s, 'j', 0, 200)""",
        (START,),
    )
    [point] = read(client, **({} if disk is None else {"disk": disk}))["chart_data"]
    assert point["p"] == percent


def test_a_live_job_lasts_until_its_newest_update(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(0, 1, 1), (30.25, 1, 1)])
    assert read(client)["duration_seconds"] == 30.25


def test_a_job_of_one_update_is_a_chart_of_one_point(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(0, 7, 7)], bytes_transferred=7)
    body = read(client)
    assert len(body["chart_data"]) == 1
    assert body["duration_seconds"] == 0
    assert body["effective_speed_bps"] is None


def test_a_job_without_updates_is_an_empty_chart(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, status="pending")
    body = read(client)
    assert (body["snapshots"], body["chart_data"], body["gaps"], body["phases"]) == (0, [], [], [])
    assert body["duration_seconds"] is None


def test_a_job_without_any_speed_is_charted(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(n, None, None) for n in range(100)])
    body = read(client, points=10)
    assert body["snapshots"] == 100
    assert body["peak_speed_bps"] is body["avg_speed_bps"] is body["min_speed_bps"] is None
    assert all(point["s"] is None for point in body["chart_data"])


def test_largest_numbers_are_exact(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(n, LARGEST, LARGEST) for n in range(100)], bytes_transferred=LARGEST)
    body = read(client, points=10)
    assert body["peak_speed_bps"] == LARGEST
    assert body["avg_speed_bps"] == LARGEST
    assert {point["b"] for point in body["chart_data"]} == {LARGEST}


# Points and windows.


@pytest.mark.parametrize("points", [10, 37, 300, 999, 1000, 5000])
def test_chart_has_at_most_the_requested_points(
    client: FlaskClient, conn: Connection, points: int
) -> None:
    store_job(conn, every_5_seconds(1000))
    body = read(client, points=points)
    assert len(body["chart_data"]) <= points
    assert body["snapshots"] == 1000
    assert (body["resolution_seconds"] == 0) == (points >= 1000)


def test_a_peak_of_one_update_is_never_lost(client: FlaskClient, conn: Connection) -> None:
    samples = every_5_seconds(5000)
    samples[1234] = (1234 * 5, 99_999, None)
    store_job(conn, samples)
    body = read(client, points=10)
    assert max(point["s_max"] for point in body["chart_data"]) == 99_999
    assert body["peak_speed_bps"] == 99_999


def test_ten_years_fit_into_ten_points(client: FlaskClient, conn: Connection) -> None:
    decade = 3650 * 86_400
    store_job(conn, [(n, 1, None) for n in range(20)] + [(decade, 5, None)])
    body = read(client, points=10)
    assert [point["s_max"] for point in body["chart_data"]] == [1, 5]
    assert body["chart_data"][0]["t"] == 0
    assert body["resolution_seconds"] % 86_400 == 0
    [gap] = body["gaps"]
    assert gap["from"] == instant(19)


def test_two_updates_of_one_instant_are_two_points(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(0, 1, 1)])
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, seq, status, bytes_transferred)
           VALUES (%s, 0, 'j', 1, 'completed', 2)""",
        (START,),
    )
    assert [(point["t"], point["b"]) for point in read(client)["chart_data"]] == [(0, 1), (0, 2)]


def test_a_window_is_widened_to_whole_steps_and_says_so(
    client: FlaskClient, conn: Connection
) -> None:
    store_job(conn, every_5_seconds(1000))
    body = read(client, points=10, **{"from": instant(60), "to": instant(600)})
    assert body["resolution_seconds"] == 60
    assert (body["from"], body["to"]) == ("2026-03-01T10:01:00Z", "2026-03-01T10:11:00Z")
    assert [point["t"] for point in body["chart_data"]] == [53 + 60 * n for n in range(10)]


def test_returned_window_gives_the_same_chart(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(1000))
    body = read(client, points=10, **{"from": instant(61), "to": instant(600)})
    assert read(client, points=10, **{key: body[key] for key in ("from", "to")}) == body


def test_adjacent_windows_share_no_update(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(20))
    middle = instant(50)
    parts = [read(client, to=middle), read(client, **{"from": middle})]
    assert [part["snapshots"] for part in parts] == [10, 10]


@pytest.mark.parametrize(
    "window",
    [
        {"from": "1970-01-01T00:00:00Z", "to": "1970-01-02T00:00:00Z"},
        {"from": "2199-01-01T00:00:00Z"},
        {"to": "2001-01-01T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-31T23:59:59.999999Z"},
    ],
)
def test_a_window_outside_the_run_is_empty(
    client: FlaskClient, conn: Connection, window: dict[str, str]
) -> None:
    store_job(conn, every_5_seconds(100))
    body = read(client, points=10, **window)
    assert (body["snapshots"], body["chart_data"], body["gaps"]) == (0, [], [])
    assert body["peak_speed_bps"] is None
    assert len(body["phases"]) == 1  # of the whole run


def test_window_around_the_run_has_the_resolution_of_the_run(
    client: FlaskClient, conn: Connection
) -> None:
    store_job(conn, every_5_seconds(100))
    wide = read(client, points=10, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"})
    assert wide["chart_data"] == read(client, points=10)["chart_data"]


def test_unescaped_plus_of_an_offset_is_accepted(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(100))
    response = client.get(f"{URL}?from=2026-03-01T12:01:00+02:00")
    assert response.get_json()["from"] == "2026-03-01T10:01:00Z"


# Refusals.


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"points": "0"}, "points"),
        ({"points": "9"}, "points"),
        ({"points": "5001"}, "points"),
        ({"points": "abc"}, "points"),
        ({"points": "1e3"}, "points"),
        ({"points": "-300"}, "points"),
        ({"points": "9" * 400}, "points"),
        ({"from": "2026-03-01T10:00:00"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30T10:00:00Z"}, "to"),
        ({"to": "1772359200"}, "to"),
        ({"from": instant(10), "to": instant(5)}, "to"),
        ({"disk": "-1"}, "disk"),
        ({"disk": "1024"}, "disk"),
        ({"disk": "sda"}, "disk"),
        ({"format": "xml"}, "format"),
    ],
)
def test_bad_query_names_its_field(
    client: FlaskClient, conn: Connection, query: dict[str, str], field: str
) -> None:
    store_job(conn, every_5_seconds(3))
    response = client.get(URL, query_string=query)
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert list(response.get_json()["errors"]) == [field]


def test_an_unknown_parameter_is_refused(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(3))
    response = client.get(URL, query_string={"point": 10})
    assert response.status_code == 400
    assert response.get_json()["errors"] == {
        "point": ["Is not known; known are: disk, format, from, points, run, to."]
    }


@pytest.mark.parametrize("job_id", ["unknown", "J", "j j", "ключ", "😀", "%25"])
def test_an_unknown_job_is_not_found(client: FlaskClient, conn: Connection, job_id: str) -> None:
    store_job(conn, every_5_seconds(3))
    response = client.get(f"/api/v1/telemetry/history/{quote(job_id)}")
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("job_id", ["a%2Fb", "a/b", "%00", "a%09b", "a%0Ab", "j%20", "x" * 256])
def test_invalid_job_id_is_refused(client: FlaskClient, job_id: str) -> None:
    response = client.get(f"/api/v1/telemetry/history/{job_id}")
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == ["job_id"]


# Disks.


def store_disk(conn: Connection, disk: int, speeds: Sequence[int]) -> None:
    conn.execute(
        """INSERT INTO job_disks (job_id, disk_index, bytes_transferred, total_bytes)
           VALUES ('j', %s, 500, 1000)""",
        (disk,),
    )
    conn.execute(
        """INSERT INTO disk_telemetry (time, job_id, disk_index, transfer_speed_bps,
               bytes_transferred)
           SELECT %s + make_interval(secs => 5 * n), 'j', %s, speed, 100 * n
           FROM unnest(%s::bigint[]) WITH ORDINALITY AS v (speed, n)""",
        (START, disk, list(speeds)),
    )


def test_one_disk_is_charted_by_its_own_updates(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(11), bytes_transferred=9999, total_bytes=9999)
    store_disk(conn, 0, [1, 1, 1])
    store_disk(conn, 3, [10, 0, 30])
    body = read(client, disk=3)
    assert HistorySchema().validate(body) == {}
    assert body["disk"] == 3
    assert [(point["t"], point["s"], point["p"]) for point in body["chart_data"]] == [
        (5, 10, 10),
        (10, 0, 20),
        (15, 30, 30),
    ]
    assert (body["snapshots"], body["peak_speed_bps"], body["min_speed_bps"]) == (3, 30, 10)
    assert body["effective_speed_bps"] == 10  # 500 bytes in the job's 50 seconds
    assert body["phases"] == read(client)["phases"]


def test_a_registered_disk_without_updates_is_an_empty_chart(
    client: FlaskClient, conn: Connection
) -> None:
    store_job(conn, every_5_seconds(3))
    store_disk(conn, 0, [])
    assert read(client, disk=0)["chart_data"] == []


def test_unknown_disk_is_not_found(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(3))
    response = client.get(URL, query_string={"disk": 5})
    assert response.status_code == 404
    assert "disk" in response.get_json()["detail"]


# Formats.


@pytest.mark.parametrize("count", [0, 3, 1000])
def test_columns_hold_the_same_points(client: FlaskClient, conn: Connection, count: int) -> None:
    store_job(conn, every_5_seconds(count))
    body, columns = read(client), read(client, format="columns")
    points = body.pop("chart_data")
    arrays = columns.pop("chart_data")
    assert columns == body
    assert arrays == {
        name: [point[name] for point in points] for name in "t s s_min s_max p b".split()
    }


CSV_HEADER = (
    "time_utc,seconds_since_start,mean_speed_bytes_per_second,min_speed_bytes_per_second,"
    "max_speed_bytes_per_second,progress_percent,bytes_transferred"
)


def test_csv_holds_the_same_points(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, [(0, None, None), (5.5, 3, 1000), (10, 4, LARGEST)], total_bytes=4000)
    response = client.get(URL, query_string={"format": "csv"})
    assert response.content_type == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(response.text))) == [
        CSV_HEADER.split(","),
        ["2026-03-01T10:00:07Z", "0.0", "", "", "", "", ""],
        ["2026-03-01T10:00:12.500000Z", "5.5", "3", "3", "3", "25.0", "1000"],
        ["2026-03-01T10:00:17Z", "10.0", "4", "4", "4", "99.99", str(LARGEST)],
    ]


def test_empty_csv_has_only_a_header(client: FlaskClient, conn: Connection) -> None:
    store_job(conn)
    assert client.get(URL, query_string={"format": "csv"}).text == f"{CSV_HEADER}\r\n"


def test_csv_file_name_is_portable(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(3))
    job_id = 'a"; \\é😀'
    conn.execute("UPDATE jobs SET job_id = %s", (job_id,))
    response = client.get(f"/api/v1/telemetry/history/{quote(job_id)}?format=csv")
    header = response.headers["Content-Disposition"]
    assert re.fullmatch(
        r"attachment; filename=\"history-a[A-Za-z0-9._-]*\.csv\"; filename\*=UTF-8''[\w.%~-]+",
        header,
        re.ASCII,
    )
    assert header.endswith(f"history-{quote(job_id, safe='')}.csv")


# The ETag.


def revalidate(client: FlaskClient, tag: str, **query: Any) -> TestResponse:
    return client.get(URL, query_string=query, headers={"If-None-Match": tag})


def test_unchanged_chart_gets_304(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(3))
    response = client.get(URL)
    tag = response.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert response.headers["Cache-Control"] == "no-cache"
    for sent in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = revalidate(client, sent)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert answer.headers["Cache-Control"] == "no-cache"
    assert revalidate(client, '"other"').status_code == 200


def test_each_form_and_each_window_has_its_own_etag(client: FlaskClient, conn: Connection) -> None:
    store_job(conn, every_5_seconds(100))
    tags = {
        client.get(URL, query_string=query).headers["ETag"]
        for query in ({}, {"format": "columns"}, {"format": "csv"}, {"points": 10}, {"to": at(0)})
    }
    assert len(tags) == 5


def test_a_late_update_in_the_middle_changes_the_etag(client: FlaskClient) -> None:
    push = "/api/v1/telemetry/backup/j"
    for seconds in (-100, -60):
        assert client.post(push, json=make_body(timestamp=at(seconds))).status_code == 200
    tag = client.get(URL).headers["ETag"]
    assert revalidate(client, tag).status_code == 304
    late = make_body(timestamp=at(-80), bytes_transferred=40_000)
    assert client.post(push, json=late).status_code == 200
    answer = revalidate(client, tag)
    assert answer.status_code == 200
    assert answer.get_json()["snapshots"] == 3


def test_pushed_update_is_charted(client: FlaskClient) -> None:
    body = make_body(disks=[{"disk_index": 0, "transfer_speed_bps": 5}])
    assert client.post("/api/v1/telemetry/backup/j", json=body).status_code == 200
    [point] = read(client)["chart_data"]
    assert (point["s"], point["p"], point["b"]) == (3_221_225_472, 50, 50_000)
    [point] = read(client, disk=0)["chart_data"]
    assert point["s"] == 5


def push_all(client: FlaskClient, *updates: dict[str, Any]) -> None:
    items = [{"job_id": "j", "job_type": "backup", "status": "running", **u} for u in updates]
    answer = client.post("/api/v1/telemetry/batch", json={"updates": items})
    assert answer.get_json()["accepted"] == len(items)


@pytest.mark.parametrize("points", [300, 10])
def test_a_sender_without_speeds_has_derived_ones(client: FlaskClient, points: int) -> None:
    push_all(
        client,
        *({"timestamp": at(10 * n - 400), "bytes_transferred": 1000 * n} for n in range(40)),
    )
    chart = read(client, points=points)
    assert chart["speed_source"] == "derived"
    assert (chart["peak_speed_bps"], chart["snapshots"]) == (100, 40)
    first, *others, last = (point["s"] for point in chart["chart_data"])
    assert (first, set(others)) == (None, {100})
    assert last == (100 if points == 300 else None)  # its step is not over
    job = client.get("/api/v1/jobs/j").get_json()
    assert (job["transfer_speed_bps"], job["speed_source"]) == (100, "derived")
    assert job["total_bytes"] is None


def test_a_sender_that_reports_zero_has_zero(client: FlaskClient) -> None:
    push_all(
        client,
        {"timestamp": at(-20), "bytes_transferred": 0, "transfer_speed_bps": 0},
        {"timestamp": at(-10), "bytes_transferred": 500, "transfer_speed_bps": 0},
    )
    chart = read(client)
    assert (chart["speed_source"], chart["chart_data"][1]["s"]) == ("reported", 0)
    job = client.get("/api/v1/jobs/j").get_json()
    assert (job["transfer_speed_bps"], job["speed_source"]) == (0, "reported")


@pytest.mark.parametrize("points", [300, 10])
def test_a_sender_of_disks_only_has_their_sums(client: FlaskClient, points: int) -> None:
    push_all(
        client,
        *(
            {
                "timestamp": at(10 * n - 400),
                "disks": [{"disk_index": n % 2, "bytes_transferred": 100 * n, "total_bytes": 5000}],
            }
            for n in range(40)
        ),
    )
    chart = read(client, points=points)
    row = client.get("/api/v1/jobs/j").get_json()
    last = chart["chart_data"][-1]
    assert last["b"] == row["bytes_transferred"] == 3800 + 3900
    assert last["p"] == row["progress_percent"] == 77.0
    assert chart["speed_source"] == "derived"
    assert chart["peak_speed_bps"] >= 10
    part = read(client, **{"from": at(-200)})["chart_data"]
    assert part[0]["b"] == 1900 + 2000


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ({"progress_percent": 95}, (900, 95.0)),  # of the job, and the bytes are the disks'
        ({"disks": [{"disk_index": 1, "progress_percent": 50, "total_bytes": 1000}]}, (900, 70.0)),
    ],
)
def test_a_chart_ends_with_what_the_row_derives(
    client: FlaskClient, last: dict[str, Any], shown: tuple[int, float]
) -> None:
    disks = [{"disk_index": 0, "bytes_transferred": 900, "total_bytes": 1000}]
    push_all(client, {"timestamp": at(-20), "disks": disks}, {"timestamp": at(-10), **last})
    row = client.get("/api/v1/jobs/j").get_json()
    point = read(client)["chart_data"][-1]
    assert (point["b"], point["p"]) == (row["bytes_transferred"], row["progress_percent"]) == shown


def test_a_job_without_any_count_has_no_speed(client: FlaskClient) -> None:
    push_all(client, {"timestamp": at(-20)}, {"timestamp": at(-10), "current_phase": "snapshot"})
    chart = read(client)
    assert (chart["speed_source"], chart["peak_speed_bps"]) == (None, None)
    job = client.get("/api/v1/jobs/j").get_json()
    assert (job["transfer_speed_bps"], job["speed_source"], job["progress_percent"]) == (
        *(None, None, None),
    )
