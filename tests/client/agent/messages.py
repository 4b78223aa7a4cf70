"""The message that WebSocket clients have always got, and the snapshot it becomes."""

from __future__ import annotations

from typing import Any


def make_message(**groups: Any) -> dict[str, Any]:
    """A message with every field; a group given replaces the one of that name."""
    return {
        "timestamp": "2026-01-31T12:00:00.000001Z",
        "node_id": "192.168.1.10",
        "metrics": {
            "cpu": {
                "cpu_usage_percent": 45.2,
                "cpu_per_core_percent": [50.1, 40.3],
                "load_avg_1min": 2.5,
                "load_avg_5min": 2.1,
                "load_avg_15min": 1.8,
            },
            "memory": {
                "memory_total_gb": 16.0,
                "memory_used_gb": 8.5,
                "memory_available_gb": 7.5,
                "memory_usage_percent": 53.1,
                "swap_total_gb": 4.0,
                "swap_used_gb": 0.5,
                "swap_usage_percent": 12.5,
            },
            "disk": {
                "disk_usage": {
                    "/home": {
                        "total_gb": 200.0,
                        "used_gb": 80.0,
                        "free_gb": 120.0,
                        "usage_percent": 40.0,
                    },
                    "/": {
                        "total_gb": 100.0,
                        "used_gb": 82.1,
                        "free_gb": 17.9,
                        "usage_percent": 82.1,
                    },
                },
                "disk_io": {"read_mb_per_sec": 5.2, "write_mb_per_sec": 2.1},
            },
            "network": {
                "bytes_sent_mb_per_sec": 1.5,
                "bytes_recv_mb_per_sec": 3.2,
                "bytes_sent": 1234567,
                "bytes_recv": 2345678,
                "packets_sent": 12345,
                "packets_recv": 23456,
                "active_connections": 45,
            },
            "processes": {
                "process_count": 234,
                "top_memory_processes": [{"pid": 1, "name": "java", "memory_percent": 15.2}],
            },
            "system": {"uptime_seconds": 3600},
            **groups,
        },
    }


SNAPSHOT = {
    "node_id": "192.168.1.10",
    "timestamp": "2026-01-31T12:00:00.000001Z",
    "cpu_percent": 45.2,
    "memory_percent": 53.1,
    "memory_used_mb": 8704,
    "memory_total_mb": 16384,
    "disk_percent": 82.1,
    "disk_used_gb": 82.1,
    "disk_total_gb": 100.0,
    "network_rx_bytes": 2345678,
    "network_tx_bytes": 1234567,
    "network_rx_rate_mbps": 3.2,
    "network_tx_rate_mbps": 1.5,
    "uptime_seconds": 3600,
    "process_count": 234,
    "active_connections": 45,
    "load_avg_1m": 2.5,
    "load_avg_5m": 2.1,
    "load_avg_15m": 1.8,
}
