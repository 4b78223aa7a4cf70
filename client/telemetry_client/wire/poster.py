"""Posts node snapshots one by one with retries, for agents that have a loop of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from telemetry_client.wire.backoff import RETRY_BACKOFF_SECONDS, after_retry_after, full_jitter
from telemetry_client.wire.client import push_snapshot_to
from telemetry_client.wire.results import Accepted, Refused, Result
from telemetry_client.wire.transport import Transport

logger = logging.getLogger("telemetry_client.poster")

SNAPSHOT_PATH = "/api/telemetry/snapshot"  # without /v1, as existing agents use it


class TelemetryPoster:
    """Pooled connections to one hub. Thread-safe; closing it ends a wait early.

    `retry_backoff`: the longest wait, in seconds, before each retry; its length is the number of
    retries. Raises ValueError for an invalid address.
    """

    def __init__(
        self,
        backend_url: str,
        jwt_token: str | None = None,
        retry_backoff: Sequence[float] = RETRY_BACKOFF_SECONDS,
        timeout: float = 10,
    ) -> None:
        self.backend_url = backend_url.rstrip("/")
        self.retry_backoff = list(retry_backoff)
        self.timeout = timeout
        self._transport = Transport(
            backend_url, jwt_token, timeout=timeout, connect_timeout=timeout
        )
        self._closing = threading.Event()

    def post_snapshot(self, payload: Mapping[str, Any]) -> tuple[bool, str | None]:
        """Post once. Returns (True, None), or False and why: `connection_error`, `timeout`, or a
        sentence with the status.
        """
        error = _error(self._post(payload))
        return error is None, error

    def post_with_retry(self, payload: Mapping[str, Any], retry_count: int = 0) -> bool:
        """Post until it is stored, refused, or no retries are left; `retry_count` are used already.

        Waits between tries, with full jitter and at least as long as a Retry-After asks. Use a
        queue and `Drain` to avoid waiting.
        """
        for step in (*self.retry_backoff[retry_count:], None):
            result = self._post(payload)
            if isinstance(result, Accepted) and not result.rejected:
                return True
            logger.warning("[TelemetryPoster] snapshot not stored: %s", _error(result))
            if step is None or isinstance(result, (Accepted, Refused)):
                return False
            retry_after = result.retry_after_seconds
            wait = full_jitter(step) if retry_after is None else after_retry_after(retry_after)
            if self._closing.wait(wait):
                return False
        return False

    def close(self) -> None:
        """End any wait and close the connections."""
        self._closing.set()
        self._transport.close()

    def __enter__(self) -> TelemetryPoster:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _post(self, payload: Mapping[str, Any]) -> Result:
        return push_snapshot_to(self._transport, SNAPSHOT_PATH, payload)


def _error(result: Result) -> str | None:
    if isinstance(result, Accepted):
        return f"rejected: {result.rejected[0].reason}" if result.rejected else None
    if isinstance(result, Refused):
        return f"refused with status {result.status}: {result.reason}"
    if not result.is_from_hub:
        return result.reason
    return f"status {result.status}: {result.reason}"
