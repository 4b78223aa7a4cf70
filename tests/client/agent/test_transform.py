"""The step from the message of WebSocket clients to the hub's flat snapshot: names and units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fields import METRICS
from app.schemas.decode import decode_snapshots
from app.schemas.nodes import SnapshotSchema
from telemetry_client.agent import transform
from telemetry_client.agent.transform import to_snapshot
from tests.client.agent.messages import SNAPSHOT, make_message


def is_taken_by_the_hub(snapshot: dict[str, Any]) -> bool:
    (item,) = decode_snapshots(json.dumps(snapshot).encode(), SnapshotSchema())
    return not isinstance(item, dict)


def test_every_field_has_its_name_and_unit() -> None:
    assert to_snapshot(make_message()) == SNAPSHOT
    assert transform._transform_to_api_format(make_message()) == SNAPSHOT


def test_the_nineteen_fields_are_those_of_the_hub() -> None:
    assert len(SNAPSHOT) == 19
    assert set(SNAPSHOT) == {"node_id", "timestamp", *METRICS}
    assert is_taken_by_the_hub(to_snapshot(make_message()))


def test_megabytes_per_second_stay_what_they_are() -> None:
    snapshot = to_snapshot(make_message(network={"bytes_sent_mb_per_sec": 1.5}))
    assert snapshot["network_tx_rate_mbps"] == 1.5  # not 12, whatever "mbps" suggests
    assert "network_rx_rate_mbps" not in snapshot


def test_packets_are_no_bytes() -> None:
    snapshot = to_snapshot(make_message(network={"packets_sent": 7, "packets_recv": 7}))
    assert not {"network_rx_bytes", "network_tx_bytes"} & set(snapshot)


@pytest.mark.parametrize("group", make_message()["metrics"])
def test_what_the_message_does_not_tell_is_left_out(group: str) -> None:
    snapshot = to_snapshot(make_message(**{group: {}}))
    assert set(snapshot) < set(SNAPSHOT)
    assert snapshot.items() < SNAPSHOT.items()


def test_a_message_without_metrics_is_still_a_heartbeat() -> None:
    message = {**make_message(), "metrics": {}}
    assert set(to_snapshot(message)) == {"node_id", "timestamp"}
    assert is_taken_by_the_hub(to_snapshot(message))


def test_without_a_root_the_first_disk_counts() -> None:
    disks = {"C:\\": {"total_gb": 10.0, "used_gb": 1.0, "usage_percent": 10.0}}
    snapshot = to_snapshot(make_message(disk={"disk_usage": disks}))
    assert (snapshot["disk_total_gb"], snapshot["disk_percent"]) == (10.0, 10.0)


def test_a_fraction_of_a_second_of_uptime_is_cut_off() -> None:
    assert to_snapshot(make_message(system={"uptime_seconds": 3.9}))["uptime_seconds"] == 3


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([2**63, -1, 100.1, 1e15, 1e16, [], {}]),
)


@given(st.data())
def test_whatever_sensors_say_the_hub_takes_the_snapshot(data: st.DataObject) -> None:
    """One field that it refuses would cost the whole snapshot."""
    message = make_message()
    for group in message["metrics"].values():
        for name in group:
            if data.draw(st.booleans()):
                group[name] = data.draw(ODD)
    disks = message["metrics"]["disk"]["disk_usage"]
    if isinstance(disks, dict) and "/" in disks:
        disks["/"] = data.draw(st.dictionaries(st.sampled_from(sorted(disks["/"])), ODD))
    snapshot = to_snapshot(message)
    assert is_taken_by_the_hub(snapshot)
    assert None not in snapshot.values()
