"""A client that raises nothing, whatever it wraps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.results import RESULTS, Result, Unreachable

logger = logging.getLogger("telemetry_client.tracker")


class SafeClient:
    """The pushes of a `TelemetryClient`; any exception becomes `Unreachable`.

    `asking_since`: when the request that has no response yet was begun, on the monotonic clock.
    """

    def __init__(self, make: Callable[[], TelemetryClient], job_id: str) -> None:
        self._client: TelemetryClient | None = None
        self._problem = ""
        self.asking_since: float | None = None
        try:
            self._client = make()
        except Exception as exc:  # an invalid address
            self._problem = str(exc)
            logger.error("No telemetry can be sent: job_id=%s reason=%s", job_id, exc)

    def push(self, update: Mapping[str, Any]) -> Result:
        return self._try(lambda client: client.push(update))

    def push_batch(self, updates: Sequence[Mapping[str, Any]]) -> Result:
        return self._try(lambda client: client.push_batch(updates))

    def push_snapshot(self, snapshot: Mapping[str, Any]) -> Result:
        return self._try(lambda client: client.push_snapshot(snapshot))

    def push_snapshots(self, snapshots: Sequence[Mapping[str, Any]]) -> Result:
        return self._try(lambda client: client.push_snapshots(snapshots))

    def close(self) -> None:
        if self._client is not None:
            try:
                self._client.close()
            except Exception:
                logger.debug("closing the client failed", exc_info=True)

    def _try(self, action: Callable[[TelemetryClient], Result]) -> Result:
        if self._client is None:
            return Unreachable(self._problem)
        self.asking_since = time.monotonic()
        try:
            result = action(self._client)
        except Exception as exc:
            return Unreachable(f"{type(exc).__name__}: {exc}")
        finally:
            self.asking_since = None
        if isinstance(result, RESULTS):
            return result
        return Unreachable(f"the client returned {type(result).__name__}")
