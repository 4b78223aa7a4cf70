"""Moves snapshots from the collector to the queue, in a thread: a slow disk delays no measurement.

While the queue fails, snapshots are kept in bounded memory and pushed from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.queue.payload import losses_of
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.results import Refused, Unreachable

logger = logging.getLogger("telemetry_client.agent")

MAX_KEPT = 1000  # as many as the queue holds
RETRY_SECONDS = 30.0
STOP_SECONDS = 1.0

Snapshot = Mapping[str, Any]


class Outbox:
    """Accepts snapshots without waiting. When full it drops the oldest, and the newest one reports
    how many (`lost_snapshots`).
    """

    def __init__(
        self,
        queue_path: Path | str,
        client: TelemetryClient,
        *,
        open_queue: Callable[[Path | str], TelemetryQueue] = TelemetryQueue,
        max_kept: int = MAX_KEPT,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._path = queue_path
        self._client = client
        self._open_queue = open_queue
        self._retry_seconds = retry_seconds
        self._queue: TelemetryQueue | None = None
        self._kept: deque[Snapshot] = deque(maxlen=max_kept)
        self._lock = threading.Lock()  # of the deque; never held during I/O
        self._wake = threading.Event()
        self._stopping = False
        self._is_broken = False
        self._thread = threading.Thread(target=self._run, name="telemetry-outbox", daemon=True)
        self.dropped_total = 0

    def start(self) -> None:
        """Start to move snapshots to the queue."""
        self._thread.start()

    def put(self, snapshot: Snapshot) -> None:
        """Add a snapshot."""
        with self._lock:
            if len(self._kept) == self._kept.maxlen:
                self.dropped_total += 1
                lost = 1 + losses_of(self._kept.popleft())
                snapshot = {**snapshot, "lost_snapshots": lost}
            self._kept.append(snapshot)
        self._wake.set()

    def close(self) -> None:
        """Move the remaining snapshots; waits a second at most."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_SECONDS)
        if self._kept or self.dropped_total:
            logger.error(
                "[telemetry-ws] LOST at exit: %d snapshots kept in memory; dropped before: %d",
                len(self._kept),
                self.dropped_total,
            )

    def _run(self) -> None:
        self._wake.set()  # to open the queue before the first snapshot
        while not self._stopping or self._wake.is_set():
            self._wake.wait(self._retry_seconds if self._kept else None)
            self._wake.clear()
            try:
                self._move()
            except Exception:
                logger.exception("[telemetry-ws] Could not move a snapshot to the queue")
                time.sleep(0.1)  # do not loop without a pause
        if self._queue is not None:
            self._queue.close()

    def _move(self) -> None:
        try:
            if self._queue is None:
                self._queue = self._open_queue(self._path)
                logger.info("[telemetry-ws] Telemetry queue initialized for HTTP POST")
            while self._kept:
                snapshot = self._kept[0]
                self._queue.enqueue(dict(snapshot))
                self._forget(snapshot)
                logger.info("[telemetry-ws] Enqueued snapshot for HTTP POST")
                self._log_working()
        except QueueError as exc:
            self._log_broken(exc)
            if self._kept and not self._stopping:
                self._post()

    def _post(self) -> None:
        """Push what the queue did not accept; what the hub refuses is dropped."""
        waiting = list(self._kept)
        result = self._client.push_snapshots(waiting)
        if isinstance(result, Unreachable):
            return
        if isinstance(result, Refused):
            refused = dict.fromkeys(range(len(waiting)), result.reason)
        else:
            refused = {item.index: item.reason for item in result.rejected if item.names_fields}
            failed = {item.index for item in result.rejected if not item.names_fields}
            waiting = [item for index, item in enumerate(waiting) if index not in failed]
        for reason in refused.values():
            logger.error("[telemetry-ws] DROPPED a snapshot that the hub refused: %s", reason)
        for snapshot in waiting:
            self._forget(snapshot)

    def _forget(self, snapshot: Snapshot) -> None:
        with self._lock, suppress(ValueError):  # the full deque may have dropped it meanwhile
            self._kept.remove(snapshot)

    def _log_working(self) -> None:
        if self._is_broken:
            self._is_broken = False
            logger.info("[telemetry-ws] The queue accepts snapshots again")

    def _log_broken(self, exc: QueueError) -> None:
        if not self._is_broken:
            self._is_broken = True
            logger.error(
                "[telemetry-ws] Snapshots are kept in memory (%d at most) and posted from there, "
                "because the queue fails: %s",
                self._kept.maxlen,
                exc,
            )
