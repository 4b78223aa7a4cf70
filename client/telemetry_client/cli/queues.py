"""`telemetry queue`: shows a queue of unsent updates, sends it, and replays dead letters."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from telemetry_client.cli.bar import duration_text
from telemetry_client.errors import DiskFull, QueueError
from telemetry_client.queue import DeadLetter, MemoryQueue, Queue, TelemetryQueue
from telemetry_client.queue.drain import Drain
from telemetry_client.settings import default_spool
from telemetry_client.wire.client import TelemetryClient

OK, FAILED, UNREACHABLE = 0, 1, 2
_IDLE_SECONDS = 10.0  # the rest belongs to a running job, or waits for its next try


def show_stats(path: Path | None) -> int:
    """Print the counts of the queue, one per line."""
    return _with_queue(path, lambda queue: _print_stats(queue), read_only=True)


def drain_queue(path: Path | None, url: str | None, wait_seconds: float) -> int:
    """Send everything that may be sent now, also from a full disk."""
    try:
        return _with_queue(path, lambda queue: _drain(queue, url, wait_seconds))
    except DiskFull as exc:
        print(str(exc), file=sys.stderr)
    return _with_queue(path, lambda queue: _drain_copy(queue, url, wait_seconds), read_only=True)


def show_dead(path: Path | None, limit: int) -> int:
    return _with_queue(path, lambda queue: _print_dead(queue.dead_letters(limit)), read_only=True)


def replay_dead(path: Path | None, ids: Sequence[int] | None) -> int:
    return _with_queue(path, lambda queue: _replay(queue, ids))


def _with_queue(
    path: Path | None, use: Callable[[TelemetryQueue], int], *, read_only: bool = False
) -> int:
    """Use an existing queue. None is created: the path may be mistyped."""
    try:
        path = path or default_spool()
        if not path.exists():
            print(f"{path}: no such queue; nothing had to wait here.", file=sys.stderr)
            return OK
        with TelemetryQueue(path, read_only=read_only) as queue:
            return use(queue)
    except QueueError as exc:
        if isinstance(exc, DiskFull) and not read_only:
            raise
        print(str(exc), file=sys.stderr)
        return FAILED


def _print_stats(queue: TelemetryQueue) -> int:
    for name, value in queue.get_stats().items():
        print(f"{name:24} {'-' if value is None else value}")
    return OK


def _print_dead(letters: Sequence[DeadLetter]) -> int:
    if not letters:
        print("No dead letters.")
        return OK
    table = Table("id", "died", "job", "status", "reason", box=box.SIMPLE_HEAD)
    for letter in letters:
        payload = letter.payload
        died = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.died_at))
        stream = str(payload.get("job_id") or payload.get("node_id") or "-")
        table.add_row(str(letter.id), died, stream, str(payload.get("status", "-")), letter.reason)
    if sys.stdout.isatty():
        Console().print(table)
        return OK
    for letter in letters:  # for programs: everything, one JSON object per line
        print(
            json.dumps(
                {
                    "id": letter.id,
                    "died_at": letter.died_at,
                    "tries": letter.tries,
                    "reason": letter.reason,
                    "payload": letter.payload,
                }
            )
        )
    return OK


def _replay(queue: TelemetryQueue, ids: Sequence[int] | None) -> int:
    wanted = list(ids) if ids else None
    count = queue.replay(wanted)
    print(f"{count} put back into the queue.")
    if wanted and count < len(wanted):
        print(f"{len(wanted) - count} of those ids are not dead letters.", file=sys.stderr)
        return FAILED
    return OK


def _drain_copy(queue: TelemetryQueue, url: str | None, wait_seconds: float) -> int:
    """Send a copy of what waits. Nothing can be removed from the file; the hub stores a repeat
    once.
    """
    entries = queue.peek()
    copy = MemoryQueue(len(entries) + 1)
    for entry in entries:
        copy.enqueue(entry.payload)
    status = _drain(copy, url, wait_seconds)
    print(
        f"The {len(entries)} entries stay in {queue.db_path}, which cannot be written. They are"
        " sent again when there is room; the hub recognises repeats.",
        file=sys.stderr,
    )
    return status


def _drain(queue: Queue, url: str | None, wait_seconds: float) -> int:
    began = time.monotonic()
    try:
        client = TelemetryClient(url)
    except ValueError as exc:
        print(str(exc), file=sys.stderr)
        return FAILED
    with client:
        drain = Drain(queue, client)
        settled, settled_at = 0, began
        while (pause := drain.step()) is not None:
            now = time.monotonic()
            if drain.stats.sent + drain.stats.dead > settled:
                settled, settled_at = drain.stats.sent + drain.stats.dead, now
            if drain.is_away and now - began + pause > wait_seconds:
                break
            if not drain.is_away and now - settled_at > max(wait_seconds, _IDLE_SECONDS):
                break
            time.sleep(pause)
    return _report(queue, drain, time.monotonic() - began)


def _report(queue: Queue, drain: Drain, seconds: float) -> int:
    sent, left = drain.stats.sent, queue.get_queue_size()
    print(f"{sent} sent in {duration_text(seconds)}, {left} left, {drain.stats.dead} refused.")
    if unapplied := drain.stats.not_applied:
        print(
            f"{unapplied} of them are stored and did not change their job: newer updates or its end"
            " came before."
        )
    if drain.is_away:
        print("The hub cannot be reached; `telemetry doctor` checks why.", file=sys.stderr)
        return UNREACHABLE
    return FAILED if drain.stats.dead else OK
