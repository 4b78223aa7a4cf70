"""Sends the agent's queue, and the spool of this node's jobs, to the hub."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.queue.drain import Drain
from telemetry_client.wire.client import TelemetryClient

logger = logging.getLogger("telemetry_client.agent")

IDLE_SECONDS = 1.0  # between checks of an empty queue: other processes write to it
RETRY_SECONDS = 30.0  # for a queue that cannot be opened, or does not exist
STATISTICS_SECONDS = 60.0

OpenQueue = Callable[[Path], TelemetryQueue]


class Lane:
    """Sends one queue. A failure of the queue is logged once, and the queue is tried again."""

    def __init__(
        self,
        name: str,
        path: Path,
        client: TelemetryClient,
        *,
        is_optional: bool = False,
        open_queue: OpenQueue = TelemetryQueue,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._name = name
        self._path = path
        self._client = client
        self._is_optional = is_optional
        self._open_queue = open_queue
        self._retry_seconds = retry_seconds
        self._queue: TelemetryQueue | None = None
        self._drain: Drain | None = None
        self._is_broken = False
        self._sent_before = 0

    def step(self) -> float:
        """Send at most one batch; returns the seconds until the next step."""
        try:
            drain = self._opened()
            wait = None if drain is None else drain.step()
        except QueueError as exc:
            self._log_broken(exc)
            self.close()
            return self._retry_seconds
        if drain is None:
            return self._retry_seconds
        if self._is_broken:
            self._is_broken = False
            logger.info("[TelemetryPoster] The %s works again", self._name)
        return IDLE_SECONDS if wait is None else wait

    def open(self) -> bool:
        """Open the queue now; returns whether that worked."""
        try:
            return self._opened() is not None
        except QueueError as exc:
            self._log_broken(exc)
            return False

    def statistics(self) -> str | None:
        """What the queue holds, as a sentence; None if it cannot be read."""
        if self._queue is None or self._drain is None:
            return None
        try:
            stats = self._queue.get_stats()
        except QueueError:
            return None
        oldest = stats["oldest_age_seconds"]
        return (
            f"{self._name}: {stats['pending'] + stats['leased']} waiting"
            f"{'' if oldest is None else f' (oldest {oldest:.0f} s)'}, {stats['dead']} dead, "
            f"evicted {stats['evicted_by_count'] + stats['evicted_by_age']}, "
            f"sent {self._sent_before + self._drain.stats.sent}"
        )

    def close(self) -> None:
        """Close the queue."""
        if self._drain is not None:
            self._sent_before += self._drain.stats.sent
        if self._queue is not None:
            self._queue.close()
        self._queue = self._drain = None

    def _opened(self) -> Drain | None:
        if self._drain is None:
            if self._is_optional and not _is_usable(self._path):
                return None
            self._queue = self._open_queue(self._path)
            self._drain = Drain(self._queue, self._client)
        return self._drain

    def _log_broken(self, exc: QueueError) -> None:
        if not self._is_broken:
            self._is_broken = True
            logger.error("[TelemetryPoster] The %s fails: %s", self._name, exc)


def _is_usable(path: Path) -> bool:
    """Whether the file exists or can be created. Created by the agent it belongs to the agent, and
    jobs that run as root can write to it too.
    """
    return path.exists() or os.access(path.parent, os.W_OK)


class PostLoop:
    """The POST thread: sends each queue in turn, and logs statistics once a minute."""

    def __init__(
        self, lanes: list[Lane], *, statistics_seconds: float = STATISTICS_SECONDS
    ) -> None:
        self._lanes = lanes
        self._statistics_seconds = statistics_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-post", daemon=True)

    def start(self) -> None:
        """Start to post."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further push."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait for the current push, or give it up: the lease of its entries ends by itself."""
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        logger.info("[TelemetryPoster] POST loop started")
        due = [0.0] * len(self._lanes)
        report_at = time.monotonic()
        while not self._stop.is_set():
            for index, lane in enumerate(self._lanes):
                if due[index] <= time.monotonic() and not self._stop.is_set():
                    due[index] = time.monotonic() + self._step(lane)
            if report_at <= time.monotonic():
                report_at = time.monotonic() + self._statistics_seconds
                self._report()
            self._stop.wait(max(0.0, min(*due, report_at) - time.monotonic()))
        for lane in self._lanes:
            lane.close()

    def _step(self, lane: Lane) -> float:
        try:
            return lane.step()
        except Exception:
            logger.exception("[TelemetryPoster] A batch failed")
            return RETRY_SECONDS

    def _report(self) -> None:
        for lane in self._lanes:
            if (sentence := lane.statistics()) is not None:
                logger.info("[TelemetryPoster] %s", sentence)
