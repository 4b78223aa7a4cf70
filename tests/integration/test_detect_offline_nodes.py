"""Nodes that go quiet and come back. The clock is a parameter: `sweep` moves it past the last
snapshot, which the hub stamped when the test stored it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.snapshots import Snapshot
from app.ingest.snapshots import store_snapshots
from app.ingest.transaction import Receipt
from app.store import node_states
from app.store.staleness import StatusChange
from jobs import pages
from jobs.detect_offline_nodes import Sweep, run_once
from tests.factories import NOW, at, micros
from tests.integration.detector import HOUR, Detector

pytestmark = pytest.mark.owner

THRESHOLD = 180  # the default of HUB_NODE_OFFLINE_SECONDS


@pytest.fixture
def detector(database: Database, config: Config, conn: Connection) -> Detector[Sweep]:
    return Detector(run_once, "SELECT max(last_seen_at) FROM nodes", database, config, conn)


def snapshot(seconds: float = -60, node_id: str = "n", cpu: float = 1.0) -> Snapshot:
    return Snapshot(node_id, timestamp=micros(seconds), metrics={"cpu_percent": cpu})


def store(conn: Connection, *snapshots: Snapshot) -> list[Receipt]:
    with conn.transaction():
        outcomes = store_snapshots(conn, snapshots, 28)
    return [outcome for outcome in outcomes if isinstance(outcome, Receipt)]


def node(conn: Connection, node_id: str = "n") -> dict[str, Any]:
    cursor = conn.execute("SELECT * FROM nodes WHERE node_id = %s", [node_id])
    row = cursor.fetchone()
    assert row is not None
    return {column.name: value for column, value in zip(cursor.description or (), row, strict=True)}


def states(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("SELECT node_id, state FROM nodes ORDER BY node_id").fetchall())


def events(conn: Connection, node_id: str = "n") -> list[tuple[str, str]]:
    sql = "SELECT from_state, to_state FROM node_events WHERE node_id = %s ORDER BY id"
    return conn.execute(sql, [node_id]).fetchall()


WENT, CAME = ("online", "offline"), ("offline", "online")


# Going offline.


def test_a_new_node_is_online(conn: Connection) -> None:
    store(conn, snapshot())
    assert node(conn)["state"] == "online"
    assert events(conn) == []


def test_a_node_that_reports_is_left_alone(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot())
    assert (detector.sweep(THRESHOLD - 1).offline, node(conn)["state"]) == (0, "online")


def test_a_silent_node_is_taken_offline(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot())
    before = node(conn)
    assert detector.sweep(THRESHOLD) == Sweep(offline=1, errors=0, watched_seconds=HOUR)
    after = node(conn)
    assert (after["state"], after["state_since"]) == ("offline", detector.moment(THRESHOLD))
    assert {name for name in after if after[name] != before[name]} == {"state", "state_since"}


def test_a_node_that_died_before_the_clock_was_set_back_is_taken_offline_in_time(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot())
    detector.sweep(-HOUR)
    assert detector.sweep(THRESHOLD - 1).offline == 0
    assert detector.sweep(THRESHOLD).offline == 1


def test_a_clock_that_is_set_back_during_a_sweep_takes_no_node_offline(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot())
    began = detector.moment(HOUR)
    status_change = StatusChange(
        began, began - timedelta(seconds=60), 60, "No snapshot", clock=began
    )
    assert node_states.mark_nodes_offline(conn, ["n"], status_change) == []
    assert node_states.mark_nodes_offline(conn, ["n"], replace(status_change, clock=None))


def test_it_is_an_event_with_its_evidence(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot())
    detector.sweep(200.5)
    sql = "SELECT node_id, time, from_state, to_state, reason, evidence FROM node_events"
    [(node_id, time, *change, reason, evidence)] = conn.execute(sql).fetchall()
    assert (node_id, time, tuple(change)) == ("n", detector.moment(200.5), WENT)
    assert reason == "No snapshot for 3m0s"
    assert datetime.fromisoformat(evidence.pop("last_seen")) == node(conn)["last_seen_at"]
    assert evidence == {"silent_seconds": 200.5, "threshold_seconds": THRESHOLD}


def test_an_offline_node_is_not_judged_again(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot())
    detector.sweep(200)
    since = node(conn)["state_since"]
    assert detector.sweep(300).offline == 0
    assert (events(conn), node(conn)["state_since"]) == ([WENT], since)


def test_another_threshold(conn: Connection, detector: Detector[Sweep]) -> None:
    detector.config = replace(detector.config, node_offline_seconds=45)
    store(conn, snapshot())
    assert detector.sweep(44).offline == 0
    assert detector.sweep(45).offline == 1


@pytest.mark.parametrize("seconds", [-86_400, 86_400])
def test_a_wrong_clock_changes_nothing(
    conn: Connection, detector: Detector[Sweep], seconds: float
) -> None:
    store(conn, snapshot(seconds))
    assert detector.sweep(THRESHOLD - 1).offline == 0
    assert detector.sweep(THRESHOLD + 1).offline == 1


def test_each_offline_node_is_logged(
    conn: Connection, detector: Detector[Sweep], caplog: pytest.LogCaptureFixture
) -> None:
    store(conn, snapshot(node_id="a"), snapshot(node_id="b"))
    with caplog.at_level(logging.INFO, logger="hub.tasks.nodes"):
        detector.sweep(THRESHOLD)
        detector.sweep(THRESHOLD + 30)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Node offline: a"),
        ("WARNING", "Node offline: b"),
    ]


# What the hub did not watch.


def test_time_without_a_watch_does_not_count_as_silence(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot())
    assert detector.sweep(9999, watched=THRESHOLD - 1).offline == 0
    assert detector.sweep(9999, watched=THRESHOLD).offline == 1


def test_while_no_web_process_beats_no_node_is_judged(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot())
    assert detector.sweep(9999, beat_age=16) == Sweep(0, 0, None)


def test_what_came_after_the_last_beat_may_still_be_on_its_way(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot())
    assert detector.sweep(THRESHOLD + 5, beat_age=6).offline == 0
    assert detector.sweep(THRESHOLD + 6, beat_age=6).offline == 1


# Coming back.


def test_the_next_snapshot_brings_a_node_back(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot(-60))
    detector.sweep(THRESHOLD)
    store(conn, snapshot(-30, cpu=2.0))
    after = node(conn)
    assert (after["state"], after["cpu_percent"]) == ("online", 2.0)
    assert after["state_since"] == after["last_seen_at"]
    assert events(conn) == [WENT, CAME]


def test_coming_back_is_an_event_with_its_evidence(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot(-60))
    last_seen = node(conn)["last_seen_at"]
    detector.sweep(THRESHOLD)
    store(conn, snapshot(-30))
    back_at = node(conn)["last_seen_at"]
    sql = "SELECT time, reason, evidence FROM node_events WHERE to_state = 'online'"
    [(time, reason, evidence)] = conn.execute(sql).fetchall()
    assert (time, reason) == (back_at, "A snapshot arrived")
    assert datetime.fromisoformat(evidence.pop("last_seen")) == last_seen
    silent_seconds = pytest.approx((back_at - last_seen).total_seconds(), abs=0.001)
    assert evidence == {"silent_seconds": silent_seconds}


def test_an_old_snapshot_is_life_too(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot(-60, cpu=2.0))
    detector.sweep(THRESHOLD)
    store(conn, snapshot(-3600, cpu=1.0))
    after = node(conn)
    assert (after["state"], after["cpu_percent"]) == ("online", 2.0)


def test_a_duplicate_brings_no_node_back(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot())
    detector.sweep(THRESHOLD)
    before = node(conn)
    assert store(conn, snapshot())[0].is_duplicate
    assert node(conn) == before
    assert before["state"] == "offline"
    assert events(conn) == [WENT]


def test_a_node_is_back_only_with_its_snapshot(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, snapshot(-60))
    detector.sweep(THRESHOLD)
    before = node(conn)
    with conn.transaction(force_rollback=True):
        store_snapshots(conn, [snapshot(-30)], 28)
        assert (node(conn)["state"], events(conn)) == ("online", [WENT, CAME])
    assert (node(conn), events(conn)) == (before, [WENT])


def test_only_the_nodes_that_report_come_back(conn: Connection, detector: Detector[Sweep]) -> None:
    store(conn, *(snapshot(node_id=name) for name in "abc"))
    detector.sweep(THRESHOLD)
    store(conn, *(snapshot(n - 50, name) for n in range(2) for name in "acd"))
    assert states(conn) == {"a": "online", "b": "offline", "c": "online", "d": "online"}
    assert {name: len(events(conn, name)) for name in "abcd"} == {"a": 2, "b": 1, "c": 2, "d": 0}


def test_coming_back_is_logged(
    conn: Connection, detector: Detector[Sweep], caplog: pytest.LogCaptureFixture
) -> None:
    store(conn, snapshot(-60))
    detector.sweep(THRESHOLD)
    with caplog.at_level(logging.INFO, logger="hub.nodes"):
        caplog.clear()
        store(conn, snapshot(-50))
        store(conn, snapshot(-40))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Node online: n")
    ]


def test_a_node_that_is_back_can_go_again(conn: Connection, detector: Detector[Sweep]) -> None:
    for n in range(3):
        store(conn, snapshot(n - 60))
        detector.sweep(THRESHOLD)
    assert events(conn) == [WENT, CAME, WENT, CAME, WENT]


def test_the_api_shows_the_changes(
    client: FlaskClient, conn: Connection, detector: Detector[Sweep]
) -> None:
    def push(seconds: float) -> None:
        body = {"node_id": "n", "timestamp": at(seconds), "cpu_percent": 1.0}
        assert client.post("/api/v1/telemetry/snapshot", json=body).status_code == 200

    def shown(path: str = "") -> Any:
        return client.get(f"/api/v1/nodes/n{path}").get_json()

    push(-60)
    assert shown()["state"] == "online"
    detector.sweep(THRESHOLD)
    assert shown()["state"] == "offline"
    push(-30)
    assert shown()["state"] == "online"
    came, went = shown("/events")["items"]
    assert (came["to_state"], went["to_state"]) == ("online", "offline")
    assert shown()["state_since"] == came["time"]


# Many at once, beside ingest and beside itself.


def test_nodes_are_judged_page_by_page(
    conn: Connection, detector: Detector[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 2)
    store(conn, *(snapshot(node_id=f"n{n}") for n in range(5)))  # all of one instant
    assert detector.sweep(THRESHOLD).offline == 5


def test_a_row_that_cannot_be_changed_stops_no_other(
    conn: Connection, detector: Detector[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 4)
    store(conn, *(snapshot(node_id=f"n{n}") for n in range(7)))
    conn.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE 'not this one'; END $$"
    )
    conn.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON nodes FOR EACH ROW "
        "WHEN (old.node_id = 'n3') EXECUTE FUNCTION refuse()"
    )
    try:
        sweep = detector.sweep(THRESHOLD)
    finally:
        conn.execute("DROP FUNCTION refuse CASCADE")
    assert (sweep.offline, sweep.errors) == (6, 1)
    assert [name for name, state in states(conn).items() if state == "online"] == ["n3"]


def test_the_scan_uses_its_index(conn: Connection) -> None:
    params = {"silent_since": NOW, "after_at": NOW, "after_id": "", "limit": 10}
    with conn.transaction():
        conn.execute("SET LOCAL enable_seqscan = off")
        plan = conn.execute("EXPLAIN " + node_states.SQL["read_silent_nodes"], params).fetchall()
    assert "nodes_online_idx" in str(plan)


def status_change(detector: Detector[Sweep]) -> StatusChange:
    now = detector.moment(THRESHOLD)
    return StatusChange(now, now - timedelta(seconds=THRESHOLD), THRESHOLD, "No snapshot for 3m0s")


def test_a_snapshot_after_the_scan_saves_the_node(
    conn: Connection, detector: Detector[Sweep]
) -> None:
    store(conn, snapshot(-60))
    given = status_change(detector)
    found = node_states.read_silent_nodes(conn, given.silent_since, after=None, limit=9)
    assert [silent.node_id for silent in found] == ["n"]
    store(conn, snapshot(-30))
    assert node_states.mark_nodes_offline(conn, ["n"], given) == []
    assert node(conn)["state"] == "online"


@pytest.mark.server
def test_a_node_whose_snapshot_is_being_stored_is_left_alone(
    conn: Connection, detector: Detector[Sweep], database: Database
) -> None:
    store(conn, snapshot(-60))
    given = status_change(detector)
    other = database.connect()
    try:
        store_snapshots(other, [snapshot(-30)], 28)  # holds the row's lock, not yet committed
        assert node_states.mark_nodes_offline(conn, ["n"], given) == []
        other.commit()
    finally:
        other.close()
    assert node(conn)["state"] == "online"


def test_sweeps_at_the_same_moment_judge_once(
    conn: Connection, detector: Detector[Sweep], database: Database, config: Config
) -> None:
    store(conn, *(snapshot(node_id=f"n{n}") for n in range(50)))
    now = detector.moment(THRESHOLD)
    detector.watch("web", now - timedelta(hours=1), now)
    sweeps: list[Sweep] = []
    threads = [
        threading.Thread(target=lambda: sweeps.append(run_once(database, config, now)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sweep.offline for sweep in sweeps) == 50
    assert conn.execute("SELECT count(*) FROM node_events").fetchone() == (50,)
