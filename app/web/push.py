"""Decodes pushes into items for the writer, and turns the outcomes into receipts.

The web server waits for the commit on its event loop (`app.server.push`), Flask's routes wait in
their thread (`app.api.telemetry`). Both share the code in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import orjson

from app import metrics
from app.auth.scopes import Claims
from app.clock import isoformat_micros
from app.config import Config
from app.domain.runs import split_key
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.errors import RequestError
from app.ingest.queue import Item
from app.ingest.transaction import Outcome, Receipt
from app.schemas.decode import (
    Rejected,
    decode_batch,
    decode_common_update,
    decode_snapshots,
    decode_update,
)
from app.schemas.fields import identifier_problem, normalise_identifier
from app.schemas.nodes import SnapshotSchema
from app.schemas.updates import MOST_NAMED, job_type_problem
from app.web.admission import Admission, refuse_other_types
from app.web.content import JSON, NDJSON, decompress_body, media_type
from app.web.paths import PREFIX, check_job_type, read_identifier
from app.web.permissions import PUSH, PUSH_SNAPSHOT, Permission
from app.web.request import Answer, Headers

# The largest body that is decoded on the event loop. Updates with a disk or two are under 1 KiB;
# 8 KiB take less than 0.1 ms.
DECODED_ON_LOOP_BYTES = 8 * 1024
_COMMON_TYPES = frozenset({JSON, f"{JSON}; charset=utf-8"})
_SNAPSHOT = SnapshotSchema()


@dataclass(frozen=True, slots=True)
class Push:
    """A complete, admitted push, not yet decoded."""

    body: bytes
    headers: Headers
    claims: Claims | None = None


@dataclass(slots=True)
class Decoded:
    """The items of a push, and the function that turns their outcomes into the answer."""

    items: Sequence[Item]
    answer: Callable[[list[Outcome]], Answer]
    size: int = 1  # updates in all, the rejected ones included


class Pushes:
    """Decodes pushes within the hub's limits."""

    def __init__(self, config: Config, admission: Admission) -> None:
        self._largest = config.max_body_bytes
        self.largest_batch = config.max_batch_bytes
        self._admission = admission

    def decode_at_once(self, push: Push, target: Target) -> Decoded | None:
        """Decode a small single update in a common form; None for anything slower to decode."""
        job_type, job_id = target.job_type, target.job_id
        if job_type is None or job_id is None:
            return None
        headers = push.headers
        if (
            len(push.body) > DECODED_ON_LOOP_BYTES
            or len(push.body) > self._largest
            or headers.get("content-type", "").lower() not in _COMMON_TYPES
            or headers.get("content-encoding", "")
        ):
            return None
        update = decode_common_update(push.body, job_type, job_id)
        return None if update is None else Decoded([update], partial(answer_update, job_id))

    def decode_update(self, push: Push, job_type: str, job_id: str) -> Decoded:
        """One update. Raises InvalidInput, TooLarge or UnsupportedMediaType."""
        check_job_type(job_type)
        job_id = read_identifier("job_id", job_id)
        body = decompress_body(push.body, push.headers, self._largest)
        return Decoded([decode_update(body, job_type, job_id)], partial(answer_update, job_id))

    def decode_batch(self, push: Push) -> Decoded:
        """Many updates. Raises as `decode_update`, and Forbidden; see `refuse_other_types`."""
        body = decompress_body(push.body, push.headers, self.largest_batch, (JSON, NDJSON))
        items = decode_batch(body, is_ndjson=media_type(push.headers) == NDJSON)
        return self._separate_rejected(refuse_other_types(items, push.claims), push)

    def decode_snapshots(self, push: Push) -> Decoded:
        """One node snapshot or many. Raises as `decode_update`."""
        body = decompress_body(push.body, push.headers, self.largest_batch)
        snapshots = decode_snapshots(body, _SNAPSHOT)
        adjusted = [
            {"index": index, "notes": snapshot.notes}
            for index, snapshot in enumerate(snapshots)
            if isinstance(snapshot, Snapshot) and snapshot.notes
        ]
        return self._separate_rejected(snapshots, push, adjusted=adjusted)

    def _separate_rejected(
        self, items: Sequence[Update | Snapshot | Rejected], push: Push, **more: Any
    ) -> Decoded:
        """The valid items of a batch. The answer reports the rejected ones by their index.

        `more` is added to the answer.
        """
        self._admission.charge(push.claims, len(items))
        rejected: dict[int, Rejected] = {}
        valid: dict[int, Item] = {}
        for index, item in enumerate(items):
            if isinstance(item, dict):
                rejected[index] = item
            else:
                valid[index] = item
        metrics.count_rejected(len(rejected))
        answer = partial(_answer_batch, list(valid), rejected, more)
        return Decoded(list(valid.values()), answer, len(items))


# Routing.


@dataclass(frozen=True, slots=True)
class Target:
    """What a path accepts pushes of. `route` is its label in the metrics.

    `job_type` and `job_id` are set, and valid, for a single update.
    """

    route: str
    permission: Permission
    decode: Callable[[Pushes, Push], Decoded]
    job_type: str | None = None
    job_id: str | None = None


_UPDATES = f"{PREFIX}/telemetry/"
_UPDATE_ROUTE = f"{_UPDATES}<job_type:job_type>/<identifier:job_id>"
_BATCHES = {
    path: Target(path, permission, decode)
    for path, permission, decode in (
        (f"{PREFIX}/telemetry/batch", PUSH, Pushes.decode_batch),
        (f"{PREFIX}/telemetry/snapshot", PUSH_SNAPSHOT, Pushes.decode_snapshots),
        ("/api/telemetry/snapshot", PUSH_SNAPSHOT, Pushes.decode_snapshots),
    )
}


LONGEST_PATH = 400  # characters: with the longest job type and id a path has fewer


def find_target(path: str) -> Target | None:
    """The target of a POST to this path; None if Flask has to answer it."""
    return _find_target(path) if len(path) <= LONGEST_PATH else None


@lru_cache(maxsize=8192)  # far more than the jobs that run at a time
def _find_target(path: str) -> Target | None:
    if path in _BATCHES:
        return _BATCHES[path]
    if not path.startswith(_UPDATES) or "\ufffd" in path:  # possibly not UTF-8: Flask checks
        return None
    job_type, _, job_id = path[len(_UPDATES) :].partition("/")
    job_id = normalise_identifier(job_id)
    if job_type_problem(job_type) or identifier_problem(job_id):
        return None
    decode = partial(Pushes.decode_update, job_type=job_type, job_id=job_id)
    return Target(_UPDATE_ROUTE, PUSH, decode, job_type, job_id)


# Answers.


_received_at = lru_cache(maxsize=64)(isoformat_micros)  # the same for all updates of a commit


def answer_update(job_id: str, outcomes: Sequence[Outcome]) -> Answer:
    """The receipt of one update. Raises the error it was refused with."""
    receipt = outcomes[0]
    if isinstance(receipt, RequestError):
        raise receipt
    body = orjson.dumps(
        {
            "job_id": job_id,
            "run": split_key(receipt.run)[1] if "/" in receipt.run else 1,  # mostly without a call
            "status": receipt.status,
            "accepted": True,
            "duplicate": receipt.is_duplicate,
            "applied": receipt.is_applied,
            "reason": receipt.reason,
            "time": isoformat_micros(receipt.time),
            "received_at": _received_at(receipt.received_at),
        }
    )
    return Answer(200, body, [("Content-Type", JSON)])


def _answer_batch(
    positions: Sequence[int],
    rejected: dict[int, Rejected],
    more: Mapping[str, Any],
    outcomes: Sequence[Outcome],
) -> Answer:
    """The counts, the rejected items by their index, and new ones that changed nothing."""
    accepted = duplicates = 0
    not_applied: list[dict[str, Any]] = []
    for index, outcome in zip(positions, outcomes, strict=True):
        if isinstance(outcome, Receipt):
            duplicates += outcome.is_duplicate
            accepted += not outcome.is_duplicate
            if not (outcome.is_applied or outcome.is_duplicate) and len(not_applied) < MOST_NAMED:
                not_applied.append({"index": index, "reason": outcome.reason})
        else:
            rejected[index] = outcome.errors or {"body": [str(outcome)]}
    body = orjson.dumps(
        {
            "accepted": accepted,
            "duplicates": duplicates,
            "rejected": [{"index": index, "errors": rejected[index]} for index in sorted(rejected)],
            "not_applied": not_applied,
            **more,
        }
    )
    return Answer(200, body, [("Content-Type", JSON)])
