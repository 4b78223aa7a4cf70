"""What is measured: every field of this machine, none of a sensor that fails, no negative speed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from telemetry_client.agent.collector import Collector
from telemetry_client.agent.containers import container_memory
from telemetry_client.agent.rates import MEGABYTE, Rate
from telemetry_client.agent.transform import to_snapshot
from tests.client.agent.messages import SNAPSHOT, make_message

# What each call of psutil gives to the snapshot, and to the message only.
SENSORS: dict[str, set[str]] = {
    "cpu_percent": {"cpu_percent"},
    "getloadavg": {"load_avg_1m", "load_avg_5m", "load_avg_15m"},
    "virtual_memory": {"memory_percent", "memory_used_mb", "memory_total_mb"},
    "swap_memory": set(),
    "disk_partitions": set(),  # the root is known without
    "disk_usage": {"disk_percent", "disk_used_gb", "disk_total_gb"},
    "disk_io_counters": set(),
    "net_io_counters": {
        "network_rx_bytes",
        "network_tx_bytes",
        "network_rx_rate_mbps",
        "network_tx_rate_mbps",
    },
    "net_connections": {"active_connections"},
    "pids": {"process_count"},
    "process_iter": set(),
}


@pytest.fixture
def clock() -> Iterator[float]:
    return iter(float(second) for second in range(1000))


@pytest.fixture
def collector(clock: Iterator[float]) -> Collector:
    """One that has been primed, a second before each reading."""
    collector = Collector("node-1", clock=lambda: next(clock))
    collector.prime()
    return collector


def leaves(tree: Any, path: str = "") -> set[str]:
    if not isinstance(tree, dict) or path.endswith("disk_usage"):
        return {path}
    return {leaf for key, value in tree.items() for leaf in leaves(value, f"{path}.{key}")}


def test_the_message_has_every_field_that_its_clients_read(collector: Collector) -> None:
    message = json.loads(json.dumps(collector.collect()))
    assert leaves(make_message()) <= leaves(message)
    root = next(iter(message["metrics"]["disk"]["disk_usage"].values()))
    assert set(root) == {"total_gb", "used_gb", "free_gb", "usage_percent"}
    assert len(message["metrics"]["cpu"]["cpu_per_core_percent"]) == psutil.cpu_count()
    top = message["metrics"]["processes"]["top_memory_processes"]
    assert 1 <= len(top) <= 5
    assert set(top[0]) == {"pid", "name", "memory_percent"}
    assert message["node_id"] == "node-1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", message["timestamp"])


def test_a_snapshot_of_this_machine_has_all_nineteen_fields(collector: Collector) -> None:
    message = collector.collect()
    snapshot = to_snapshot(message)
    assert set(snapshot) == set(SNAPSHOT)
    container = container_memory()
    most = min(psutil.virtual_memory().total, container.total if container else 2**63)
    assert snapshot["memory_total_mb"] == pytest.approx(most / 1024**2, abs=1)
    mount = next(iter(message["metrics"]["disk"]["disk_usage"]))
    assert snapshot["disk_total_gb"] == pytest.approx(
        psutil.disk_usage(mount).total / 1024**3, abs=0.001
    )
    assert 0 <= snapshot["cpu_percent"] <= 100


def test_the_first_reading_knows_no_speed() -> None:
    network = Collector("node-1").collect()["metrics"]["network"]
    assert "bytes_sent" in network
    assert not {"bytes_sent_mb_per_sec", "bytes_recv_mb_per_sec"} & set(network)


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_broken_sensor_costs_its_own_fields_only(
    sensor: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = leaves(collector.collect())
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as broken:
        broken.setattr(psutil, sensor, raising(PermissionError("no")))
        for _ in range(3):
            message = collector.collect()
    assert set(to_snapshot(message)) == set(SNAPSHOT) - SENSORS[sensor]
    assert leaves(message) <= whole
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == len(set(warnings)) >= 1, "logged once, not every minute"
    collector.collect()  # the speeds need two readings again
    assert set(to_snapshot(collector.collect())) == set(SNAPSHOT)
    assert len(re.findall("works again", caplog.text)) == len(warnings)


def test_an_interface_that_restarts_counting_gives_no_speed_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = iter([5000, 6000, 10, 20])
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: {"eth0": counters(next(readings))})
    collector = Collector("node-1", clock=iter([0.0, 1.0, 2.0, 3.0]).__next__)
    sent = [collector._network().get("bytes_sent_mb_per_sec") for _ in range(4)]
    assert sent == [
        None,
        pytest.approx(1000 / MEGABYTE, abs=1e-4),
        None,
        pytest.approx(0, abs=1e-4),
    ]


def test_speed_is_in_megabytes_of_all_interfaces() -> None:
    rate = Rate()
    rate.megabytes_per_second({"eth0": 0, "lo": 10}, 100.0)
    grown = {"eth0": 3 * MEGABYTE, "lo": 10 + MEGABYTE}
    assert rate.megabytes_per_second(grown, 102.0) == 2.0


def test_an_interface_that_comes_or_goes_changes_no_speed() -> None:
    rate = Rate()
    rate.megabytes_per_second({"eth0": 0, "veth1": 9 * MEGABYTE}, 0.0)
    assert rate.megabytes_per_second({"eth0": MEGABYTE, "veth2": 7 * MEGABYTE}, 1.0) == 1.0


@pytest.mark.parametrize("now", [10.0, 9.0])
def test_a_clock_that_stands_or_goes_back_gives_no_speed(now: float) -> None:
    rate = Rate()
    rate.megabytes_per_second({"eth0": 0}, 10.0)
    assert rate.megabytes_per_second({"eth0": 5}, now) is None


def test_the_wall_clock_plays_no_part_in_speeds_or_uptime(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = to_snapshot(collector.collect())
    monkeypatch.setattr("telemetry_client.agent.collector.time.time", lambda: 0.0)
    after = to_snapshot(collector.collect())
    assert after["uptime_seconds"] - before["uptime_seconds"] in range(5)
    assert after["network_rx_rate_mbps"] >= 0


def raising(exc: Exception) -> Callable[..., Any]:
    def read(*args: Any, **kwargs: Any) -> Any:
        raise exc

    return read


def counters(sent: int) -> SimpleNamespace:
    return SimpleNamespace(bytes_sent=sent, bytes_recv=0, packets_sent=0, packets_recv=0)
