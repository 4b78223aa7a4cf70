"""The chart of a node from its snapshots, and from what is kept of each minute and hour of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.clock import to_micros
from app.database.pool import Connection, Database
from app.domain.chart import SECOND
from app.domain.fields import METRICS, Kind
from app.domain.nodes import (
    MOST_MINUTES,
    MOST_SNAPSHOTS,
    ChartedNode,
    Source,
    choose_source,
)
from app.domain.snapshots import Snapshot
from app.domain.window import EPOCH, Window
from app.ingest.snapshots import store_snapshots
from app.store import nodes as store
from tests.factories import NOW

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
THIS_HOUR = NOW.replace(minute=0, second=0)
FUTURE = NOW + 365 * DAY
ROLLUPS = ("node_telemetry_1m", "node_telemetry_1h")  # in the order of refreshing
LATE_DAYS = 28


@pytest.fixture
def conn(owner: Database) -> Iterator[Connection]:
    with owner.connect(autocommit=True) as conn:
        yield conn


@pytest.fixture
def hub(database: Database) -> Iterator[Connection]:
    """What is charted, is charted with the hub's rights."""
    with database.connect(autocommit=True) as conn:
        yield conn


def refresh(conn: Connection, from_at: datetime, before_at: datetime) -> None:
    for name in ROLLUPS:
        conn.execute(
            f"CALL refresh_continuous_aggregate('{name}', %s, %s, options => %s)",
            [from_at, before_at, '{"buckets_per_batch": 0}'],
        )


def set_edge(conn: Connection, series: str, dropped_before: datetime) -> None:
    conn.execute(
        "UPDATE series_edges SET dropped_before = %s WHERE series = %s", [dropped_before, series]
    )


def use_only(conn: Connection, source: Source) -> None:
    """Pretend that what is finer than `source` was dropped."""
    set_edge(conn, "node_telemetry", EPOCH if source is Source.SNAPSHOTS else FUTURE)
    set_edge(conn, "node_telemetry_1m", FUTURE if source is Source.HOURS else EPOCH)


def add(conn: Connection, *snapshots: Snapshot) -> None:
    with conn.transaction():
        store_snapshots(conn, snapshots, LATE_DAYS)


def snapshot(at: datetime, **metrics: float) -> Snapshot:
    return Snapshot("n", timestamp=to_micros(at), metrics=metrics or {"cpu_percent": 1.0})


def random_snapshots(
    rng: random.Random, count: int, from_at: datetime, before_at: datetime
) -> list[Snapshot]:
    """Bursts, ordinary minutes and gaps; metrics that come and go; some of one instant."""
    times = [from_at + rng.random() * (before_at - from_at) for _ in range(count // 2)]
    burst = from_at + rng.random() * (before_at - from_at) / 2
    times += [burst + n * timedelta(seconds=rng.choice((0, 1, 20, 60))) for n in range(count // 2)]
    return [snapshot(at, **random_metrics(rng)) for at in times]


def random_metrics(rng: random.Random) -> dict[str, float]:
    chosen = {name for name in METRICS if rng.random() < 0.8}
    measures = {name: rng.choice((0.0, 0.1, rng.random() * 100, 1e15)) for name in chosen}
    counts = {
        name: rng.choice((0, rng.randrange(1000), rng.randrange(2**53)))
        for name in chosen
        if METRICS[name].kind is Kind.INTEGER
    }
    return measures | counts


def get(client: FlaskClient, **query: Any) -> Any:
    answer = client.get("/api/v1/nodes/n/history", query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


# The same numbers from every source.


@pytest.mark.parametrize("seed", range(3))
def test_every_source_has_the_same_numbers(conn: Connection, hub: Connection, seed: int) -> None:
    rng = random.Random(seed)
    span = Window(THIS_HOUR - 5 * DAY, THIS_HOUR)
    add(conn, *random_snapshots(rng, 1500, span.from_at, span.before_at))
    # The rest is worked out as it is read: both parts of a rollup must fit together.
    refresh(conn, span.from_at, span.before_at - rng.randrange(12, 60) * HOUR)
    for _ in range(20):
        first, last = sorted(rng.random() * 6 * DAY - DAY / 2 for _ in range(2))
        metrics = rng.sample(tuple(METRICS), 3)
        for sources, step in (
            ((Source.MINUTES,), rng.choice((60, 300, 1800))),
            ((Source.MINUTES, Source.HOURS), rng.choice((3600, 10_800, 86_400, 2 * 86_400))),
        ):
            window = Window(span.from_at + first, span.from_at + last).widened(step)
            expected = store.read_steps(hub, Source.SNAPSHOTS, "n", window, metrics, step)
            for source in sources:
                found = store.read_steps(hub, source, "n", window, metrics, step)
                assert_same(found, expected)


def assert_same(found: list[store.Step], expected: list[store.Step]) -> None:
    assert [(s.bucket_at, s.snapshots) for s in found] == [
        (s.bucket_at, s.snapshots) for s in expected
    ]
    for step, other in zip(found, expected, strict=True):
        for (mean, low, high), (other_mean, *other_range) in zip(
            step.values, other.values, strict=True
        ):
            assert [low, high] == other_range
            assert mean == (other_mean and pytest.approx(other_mean, rel=1e-9))
            if mean is not None:
                assert low is not None
                assert high is not None
                assert low <= mean <= high


def test_the_answers_of_every_source_are_alike(client: FlaskClient, conn: Connection) -> None:
    rng = random.Random(7)
    add(conn, *random_snapshots(rng, 600, THIS_HOUR - 3 * DAY, THIS_HOUR))
    refresh(conn, THIS_HOUR - 3 * DAY, THIS_HOUR - 20 * HOUR)
    query = {"metrics": "cpu_percent,network_rx_bytes,load_avg_1m", "points": 40}
    windows: list[dict[str, str]] = [
        {},
        {"from": text(THIS_HOUR - 4 * DAY)},
        {"to": text(NOW - 30 * HOUR)},
    ]
    answers: list[tuple[dict[str, str], Source, Any]] = []
    for source in Source:
        use_only(conn, source)
        answers += [(window, source, get(client, **query, **window)) for window in windows]
    for window, source, answer in answers:
        [alike] = [a for w, s, a in answers if w == window and s is Source.SNAPSHOTS]
        assert answer["source"] == source.value
        assert answer["resolution_seconds"] >= 3600
        for key in answer.keys() - {"source", "series"}:
            assert answer[key] == alike[key], key
        assert answer["series"]["t"] == alike["series"]["t"]
        for metric in answer["metrics"]:
            column, other = answer["series"][metric], alike["series"][metric]
            assert (column["min"], column["max"]) == (other["min"], other["max"])
            assert column["mean"] == [m and pytest.approx(m, rel=1e-9) for m in other["mean"]]


@pytest.mark.parametrize("highest", [1000, 2**53, 2**63 - 1])
def test_counts_stay_whole_numbers(conn: Connection, hub: Connection, highest: int) -> None:
    start = THIS_HOUR - DAY
    add(conn, *(snapshot(start + n * MINUTE, uptime_seconds=highest - n) for n in range(90)))
    refresh(conn, start, THIS_HOUR)
    for source, step in ((Source.MINUTES, 1800), (Source.HOURS, 3600)):
        window = Window(start, THIS_HOUR)
        steps = store.read_steps(hub, source, "n", window, ["uptime_seconds"], step)
        found = steps[0].values[0][1:]
        assert found == (highest - step // 60 + 1, highest)
        assert all(isinstance(value, int) for value in found)


def test_a_late_snapshot_is_in_the_chart_once_its_minute_is_refreshed(
    conn: Connection, hub: Connection
) -> None:
    start = THIS_HOUR - DAY
    add(conn, *(snapshot(start + n * MINUTE) for n in range(120)))
    refresh(conn, start, THIS_HOUR)
    add(conn, snapshot(start + 30 * SECOND, cpu_percent=3.0))
    refresh(conn, start, THIS_HOUR)
    for source in Source:
        window = Window(start, start + HOUR)
        [step] = store.read_steps(hub, source, "n", window, ["cpu_percent"], 3600)
        assert (step.snapshots, step.values[0][1:]) == (61, (1.0, 3.0))


# What was dropped.


def test_a_chart_survives_its_snapshots(client: FlaskClient, conn: Connection) -> None:
    start = THIS_HOUR - 20 * DAY
    rng = random.Random(3)
    times = [start + n * HOUR / 3 for n in range(3 * 24 * 20)]
    add(conn, *(snapshot(at, cpu_percent=rng.random() * 100) for at in times))
    refresh(conn, start, THIS_HOUR)
    windows = [
        {"from": text(start - DAY), "to": text(NOW)},
        {"from": text(start + 7 * HOUR), "to": text(start + 2 * DAY)},
    ]
    before = [get(client, metrics="cpu_percent", points=10, **window) for window in windows]
    edge = THIS_HOUR - 9 * DAY
    conn.execute("SELECT drop_chunks('node_telemetry', older_than => %s::timestamptz)", [edge])
    row = conn.execute("SELECT count(*) FROM node_telemetry").fetchone()
    assert row is not None
    assert row[0] < len(times)
    set_edge(conn, "node_telemetry", edge)
    after = [get(client, metrics="cpu_percent", points=10, **window) for window in windows]
    for old, new in zip(before, after, strict=True):
        assert old["source"] == "snapshots"
        assert new["source"] in ("1m", "1h")
        assert (old["from"], old["to"], old["snapshots"]) == (
            new["from"],
            new["to"],
            new["snapshots"],
        )
        assert old["series"]["t"] == new["series"]["t"]
        assert old["series"]["cpu_percent"]["max"] == new["series"]["cpu_percent"]["max"]


def test_the_chart_begins_with_the_earliest_snapshot_ever(
    client: FlaskClient, conn: Connection
) -> None:
    add(conn, snapshot(THIS_HOUR - 3 * DAY))
    add(conn, snapshot(THIS_HOUR - 9 * DAY), snapshot(THIS_HOUR - 8 * DAY))
    refresh(conn, THIS_HOUR - 9 * DAY, THIS_HOUR)
    use_only(conn, Source.HOURS)
    conn.execute("DELETE FROM node_telemetry")
    chart = get(client, metrics="cpu_percent", points=300, **{"from": "1970-01-01T00:00:00Z"})
    assert (chart["source"], chart["snapshots"]) == ("1h", 3)
    assert chart["series"]["t"][0] == (THIS_HOUR - 9 * DAY - EPOCH) / SECOND


def test_a_window_without_data_is_empty_however_much_was_dropped(
    client: FlaskClient, conn: Connection
) -> None:
    add(conn, snapshot(THIS_HOUR - DAY))
    use_only(conn, Source.HOURS)
    for window in (
        {"to": "1970-01-01T00:00:01Z"},
        {"from": "2001-01-01T00:00:00Z", "to": "2002-01-01T00:00:00Z"},
        {"from": text(FUTURE)},
        {"from": "9999-12-31T23:59:58Z", "to": "9999-12-31T23:59:59Z"},
    ):
        chart = get(client, metrics="cpu_percent", **window)
        assert (chart["snapshots"], chart["series"]["t"]) == (0, [])
        assert chart["last_point_unfinished"] is False


@pytest.mark.parametrize("source", Source)
def test_never_more_points_than_asked_for(
    client: FlaskClient, conn: Connection, source: Source
) -> None:
    rng = random.Random(source)
    add(conn, *random_snapshots(rng, 300, THIS_HOUR - 9 * DAY, THIS_HOUR))
    use_only(conn, source)
    for _ in range(15):
        points = rng.choice((10, 11, 37, 300, 5000))
        first, last = sorted(NOW - rng.random() * 11 * DAY + DAY for _ in range(2))
        chart = get(client, points=points, **{"from": text(first), "to": text(last + SECOND)})
        assert len(chart["series"]["t"]) <= points
        assert datetime.fromisoformat(chart["from"]) <= first
        assert datetime.fromisoformat(chart["to"]) >= last


# The choice of the source.


def charted(**changes: Any) -> ChartedNode:
    node = ChartedNode(
        node_id="n",
        is_online=True,
        oldest_snapshot_at=EPOCH,
        newest_snapshot_at=NOW,
        snapshots_from=EPOCH,
        minutes_from=EPOCH,
    )
    return replace(node, **changes)


def last_days(days: float) -> Window:
    return Window(THIS_HOUR - days * DAY, THIS_HOUR)


@pytest.mark.parametrize(
    ("days", "snapshots", "points", "expected"),
    [
        (1, 300, 300, (Source.SNAPSHOTS, 0)),
        (365, 300, 300, (Source.SNAPSHOTS, 0)),
        (1, 301, 300, (Source.SNAPSHOTS, 300)),
        (1, MOST_SNAPSHOTS, 5000, (Source.SNAPSHOTS, 30)),
        (1, MOST_SNAPSHOTS + 1, 5000, (Source.MINUTES, 60)),
        (MOST_MINUTES / 1440, MOST_SNAPSHOTS + 1, 300, (Source.MINUTES, 3600)),
        (MOST_MINUTES / 1440 + 0.01, MOST_SNAPSHOTS + 1, 5000, (Source.HOURS, 3600)),
        (3650, MOST_SNAPSHOTS + 1, 300, (Source.HOURS, 13 * 86_400)),
    ],
)
def test_the_finest_source_that_is_cheap_is_used(
    days: float, snapshots: int, points: int, expected: tuple[Source, int]
) -> None:
    assert choose_source(charted(), last_days(days), snapshots, points) == expected


@pytest.mark.parametrize(
    ("kept_days", "minutes_days", "expected"),
    [
        (2, 9, Source.SNAPSHOTS),
        (1.99, 9, Source.MINUTES),
        (1.99, 1.99, Source.HOURS),
    ],
)
@pytest.mark.parametrize("snapshots", [5, 500])
def test_what_was_dropped_is_not_a_source(
    kept_days: float, minutes_days: float, expected: Source, snapshots: int
) -> None:
    node = charted(
        snapshots_from=THIS_HOUR - kept_days * DAY, minutes_from=THIS_HOUR - minutes_days * DAY
    )
    assert choose_source(node, last_days(2), snapshots, 300)[0] is expected


def test_whole_steps_do_not_reach_behind_the_edge() -> None:
    window = Window(THIS_HOUR - DAY + MINUTE, THIS_HOUR)  # widened, it begins a minute earlier
    node = charted(snapshots_from=window.from_at)
    assert choose_source(node, window, 500, 100)[0] is Source.MINUTES
    assert choose_source(node, window, 50, 100) == (Source.SNAPSHOTS, 0)
    node = charted(snapshots_from=window.from_at, minutes_from=window.from_at)
    assert choose_source(node, window, 500, 100)[0] is Source.HOURS


# The unfinished last point.


def unfinished(client: FlaskClient, **query: Any) -> bool:
    chart = get(client, metrics="cpu_percent", points=10, **query)
    result: bool = chart["last_point_unfinished"]
    return result


@pytest.mark.parametrize("source", Source)
def test_the_last_step_is_unfinished_until_the_node_has_passed_it(
    client: FlaskClient, conn: Connection, source: Source
) -> None:
    start = THIS_HOUR - 24 * HOUR
    add(conn, *(snapshot(start + n * HOUR / 2) for n in range(40)))
    use_only(conn, source)
    assert unfinished(client)
    # A window that ends before the newest snapshot's step is not.
    assert not unfinished(client, to=text(start + 15 * HOUR))


def test_an_offline_node_has_finished_its_last_step(client: FlaskClient, conn: Connection) -> None:
    add(conn, *(snapshot(THIS_HOUR - n * MINUTE) for n in range(40)))
    assert unfinished(client)
    conn.execute("UPDATE nodes SET state = 'offline'")
    assert not unfinished(client)


def test_single_snapshots_are_never_unfinished(client: FlaskClient, conn: Connection) -> None:
    add(conn, snapshot(THIS_HOUR))
    chart = get(client, metrics="cpu_percent")
    assert chart["resolution_seconds"] == 0
    assert chart["last_point_unfinished"] is False


def test_a_chart_follows_from_stored_rows_alone(client: FlaskClient, conn: Connection) -> None:
    add(conn, *(snapshot(THIS_HOUR - n * MINUTE) for n in range(40)))
    assert get(client, points=10) == get(client, points=10)
