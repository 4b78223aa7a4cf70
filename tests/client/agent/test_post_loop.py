"""The POST thread: both queues go to the hub, and a queue that fails costs the other nothing."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import Accepted, TelemetryClient, TelemetryQueue
from telemetry_client.agent.daemon import restart_delay
from telemetry_client.agent.post_loop import Lane, PostLoop
from tests.client.agent.conftest import LocalHub
from tests.factories import at
from tools.faulty_hub import FaultyHub
from tools.hub_process import wait_until

SNAPSHOT = {"node_id": "node-1", "timestamp": "2026-01-31T12:00:00Z"}
END = {
    "job_type": "backup",
    "job_id": "backup-1",
    "status": "failed",
    "timestamp": "2026-01-31T12:00:00Z",
}


def fill(path: Path, *payloads: dict[str, Any]) -> None:
    with TelemetryQueue(path) as queue:
        for payload in payloads:
            queue.enqueue(payload)


def test_queue_and_spool_are_emptied(
    tmp_path: Path, faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    fill(tmp_path / "queue.db", SNAPSHOT)
    fill(tmp_path / "spool.db", END)
    lanes = [Lane(name, tmp_path / f"{name}.db", hub_client) for name in ("queue", "spool")]
    loop = PostLoop(lanes)
    loop.start()
    wait_until(lambda: len(faulty_hub.accepted) == 2)
    loop.stop()
    loop.wait(2)
    assert [dict(item) for item in faulty_hub.accepted] == [SNAPSHOT, END]


def test_a_hub_accepts_a_snapshot_that_reports_losses(tmp_path: Path, hub: LocalHub) -> None:
    with (
        TelemetryQueue(tmp_path / "queue.db", max_size=1) as queue,
        TelemetryClient(hub.url) as client,
    ):
        for second in range(3):
            queue.enqueue({"node_id": "node-1", "timestamp": at(second - 60), "cpu_percent": 1.0})
        (entry,) = queue.dequeue()
        assert entry.payload["lost_snapshots"] == 2
        assert client.push_snapshot(entry.payload) == Accepted()
    assert len(hub.snapshots()) == 1


def test_what_others_put_in_later_goes_too(
    tmp_path: Path, faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    loop = PostLoop([Lane("queue", tmp_path / "queue.db", hub_client)])
    loop.start()
    wait_until((tmp_path / "queue.db").exists)
    fill(tmp_path / "queue.db", SNAPSHOT)
    wait_until(lambda: len(faulty_hub.accepted) == 1)
    loop.stop()
    loop.wait(2)


def test_a_queue_that_fails_is_said_once_and_used_when_it_is_mended(
    tmp_path: Path,
    faulty_hub: FaultyHub,
    hub_client: TelemetryClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "broken").write_text("a file where a folder should be")
    broken = Lane("queue", tmp_path / "broken" / "queue.db", hub_client, retry_seconds=0.05)
    fill(tmp_path / "spool.db", END)
    loop = PostLoop([broken, Lane("spool", tmp_path / "spool.db", hub_client)])
    loop.start()
    wait_until(lambda: len(faulty_hub.accepted) == 1)
    time.sleep(0.2)  # a few more tries
    assert caplog.text.count("[TelemetryPoster] The queue fails") == 1
    (tmp_path / "broken").unlink()
    fill(tmp_path / "broken" / "queue.db", SNAPSHOT)
    wait_until(lambda: len(faulty_hub.accepted) == 2)
    wait_until(lambda: "The queue works again" in caplog.text)
    loop.stop()
    loop.wait(2)


def test_a_spool_out_of_reach_is_left_alone_until_it_is_there(
    tmp_path: Path,
    faulty_hub: FaultyHub,
    hub_client: TelemetryClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "not" / "there" / "spool.db"
    lane = Lane("spool", path, hub_client, is_optional=True, retry_seconds=0.05)
    assert lane.step() == 0.05
    assert not path.parent.exists()
    assert caplog.text == ""
    assert lane.statistics() is None
    fill(path, END)
    lane.step()
    assert [dict(item) for item in faulty_hub.accepted] == [END]
    lane.close()


def test_statistics_tell_what_waits_what_is_dead_and_what_was_sent(
    tmp_path: Path, faulty_hub: FaultyHub, hub_client: TelemetryClient
) -> None:
    faulty_hub.poison = lambda item: item.get("process_count") == 13
    fill(tmp_path / "queue.db", SNAPSHOT, {**SNAPSHOT, "process_count": 13})
    lane = Lane("queue", tmp_path / "queue.db", hub_client)
    lane.step()
    assert lane.statistics() == "queue: 0 waiting, 1 dead, evicted 0, sent 1"
    fill(tmp_path / "queue.db", SNAPSHOT)
    assert str(lane.statistics()).startswith("queue: 1 waiting (oldest 0 s), 1 dead")
    lane.close()


def test_a_collector_that_keeps_dying_is_started_ever_more_seldom() -> None:
    for failures, longest in ((0, 1), (1, 2), (3, 8), (6, 60), (10_000, 60)):
        delays = [restart_delay(failures) for _ in range(100)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
