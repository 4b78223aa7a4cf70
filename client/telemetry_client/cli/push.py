"""`telemetry push`: one update and the hub's response to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from telemetry_client.errors import QueueError
from telemetry_client.progress import percent_of
from telemetry_client.queue import TelemetryQueue
from telemetry_client.settings import default_spool
from telemetry_client.wire.body import without_nulls
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.results import Accepted, Refused
from telemetry_client.wire.timestamps import now_stamp

ACCEPTED, REFUSED, UNREACHABLE = 0, 1, 2


def push_update(
    fields: Mapping[str, Any], *, url: str | None, spool: Path | None, keeps: bool
) -> int:
    """Push the fields that are not None; returns the exit status. The hub checks the values."""
    update = without_nulls(dict(fields))
    update.setdefault("timestamp", now_stamp())
    percent = percent_of(update.get("bytes_transferred"), update.get("total_bytes"))
    if percent is not None:
        update.setdefault("progress_percent", percent)
    try:
        with TelemetryClient(url) as client:
            result = client.push(update)
    except ValueError as exc:
        print(f"refused: {exc}", file=sys.stderr)
        return REFUSED
    if isinstance(result, Accepted):
        _print_receipt(result)
        return ACCEPTED
    if isinstance(result, Refused):
        print(f"refused ({result.status}):", file=sys.stderr)
        for reason in result.reason.split("; "):
            print(f"  {reason}", file=sys.stderr)
        return REFUSED
    print(f"the hub cannot be reached: {result.reason}", file=sys.stderr)
    if keeps:
        _keep(update, spool)
    else:
        print("The update is not kept.", file=sys.stderr)
    return UNREACHABLE


def _print_receipt(receipt: Accepted) -> None:
    """Whether the update changed its job; that it is stored, the exit status says."""
    run = "" if receipt.run is None else f" to run {receipt.run}"
    if receipt.duplicates:
        print("stored before (a repeat)")
    elif not receipt.not_applied:
        print(f"applied{run}")
    for item in receipt.not_applied:
        print(f"stored, not applied{run}: {item.reason}")
        if "has already ended" in item.reason:
            print("If this is another run of the job, use --new-run.", file=sys.stderr)


def _keep(update: Mapping[str, Any], spool: Path | None) -> None:
    try:
        path = spool or default_spool()
        path.parent.mkdir(parents=True, exist_ok=True)
        with TelemetryQueue(path) as queue:
            queue.enqueue(update, important=True)
    except (QueueError, OSError) as exc:
        print(f"The update cannot be kept either: {exc}", file=sys.stderr)
        return
    print(
        f"The update is kept in {path}; the next job or `telemetry queue drain` sends it.",
        file=sys.stderr,
    )
