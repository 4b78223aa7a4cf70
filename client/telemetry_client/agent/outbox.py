"""From the collector into the queue, by a thread of its own: a slow disk never holds a measurement.

While the queue refuses, snapshots are kept in bounded memory and go to the hub straight away.
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

from telemetry_client.client import TelemetryClient
from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.results import Refused, Unreachable

logger = logging.getLogger("telemetry_client.agent")

MOST_KEPT = 1000  # as many as the queue itself keeps
RETRY_SECONDS = 30.0
STOP_SECONDS = 1.0

Snapshot = Mapping[str, Any]


class Outbox:
    """Takes snapshots without waiting. Full, it forgets the oldest, and counts them."""

    def __init__(
        self,
        queue_path: Path | str,
        client: TelemetryClient,
        *,
        open_queue: Callable[[Path | str], TelemetryQueue] = TelemetryQueue,
        most_kept: int = MOST_KEPT,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._path = queue_path
        self._client = client
        self._open_queue = open_queue
        self._retry_seconds = retry_seconds
        self._queue: TelemetryQueue | None = None
        self._kept: deque[Snapshot] = deque(maxlen=most_kept)
        self._lock = threading.Lock()  # of the deque; never held while anything waits
        self._wake = threading.Event()
        self._stopping = False
        self._is_broken = False
        self._thread = threading.Thread(target=self._run, name="telemetry-outbox", daemon=True)
        self.dropped_total = 0

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def put(self, snapshot: Snapshot) -> None:
        """Leave a snapshot."""
        with self._lock:
            self.dropped_total += len(self._kept) == self._kept.maxlen
            self._kept.append(snapshot)
        self._wake.set()

    def close(self) -> None:
        """Hand over what is left, for a second at most."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_SECONDS)
        if self._kept or self.dropped_total:
            logger.error(
                "[telemetry-ws] LOST with the end: %d snapshots kept in memory; dropped before: %d",
                len(self._kept),
                self.dropped_total,
            )

    def _run(self) -> None:
        self._wake.set()  # to open the queue before there is anything to put in
        while not self._stopping or self._wake.is_set():
            self._wake.wait(self._retry_seconds if self._kept else None)
            self._wake.clear()
            try:
                self._hand_over()
            except Exception:
                logger.exception("[telemetry-ws] Could not hand over a snapshot")
                time.sleep(0.1)  # whatever it is, not in a circle
        if self._queue is not None:
            self._queue.close()

    def _hand_over(self) -> None:
        try:
            if self._queue is None:
                self._queue = self._open_queue(self._path)
                logger.info("[telemetry-ws] Telemetry queue initialized for HTTP POST")
            while self._kept:
                snapshot = self._kept[0]
                self._queue.enqueue(dict(snapshot))
                self._forget(snapshot)
                logger.info("[telemetry-ws] Enqueued snapshot for HTTP POST")
                self._say_working()
        except QueueError as exc:
            self._say_broken(exc)
            if self._kept and not self._stopping:
                self._post()

    def _post(self) -> None:
        """What the queue would not take, to the hub; what the hub will never take is dropped."""
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
        with self._lock, suppress(ValueError):  # a full deque may have lost it meanwhile
            self._kept.remove(snapshot)

    def _say_working(self) -> None:
        if self._is_broken:
            self._is_broken = False
            logger.info("[telemetry-ws] The queue takes snapshots again")

    def _say_broken(self, exc: QueueError) -> None:
        if not self._is_broken:
            self._is_broken = True
            logger.error(
                "[telemetry-ws] Snapshots are kept in memory (%d at most) and posted from there, "
                "because the queue fails: %s",
                self._kept.maxlen,
                exc,
            )
