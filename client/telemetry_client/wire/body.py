"""The body of an update, as the hub reads it, from progress that is clean (`clean_progress`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from telemetry_client.progress import DiskProgress, Progress, percent_of
from telemetry_client.wire.timestamps import now_stamp

LARGEST_BODY = 1_000  # bytes; the hub's documented size of an update is 1 KB

Body = dict[str, Any]


def to_body(
    progress: Progress,
    *,
    job_id: str,
    job_type: str,
    status: str = "running",
    timestamp: str | None = None,
    identity: dict[str, str | None] | None = None,
    disks: Iterable[Body] | None = None,
) -> Body:
    """The update that a progress is, as an item of a batch. `disks`: None for all of them.

    Unknown values are left out: to the hub that means "unchanged". The end of a completed job is
    100 percent, whatever was counted.
    """
    body: Body = {
        "job_id": job_id,
        "job_type": job_type,
        "status": status,
        "current_phase": progress.phase,
        "bytes_transferred": progress.bytes_transferred,
        "total_bytes": progress.total_bytes,
        "transfer_speed_bps": progress.speed_bps,
        "eta_seconds": 0 if status == "completed" else progress.eta_seconds,
        "progress_percent": _percent(progress, status),
        "error": progress.error,
        **(identity or {}),
        "timestamp": timestamp or now_stamp(),
        "disks": list(disk_bodies(progress.disks) if disks is None else disks) or None,
    }
    return without_nulls(body)


def disk_bodies(disks: Iterable[DiskProgress]) -> list[Body]:
    """The disks' parts of an update."""
    return [disk_body(disk) for disk in disks]


def disk_body(disk: DiskProgress) -> Body:
    """A disk's part of an update."""
    return without_nulls(
        {
            "disk_index": disk.disk_index,
            "bytes_transferred": disk.bytes_transferred,
            "total_bytes": disk.total_bytes,
            "transfer_speed_bps": disk.speed_bps,
            "progress_percent": _percent(disk, disk.status),
            "status": disk.status,
            "error_message": disk.error,
        }
    )


def _percent(progress: Progress | DiskProgress, status: str | None) -> float | None:
    if status == "completed":
        return 100.0
    percent = percent_of(progress.bytes_transferred, progress.total_bytes)
    return progress.percent if percent is None else percent


def without_nulls(body: Body) -> Body:
    """The fields that are known."""
    return {name: value for name, value in body.items() if value is not None}


def size_of(body: Any) -> int:
    """The number of bytes of its compact JSON."""
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())
