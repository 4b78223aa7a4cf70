"""What a push is: from its body to items for the writer, and from outcomes to its receipt.

The web server waits for the commit on its event loop (`app.server.push`), Flask's routes wait in
their thread (`app.api.telemetry`). Everything between is here, so that both ways do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import orjson

from app import metrics
from app.auth.scopes import Claims
from app.clock import isoformat_micros
from app.config import Config
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.errors import InvalidInput, QueueFull, RequestError
from app.ingest.transaction import Outcome, Receipt
from app.ingest.writer import Item, Writer
from app.schemas.decode import (
    Rejected,
    decode_batch,
    decode_common_update,
    decode_snapshots,
    decode_update,
)
from app.schemas.fields import identifier_problem
from app.schemas.nodes import SnapshotSchema
from app.schemas.updates import job_type_problem
from app.web.admission import PUSH, PUSH_SNAPSHOT, Admission, Permission, refuse_other_types
from app.web.content import JSON, NDJSON, media_type, unpack
from app.web.request import Answer, Headers

PREFIX = "/api/v1"
# The largest body that is decoded where others wait meanwhile. Updates with a disk or two have less
# than 1 KiB, and 8 KiB are read in less than 0.1 ms.
SMALL_BODY = 8 * 1024
_COMMON_TYPES = frozenset({JSON, f"{JSON}; charset=utf-8"})
_SNAPSHOT = SnapshotSchema()


@dataclass(frozen=True, slots=True)
class Push:
    """A push as it came: whole, and admitted."""

    body: bytes
    headers: Headers
    claims: Claims | None = None


@dataclass(slots=True)
class Decoded:
    """The items of a push, and what makes an answer of their outcomes."""

    items: Sequence[Item]
    answer: Callable[[list[Outcome]], Answer]


class Pushes:
    """Decodes pushes by the hub's settings, and refuses them while the queue is full."""

    def __init__(self, config: Config, writer: Writer, admission: Admission) -> None:
        self._largest = config.max_body_bytes
        self._largest_batch = config.max_batch_bytes
        self._writer = writer
        self._admission = admission

    def refuse_if_full(self) -> None:
        """Raise QueueFull for a push of any size: ask it before the push is decoded.

        To decode a batch and then refuse it takes the hub a sixth of what it takes to store it, and
        under overload most are refused. It comes before the check of the token.
        """
        writer = self._writer
        if writer.is_full and writer.is_accepting:  # else it is refused for another reason
            raise QueueFull

    def decode_at_once(self, push: Push, target: Target) -> Decoded | None:
        """A single update that is small and common; None for what takes longer to decode."""
        job_type, job_id = target.job_type, target.job_id
        if job_type is None or job_id is None:
            return None
        headers = push.headers
        if (
            len(push.body) > SMALL_BODY
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
        check_identifier("job_id", job_id)
        body = unpack(push.body, push.headers, self._largest)
        return Decoded([decode_update(body, job_type, job_id)], partial(answer_update, job_id))

    def decode_batch(self, push: Push) -> Decoded:
        """Many updates. Raises as `decode_update`, and Forbidden; see `refuse_other_types`."""
        body = unpack(push.body, push.headers, self._largest_batch, (JSON, NDJSON))
        items = decode_batch(body, is_ndjson=media_type(push.headers) == NDJSON)
        return self._judge(refuse_other_types(items, push.claims), push)

    def decode_snapshots(self, push: Push) -> Decoded:
        """One snapshot of a node or many. Raises as `decode_update`."""
        body = unpack(push.body, push.headers, self._largest_batch)
        return self._judge(decode_snapshots(body, _SNAPSHOT), push)

    def _judge(self, items: Sequence[Update | Snapshot | Rejected], push: Push) -> Decoded:
        """What can be stored of a batch; what cannot is rejected by its position."""
        self._admission.charge(push.claims, len(items))
        rejected: dict[int, Rejected] = {}
        readable: dict[int, Item] = {}
        for index, item in enumerate(items):
            if isinstance(item, dict):
                rejected[index] = item
            else:
                readable[index] = item
        metrics.count_rejected(len(rejected))
        answer = partial(_answer_batch, list(readable), rejected)
        return Decoded(list(readable.values()), answer)


# Which push a request is.


@dataclass(frozen=True, slots=True)
class Target:
    """What a push is for, by its path. `route` is the name under which it is counted.

    `job_type` and `job_id`, both valid, are those of a single update.
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


@lru_cache(maxsize=8192)  # few jobs are live at a time
def find_target(path: str) -> Target | None:
    """What a POST to this path pushes to; None for what Flask's routes have to explain."""
    if path in _BATCHES:
        return _BATCHES[path]
    if not path.startswith(_UPDATES) or "\ufffd" in path:  # it may have been no UTF-8
        return None
    job_type, _, job_id = path[len(_UPDATES) :].partition("/")
    if job_type_problem(job_type) or identifier_problem(job_id):
        return None
    decode = partial(_decode_update, job_type=job_type, job_id=job_id)
    return Target(_UPDATE_ROUTE, PUSH, decode, job_type, job_id)


def _decode_update(pushes: Pushes, push: Push, *, job_type: str, job_id: str) -> Decoded:
    return pushes.decode_update(push, job_type, job_id)


def check_job_type(text: str) -> None:
    """Raise InvalidInput unless the path's job type is one."""
    if problem := job_type_problem(text):
        raise InvalidInput(f"job_type: {problem}", {"job_type": [problem]})


def check_identifier(field: str, text: str) -> None:
    """Raise InvalidInput unless the path's id can be one."""
    if problem := identifier_problem(text):
        raise InvalidInput(f"{field}: {problem}", {field: [problem]})


# What a push is answered.


def answer_update(job_id: str, outcomes: Sequence[Outcome]) -> Answer:
    """The receipt of one update; raises what it was refused with."""
    receipt = outcomes[0]
    if isinstance(receipt, RequestError):
        raise receipt
    body = orjson.dumps(
        {
            "job_id": job_id,
            "status": receipt.status,
            "accepted": True,
            "duplicate": receipt.is_duplicate,
            "applied": receipt.is_applied,
            "reason": receipt.reason,
            "time": isoformat_micros(receipt.time),
            "received_at": isoformat_micros(receipt.received_at),
        }
    )
    return Answer(200, body, [("Content-Type", JSON)])


def _answer_batch(
    positions: Sequence[int], rejected: dict[int, Rejected], outcomes: Sequence[Outcome]
) -> Answer:
    """The counts, and what was rejected by its position."""
    accepted = duplicates = 0
    for index, outcome in zip(positions, outcomes, strict=True):
        if isinstance(outcome, Receipt):
            duplicates += outcome.is_duplicate
            accepted += not outcome.is_duplicate
        else:
            rejected[index] = outcome.errors or {"body": [str(outcome)]}
    body = orjson.dumps(
        {
            "accepted": accepted,
            "duplicates": duplicates,
            "rejected": [{"index": index, "errors": rejected[index]} for index in sorted(rejected)],
        }
    )
    return Answer(200, body, [("Content-Type", JSON)])
