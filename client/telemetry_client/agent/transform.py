"""Converts the message for WebSocket clients to the flat snapshot for the hub.

Units are the message's: "gb" and "mb" are 1024³ and 1024² bytes, and `network_*_rate_mbps` are
MEGABYTES per second, despite the name. Unknown values are left out, and so are values for which the
hub would refuse the whole snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# The hub's limits (`SnapshotSchema`).
_HIGHEST_MEASURE = 10.0**15
_HIGHEST_COUNT = 2**63 - 1

# field of the snapshot: group and name in the message, highest value
_MEASURES = {
    "cpu_percent": ("cpu", "cpu_usage_percent", _HIGHEST_MEASURE),
    "memory_percent": ("memory", "memory_usage_percent", 100.0),
    "network_rx_rate_mbps": ("network", "bytes_recv_mb_per_sec", _HIGHEST_MEASURE),
    "network_tx_rate_mbps": ("network", "bytes_sent_mb_per_sec", _HIGHEST_MEASURE),
    "load_avg_1m": ("cpu", "load_avg_1min", _HIGHEST_MEASURE),
    "load_avg_5m": ("cpu", "load_avg_5min", _HIGHEST_MEASURE),
    "load_avg_15m": ("cpu", "load_avg_15min", _HIGHEST_MEASURE),
}
_COUNTS = {
    "network_rx_bytes": ("network", "bytes_recv"),
    "network_tx_bytes": ("network", "bytes_sent"),
    "uptime_seconds": ("system", "uptime_seconds"),
    "process_count": ("processes", "process_count"),
    "active_connections": ("network", "active_connections"),
}
_MEMORY = {"memory_used_mb": "memory_used_gb", "memory_total_mb": "memory_total_gb"}
_DISK = {
    "disk_percent": ("usage_percent", 100.0),
    "disk_used_gb": ("used_gb", _HIGHEST_MEASURE),
    "disk_total_gb": ("total_gb", _HIGHEST_MEASURE),
}


def to_snapshot(message: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot of a message; its disk is the root, or the first one if there is no root."""
    metrics = _mapping(message.get("metrics"))
    values: dict[str, float | None] = {}
    for name, (group, source, high) in _MEASURES.items():
        values[name] = _measure(_mapping(metrics.get(group)).get(source), high)
    for name, source in _MEMORY.items():
        gigabytes = _measure(_mapping(metrics.get("memory")).get(source), _HIGHEST_MEASURE / 1024)
        values[name] = None if gigabytes is None else round(gigabytes * 1024)
    disk = _main_disk(_mapping(_mapping(metrics.get("disk")).get("disk_usage")))
    for name, (source, high) in _DISK.items():
        values[name] = _measure(disk.get(source), high)
    for name, (group, source) in _COUNTS.items():
        values[name] = _count(_mapping(metrics.get(group)).get(source))
    known = {name: value for name, value in values.items() if value is not None}
    return {"node_id": message["node_id"], "timestamp": message["timestamp"], **known}


_transform_to_api_format = to_snapshot  # the name of this function in older agents


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _main_disk(disks: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(disks.get("/") or next(iter(disks.values()), None))


def _measure(value: Any, high: float) -> float | None:
    """The number, if the hub accepts it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) and 0 <= value <= high else None


def _count(value: Any) -> int | None:
    number = _measure(value, math.inf)
    return None if number is None or number > _HIGHEST_COUNT else int(number)
