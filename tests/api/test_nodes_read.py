"""Reading nodes and their charts, and the rules of a snapshot's fields."""

from __future__ import annotations

import csv
import io
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from marshmallow import ValidationError
from psycopg.sql import SQL, Identifier, Placeholder

from app.clock import isoformat
from app.database.pool import Database
from app.domain.fields import METRICS
from app.domain.window import Window
from app.schemas import nodes as schemas
from app.schemas.queries import encode_cursor
from app.store import nodes as store
from tests.factories import at

START = datetime(2025, 10, 10, 12, tzinfo=UTC)  # 1760097600 s since 1970
EPOCH_START = 1_760_097_600


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def insert(database: Database, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    query = SQL("INSERT INTO {} ({}) VALUES ({})").format(
        Identifier(table),
        SQL(", ").join(map(Identifier, names)),
        SQL(", ").join(map(Placeholder, names)),
    )
    with database.transaction() as conn:
        conn.cursor().executemany(query, rows)


def add_node(database: Database, node_id: str = "n", **changes: Any) -> None:
    insert(database, "nodes", [{"node_id": node_id, "newest_snapshot_at": START} | changes])


def add_snapshots(database: Database, *snapshots: dict[str, Any], node_id: str = "n") -> None:
    """Add a node with these snapshots; `at` is in seconds after START."""
    rows = [
        {
            "time": after(snapshot["at"]),
            "received_at": after(snapshot["at"]),
            "node_id": node_id,
            **{name: snapshot.get(name) for name in METRICS},
        }
        for snapshot in snapshots
    ]
    insert(database, "node_telemetry", rows)
    times = [after(snapshot["at"]) for snapshot in snapshots]
    add_node(database, node_id, oldest_snapshot_at=min(times), newest_snapshot_at=max(times))


def get(client: FlaskClient, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def refused(client: FlaskClient, path: str, **query: Any) -> dict[str, list[str]]:
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == 400, answer.get_data(as_text=True)
    errors: dict[str, list[str]] = answer.get_json()["errors"]
    return errors


# Nodes.


def test_a_node_has_the_documented_keys(client: FlaskClient, database: Database) -> None:
    add_node(database, cpu_percent=12.5, network_rx_bytes=2**62)
    node = get(client, "/nodes/n")
    assert set(node) == set(schemas.NodeSchema().fields)
    assert node["cpu_percent"] == 12.5
    assert node["network_rx_bytes"] == 2**62
    assert node["memory_percent"] is None
    assert node["newest_snapshot_at"] == "2025-10-10T12:00:00Z"
    assert get(client, "/nodes")["items"][0].keys() == node.keys()


@pytest.mark.parametrize(("silence", "age"), [(170, 170), (-30, 0)])
def test_age_of_a_node_uses_the_database_clock(
    client: FlaskClient, database: Database, silence: int, age: int
) -> None:
    add_node(database)
    with database.reading() as conn:
        conn.execute("UPDATE nodes SET last_seen_at = now() - make_interval(secs => %s)", [silence])
    assert get(client, "/nodes/n")["age_seconds"] == pytest.approx(age, abs=5)


def test_a_node_shows_its_state_as_stored(client: FlaskClient, database: Database) -> None:
    add_node(database, "gone", state="offline", state_since=START)
    add_node(database, "quiet", last_seen_at=START, state_since=START)
    for node_id, state in (("gone", "offline"), ("quiet", "online")):
        node = get(client, f"/nodes/{node_id}")
        assert (node["state"], node["state_since"]) == (state, "2025-10-10T12:00:00Z")
    assert [node["state"] for node in get(client, "/nodes")["items"]] == ["offline", "online"]


@pytest.mark.parametrize("path", ["/nodes", "/nodes/n"])
def test_age_alone_does_not_change_the_etag(
    client: FlaskClient, database: Database, path: str
) -> None:
    add_node(database)
    first, later = (client.get(f"/api/v1{path}") for _ in range(2))
    assert first.headers["ETag"] == later.headers["ETag"]
    assert first.headers["ETag"].startswith("W/")  # the ages in the two differ
    headers = {"If-None-Match": first.headers["ETag"]}
    assert client.get(f"/api/v1{path}", headers=headers).status_code == 304
    with database.reading() as conn:
        conn.execute("UPDATE nodes SET cpu_percent = 99")
    assert client.get(f"/api/v1{path}", headers=headers).status_code == 200


def test_nodes_are_paged_by_id(client: FlaskClient, database: Database) -> None:
    names = ["a", "b b", "c", "ü"]
    for name in names:
        add_node(database, name)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get(client, "/nodes", limit=3, cursor=cursor)
        seen += [node["node_id"] for node in page["items"]]
        cursor = page["next_cursor"]
    assert seen == names


def test_nodes_as_csv_name_units_and_utc(client: FlaskClient, database: Database) -> None:
    add_node(database, "b", memory_used_mb=1.5, disk_total_gb=2, network_rx_rate_mbps=3)
    add_node(database, "-a", uptime_seconds=7)
    url = "/api/v1/nodes?format=csv&limit=1"
    answer = client.get(url)
    assert answer.content_type == "text/csv; charset=utf-8"
    (first,) = csv.DictReader(io.StringIO(answer.text))
    assert (first["node_id"], first["uptime_seconds"], first["cpu_percent"]) == ("'-a", "7", "")
    following = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    answer = client.get(f"/api/v1/nodes{following}")
    (second,) = csv.DictReader(io.StringIO(answer.text))
    assert second["node_id"] == "b"
    assert second["newest_snapshot_at_utc"] == isoformat(START)
    assert second["memory_used_mebibytes"] == "1.5"
    assert second["disk_total_gibibytes"] == "2.0"
    assert second["network_rx_megabytes_per_second"] == "3.0"
    assert "Link" not in answer.headers
    tag = answer.headers["ETag"]
    assert (
        client.get(f"/api/v1/nodes{following}", headers={"If-None-Match": tag}).status_code == 304
    )


def test_a_cursor_of_another_list_is_refused(client: FlaskClient) -> None:
    assert list(refused(client, "/nodes", cursor=encode_cursor("jobs", 1, 2))) == ["cursor"]


@pytest.mark.parametrize("path", ["", "/history", "/events"])
def test_an_unknown_node_is_a_404(client: FlaskClient, path: str) -> None:
    assert client.get(f"/api/v1/nodes/unknown{path}").status_code == 404


# Events.


def add_events(database: Database, count: int, node_id: str = "n") -> None:
    states = ("online", "offline")
    rows = [
        {
            "node_id": node_id,
            "time": after(n),
            "from_state": states[n % 2],
            "to_state": states[(n + 1) % 2],
            "reason": f"reason {n}",
            "evidence": '{"silent_seconds": 180.5}',
        }
        for n in range(count)
    ]
    insert(database, "node_events", rows)


def test_an_event_has_the_documented_keys(client: FlaskClient, database: Database) -> None:
    add_node(database)
    add_events(database, 1)
    [event] = get(client, "/nodes/n/events")["items"]
    assert set(event) == set(schemas.NodeEventSchema().fields)
    assert (event["from_state"], event["to_state"]) == ("online", "offline")
    assert event["time"] == "2025-10-10T12:00:00Z"
    assert event["evidence"] == {"silent_seconds": 180.5}


def test_events_are_paged_newest_first(client: FlaskClient, database: Database) -> None:
    add_node(database)
    add_node(database, "other")
    add_events(database, 5)
    add_events(database, 2, "other")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get(client, "/nodes/n/events", limit=2, cursor=cursor)
        seen += [event["reason"] for event in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"reason {n}" for n in (4, 3, 2, 1, 0)]


def test_a_node_that_never_changed_has_no_events(client: FlaskClient, database: Database) -> None:
    add_node(database)
    assert get(client, "/nodes/n/events") == {"items": [], "next_cursor": None}


def test_cursor_of_job_events_is_refused(client: FlaskClient, database: Database) -> None:
    add_node(database)
    wrong = encode_cursor("events", 1)
    assert list(refused(client, "/nodes/n/events", cursor=wrong)) == ["cursor"]


# Charts.


def test_a_short_history_shows_each_snapshot(client: FlaskClient, database: Database) -> None:
    add_snapshots(
        database,
        {"at": 0, "cpu_percent": 10.0, "memory_percent": 50.0},
        {"at": 60.5, "cpu_percent": 20.0},
    )
    chart = get(client, "/nodes/n/history", metrics="cpu_percent,memory_percent")
    assert chart["resolution_seconds"] == 0
    assert chart["snapshots"] == 2
    assert chart["metrics"] == ["cpu_percent", "memory_percent"]
    assert chart["to"] == "2025-10-10T12:01:01Z"
    assert chart["from"] == "2025-10-09T12:01:01Z"
    assert chart["series"] == {
        "t": [EPOCH_START, EPOCH_START + 60.5],
        "cpu_percent": {"mean": [10, 20], "min": [10, 20], "max": [10, 20]},
        "memory_percent": {"mean": [50, None], "min": [50, None], "max": [50, None]},
    }
    assert set(chart) == {
        field.data_key or name for name, field in schemas.NodeHistorySchema().fields.items()
    }


def test_a_long_history_keeps_its_peaks_in_few_points(
    client: FlaskClient, database: Database
) -> None:
    add_snapshots(
        database,
        *(
            {"at": 60 * minute, "cpu_percent": 99.0 if minute == 77 else 5.0}
            for minute in range(300)
        ),
    )
    chart = get(client, "/nodes/n/history", metrics="cpu_percent", points=30)
    cpu = chart["series"]["cpu_percent"]
    assert chart["resolution_seconds"] == 600
    assert len(chart["series"]["t"]) == len(cpu["mean"]) == 30
    assert chart["series"]["t"][0] == EPOCH_START
    assert chart["snapshots"] == 300
    assert max(cpu["max"]) == 99.0
    assert cpu["mean"][7] == pytest.approx((9 * 5 + 99) / 10)
    assert cpu["min"][7] == 5.0


def test_steps_without_a_snapshot_are_null(client: FlaskClient, database: Database) -> None:
    minutes = [*range(20), *range(60, 80)]
    add_snapshots(database, *({"at": 60 * m, "cpu_percent": 1.0} for m in minutes))
    chart = get(client, "/nodes/n/history", metrics="cpu_percent,load_avg_1m", points=10)
    step = chart["resolution_seconds"]
    times = chart["series"]["t"]
    assert {later - time for time, later in itertools.pairwise(times)} == {step}
    means = chart["series"]["cpu_percent"]["mean"]
    assert None in means
    assert means[0] == means[-1] == 1.0
    assert set(chart["series"]["load_avg_1m"]["max"]) == {None}


def test_counters_are_charted_as_numbers(client: FlaskClient, database: Database) -> None:
    add_snapshots(database, *({"at": 60 * m, "network_rx_bytes": 2**53 + m} for m in range(40)))
    chart = get(client, "/nodes/n/history", metrics="network_rx_bytes", points=10)
    values = chart["series"]["network_rx_bytes"]
    assert values["max"][-1] == 2**53 + 39
    assert isinstance(values["mean"][0], float | int)


@pytest.mark.parametrize("points", [10, 11, 37, 100, 300])
@pytest.mark.parametrize("offset", [0, 1, 3599.5])
def test_node_chart_has_at_most_the_requested_points(
    client: FlaskClient, database: Database, points: int, offset: float
) -> None:
    add_snapshots(
        database, *({"at": offset + 61.7 * n, "cpu_percent": float(n)} for n in range(400))
    )
    chart = get(client, "/nodes/n/history", metrics="cpu_percent", points=points)
    assert 0 < len(chart["series"]["t"]) <= points
    assert chart["snapshots"] == 400
    assert max(v for v in chart["series"]["cpu_percent"]["max"] if v is not None) == 399.0


def test_a_window_is_half_open(client: FlaskClient, database: Database) -> None:
    add_snapshots(database, *({"at": n, "cpu_percent": float(n)} for n in range(4)))
    window = {"from": "2025-10-10T12:00:01Z", "to": "2025-10-10T12:00:03Z"}
    chart = get(client, "/nodes/n/history", metrics="cpu_percent", **window)
    assert chart["series"]["cpu_percent"]["mean"] == [1, 2]
    assert {key: chart[key] for key in window} == window


def test_the_default_window_is_the_last_day_of_data(
    client: FlaskClient, database: Database
) -> None:
    add_snapshots(
        database, *({"at": 3600 * hour, "cpu_percent": float(hour)} for hour in range(50))
    )
    chart = get(client, "/nodes/n/history", metrics="cpu_percent")
    assert chart["series"]["cpu_percent"]["mean"] == [float(hour) for hour in range(26, 50)]


@pytest.mark.parametrize(
    "window",
    [
        {"from": "1970-01-01T00:00:00Z"},
        {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"},
    ],
)
def test_resolution_of_a_huge_window_depends_on_its_data(
    client: FlaskClient, database: Database, window: dict[str, str]
) -> None:
    add_snapshots(database, *({"at": 60 * m, "cpu_percent": 1.0} for m in range(300)))
    chart = get(client, "/nodes/n/history", metrics="cpu_percent", points=30, **window)
    assert chart["resolution_seconds"] == 600
    assert chart["snapshots"] == 300


@pytest.mark.parametrize(
    "window",
    [
        {"to": "0001-01-01T00:00:00Z"},
        {"to": "1970-01-01T00:00:01Z"},
        {"from": "2030-01-01T00:00:00Z"},
        {"from": "9999-12-31T23:59:59Z"},
    ],
)
def test_a_window_without_data_is_empty(
    client: FlaskClient, database: Database, window: dict[str, str]
) -> None:
    add_snapshots(database, {"at": 0, "cpu_percent": 1.0})
    chart = get(client, "/nodes/n/history", metrics="cpu_percent", **window)
    assert chart["snapshots"] == 0
    assert chart["series"]["t"] == []


def test_a_node_whose_snapshots_were_dropped_has_an_empty_chart(
    client: FlaskClient, database: Database
) -> None:
    add_node(database)
    assert get(client, "/nodes/n/history")["series"]["t"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"metrics": "cpu_percent,nonsense"}, "metrics"),
        ({"metrics": 'cpu_percent"; DROP TABLE nodes; --'}, "metrics"),
        ({"metrics": "node_id"}, "metrics"),
        ({"metrics": "cpu_percent,"}, "metrics"),
        ({"points": "9"}, "points"),
        ({"points": "5001"}, "points"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2025-10-10T12:00:00Z", "to": "2025-10-10T11:00:00Z"}, "to"),
        ({"from": "2025-10-10T12:00:00Z", "to": "2025-10-10T12:00:00Z"}, "to"),
    ],
)
def test_a_bad_query_is_refused_naming_its_field(
    client: FlaskClient, database: Database, query: dict[str, str], field: str
) -> None:
    add_node(database)
    assert list(refused(client, "/nodes/n/history", **query)) == [field]


def test_unknown_metric_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    [reason] = refused(client, "/nodes/n/history", metrics="cpu")["metrics"]
    assert "'cpu'" in reason
    assert all(metric in reason for metric in METRICS)


def test_store_refuses_unknown_metrics(database: Database) -> None:
    with database.reading() as conn, pytest.raises(ValueError):
        store.list_snapshots(conn, "n", Window(START, START), ["node_id"], 1)


# The fields of a snapshot.


def load(body: str) -> Any:
    return schemas.SnapshotSchema().load(orjson.loads(body))


def test_a_full_snapshot_loads() -> None:
    values = dict.fromkeys(METRICS, 1)
    body = {"node_id": "n", "timestamp": "2025-10-10T14:00:00.5+02:00", **values}
    assert load(orjson.dumps(body).decode()) == {"node_id": "n", "timestamp": after(0.5), **values}


def test_absent_null_and_unknown_fields_are_ignored() -> None:
    assert load('{"node_id": "n", "cpu_percent": null, "gpu_percent": 5}') == {"node_id": "n"}


def test_whole_floats_count_as_integers_and_uptime_loses_its_fraction() -> None:
    loaded = load('{"node_id": "n", "process_count": 7.0, "uptime_seconds": 12.9}')
    assert loaded == {"node_id": "n", "process_count": 7, "uptime_seconds": 12}
    assert all(isinstance(loaded[name], int) for name in ("process_count", "uptime_seconds"))


def test_cpu_percent_may_exceed_100() -> None:
    assert load('{"node_id": "n", "cpu_percent": 780.5}')["cpu_percent"] == 780.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_percent", "true"),
        ("cpu_percent", '"12"'),
        ("cpu_percent", "-0.1"),
        ("memory_percent", "100.1"),
        ("disk_percent", "101"),
        ("load_avg_1m", "[1]"),
        ("load_avg_1m", "1.7e308"),
        ("cpu_percent", "1000000000000000.2"),
        ("memory_used_mb", "1e16"),
        ("network_rx_rate_mbps", "9223372036854775807"),
        ("network_rx_bytes", "1.5"),
        ("network_rx_bytes", "-1"),
        ("network_tx_bytes", "9223372036854775808"),
        ("process_count", "true"),
        ("uptime_seconds", "-1"),
        ("uptime_seconds", "1e30"),
        ("uptime_seconds", "true"),
        ("timestamp", '"2025-10-10 12:00"'),
        ("timestamp", "1760097600"),
        ("node_id", '""'),
        ("node_id", "null"),
        ("node_id", "5"),
        ("node_id", '".."'),
        ("node_id", '"a/b"'),
        ("node_id", '"a\\u0000b"'),
        ("node_id", f'"{"x" * 256}"'),
    ],
)
def test_a_bad_value_is_refused_naming_its_field(field: str, value: str) -> None:
    body = f'{{"node_id": "n", "{field}": {value}}}'  # the last of repeated keys counts
    with pytest.raises(ValidationError) as caught:
        load(body)
    assert list(caught.value.messages_dict) == [field]


def test_the_largest_metrics_can_be_charted(client: FlaskClient) -> None:
    for second in range(40):
        snapshot = {
            "node_id": "n",
            "timestamp": at(second - 60),
            "load_avg_1m": 1e15,
            "network_rx_bytes": 2**63 - 1,
        }
        assert client.post("/api/v1/telemetry/snapshot", json=snapshot).status_code == 200
    chart = get(client, "/nodes/n/history", metrics="load_avg_1m,network_rx_bytes", points=10)
    assert chart["resolution_seconds"] > 0
    assert set(chart["series"]["load_avg_1m"]["mean"]) - {None} == {1e15}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["cpu_percent", "network_rx_bytes", "uptime_seconds"])
def test_nan_and_infinity_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        schemas.SnapshotSchema().load({"node_id": "n", field: value})


def test_a_snapshot_needs_its_node() -> None:
    with pytest.raises(ValidationError) as caught:
        load("{}")
    assert list(caught.value.messages_dict) == ["node_id"]
