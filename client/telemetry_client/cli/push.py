"""`telemetry push`: one update, and what the hub made of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from telemetry_client.client import TelemetryClient
from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.results import Accepted, Refused
from telemetry_client.settings import default_spool
from telemetry_client.updates import now_stamp, percent_of, without_nulls

ACCEPTED, REFUSED, UNREACHABLE = 0, 1, 2


def push_update(
    named: Mapping[str, Any], *, url: str | None, spool: Path | None, keeps: bool
) -> int:
    """Push what is named, None is not; the exit status. The hub judges the values."""
    update = without_nulls(dict(named))
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
        print("accepted, as a repeat of what the hub had" if result.duplicates else "accepted")
        return ACCEPTED
    if isinstance(result, Refused):
        print(f"refused ({result.status}):", file=sys.stderr)
        for reason in result.reason.split("; "):
            print(f"  {reason}", file=sys.stderr)
        return REFUSED
    print(f"not reachable: {result.reason}", file=sys.stderr)
    if keeps:
        _keep(update, spool)
    else:
        print("It is not kept.", file=sys.stderr)
    return UNREACHABLE


def _keep(update: Mapping[str, Any], spool: Path | None) -> None:
    try:
        path = spool or default_spool()
        path.parent.mkdir(parents=True, exist_ok=True)
        with TelemetryQueue(path) as queue:
            queue.enqueue(update, important=True)
    except (QueueError, OSError) as exc:
        print(f"It is not kept either: {exc}", file=sys.stderr)
        return
    print(
        f"It is kept in {path}, and sent by `telemetry queue drain` or the next job that uses it.",
        file=sys.stderr,
    )
