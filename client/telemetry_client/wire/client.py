"""The hub's API for senders: pushes and their results."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from telemetry_client.settings import Settings, job_type_of
from telemetry_client.wire.backoff import parse_date
from telemetry_client.wire.results import Accepted, Refused, Rejection, Result, Unreachable
from telemetry_client.wire.transport import Answer, Transport
from telemetry_client.wire.verdicts import (
    NOT_THE_HUB,
    describe_foreign,
    describe_problem,
    is_problem,
    judge_batch,
    judge_push,
)

PREFIX = "/api/v1"
BATCH_PATH = f"{PREFIX}/telemetry/batch"
SNAPSHOT_PATH = f"{PREFIX}/telemetry/snapshot"
# 5 compresses telemetry to a tenth; a higher level costs more CPU and saves almost nothing.
GZIP_LEVEL = 5


@dataclass(frozen=True)
class HealthReport:
    """What the hub reports about itself, and how it answered."""

    is_reachable: bool
    status: str | None = None  # ok, degraded or unavailable
    version: str | None = None
    clock_offset_seconds: float | None = (
        None  # the hub's clock minus ours, to within about a second
    )
    latency_seconds: float | None = None
    reason: str | None = None  # why it is not reachable
    answered_by: str | None = None  # what answered in its place


class TelemetryClient:
    """Pushes to the hub over pooled connections, from any thread.

    Failures of the network, the hub or a payload are results and never raised. Raises ValueError
    for an invalid address or token.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        connect_timeout: float = 2.0,
    ) -> None:
        settings = Settings.from_env()
        self._transport = Transport(
            settings.url if url is None else url,
            settings.token if token is None else token,
            timeout=timeout,
            connect_timeout=connect_timeout,
        )
        self.url = self._transport.url

    def push(self, update: Mapping[str, Any]) -> Result:
        """Push one update, as an item of a batch: `job_id`, `job_type` and its other fields."""
        job_id = update.get("job_id")
        if not isinstance(job_id, str) or job_id in ("", ".", ".."):
            return Refused(400, "job_id: is missing or is not a valid job id")
        job_type = update.get("job_type") or job_type_of(job_id)
        body = _encode(update)
        if isinstance(body, Refused):
            return body
        path = f"{PREFIX}/telemetry/{_quote(str(job_type))}/{_quote(job_id)}"
        answer = self._transport.post(path, body)
        if isinstance(answer, Unreachable):
            return answer
        return judge_push(answer)

    def push_batch(self, updates: Sequence[Mapping[str, Any]]) -> Result:
        """Push many updates of any jobs; each is accepted or rejected by itself."""
        return self._push_many(BATCH_PATH, "updates", updates)

    def push_snapshot(self, snapshot: Mapping[str, Any]) -> Result:
        """Push one snapshot of a node's health."""
        return push_snapshot_to(self._transport, SNAPSHOT_PATH, snapshot)

    def push_snapshots(self, snapshots: Sequence[Mapping[str, Any]]) -> Result:
        """Push many snapshots; each is accepted or rejected by itself."""
        return self._push_many(SNAPSHOT_PATH, "snapshots", snapshots)

    def check_ingest(self) -> Result:
        """Check that address and token would allow a push; stores nothing."""
        return self._post_items(BATCH_PATH, "updates", [])

    def health(self) -> HealthReport:
        """Ask the hub for its health. A hub that reports `unavailable` is reachable."""
        answer = self._transport.get(f"{PREFIX}/health")
        if isinstance(answer, Unreachable):
            return HealthReport(is_reachable=False, reason=answer.reason)
        body = answer.json
        if not isinstance(body, Mapping) or answer.status not in (200, 503) or "checks" not in body:
            if is_problem(answer):
                return HealthReport(False, reason=describe_problem(answer.status, body))
            return HealthReport(False, reason=NOT_THE_HUB, answered_by=describe_foreign(answer))
        return HealthReport(
            is_reachable=True,
            status=str(body.get("status")),
            version=str(body.get("version")),
            clock_offset_seconds=_clock_offset(answer),
            latency_seconds=answer.elapsed_seconds,
        )

    def session(self) -> Mapping[str, Any] | None:
        """What the hub knows of our token (`GET /session`); None if it does not answer."""
        answer = self._transport.get(f"{PREFIX}/session")
        if isinstance(answer, Unreachable) or answer.status != 200:
            return None
        body = answer.json
        return body if isinstance(body, Mapping) else None

    def close(self) -> None:
        """Close the pooled connections; later pushes return Unreachable."""
        self._transport.close()

    def __enter__(self) -> TelemetryClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _push_many(self, path: str, key: str, items: Sequence[Mapping[str, Any]]) -> Result:
        """Post the items that can be encoded, and reject the others."""
        encoded: dict[int, bytes] = {}
        rejections: list[Rejection] = []
        for index, item in enumerate(items):
            body = _encode(item)
            if isinstance(body, Refused):
                rejections.append(Rejection(index, body.reason))
            else:
                encoded[index] = body
        if not encoded:
            return Accepted(rejected=tuple(rejections))
        result = self._post_items(path, key, list(encoded.values()))
        if not isinstance(result, Accepted):
            return result
        positions = list(encoded)
        refused = [replace(item, index=positions[item.index]) for item in result.rejected]
        rejected = sorted([*refused, *rejections], key=lambda rejection: rejection.index)
        unapplied = [replace(item, index=positions[item.index]) for item in result.not_applied]
        return replace(result, rejected=tuple(rejected), not_applied=tuple(unapplied))

    def _post_items(self, path: str, key: str, items: list[bytes]) -> Result:
        body = b'{"%s":[%s]}' % (key.encode(), b",".join(items))
        packed = gzip.compress(body, GZIP_LEVEL, mtime=0)
        answer = self._transport.post(path, packed, headers={"Content-Encoding": "gzip"})
        if isinstance(answer, Unreachable):
            return answer
        return judge_batch(answer, len(items))


def push_snapshot_to(transport: Transport, path: str, snapshot: Mapping[str, Any]) -> Result:
    """Post one snapshot to a path."""
    body = _encode(snapshot)
    if isinstance(body, Refused):
        return body
    answer = transport.post(path, body)
    if isinstance(answer, Unreachable):
        return answer
    return judge_batch(answer, 1)


def _encode(payload: Mapping[str, Any]) -> bytes | Refused:
    """Compact UTF-8. A payload that is not JSON is refused here, as the hub would do.

    File names may contain bytes that are not text; they are sent as question marks, because the
    rest of the update is still useful.
    """
    try:
        text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        return Refused(400, f"it cannot be encoded as JSON: {exc}")
    return text.encode("utf-8", "replace")


def _quote(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _clock_offset(answer: Answer) -> float | None:
    """The hub's clock minus ours, from a header in whole seconds."""
    hub = parse_date(answer.headers.get("Date"))
    if hub is None:
        return None
    now = datetime.now(timezone.utc).timestamp()
    return hub.timestamp() + 0.5 - (now - answer.elapsed_seconds / 2)
