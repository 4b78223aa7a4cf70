"""From the bytes of a push to the domain's objects.

The common case is decoded by msgspec, which is about 40 times faster than marshmallow. It may only
take what the schemas take, and with the same result: whatever it refuses, every body with a `\\u`
escape (lone surrogates, NUL) and every unknown field (msgspec would skip its value unread) goes to
orjson and the schema, which decide and explain.
`tests/unit/test_decode.py` holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from marshmallow import Schema, ValidationError

from app.clock import to_micros
from app.domain.job_state import clamp_percent
from app.domain.snapshots import Snapshot
from app.domain.updates import Fields, Update
from app.errors import InvalidInput
from app.schemas.errors import flatten
from app.schemas.fields import LARGEST_INTEGER, identifier_problem, parse_timestamp
from app.schemas.updates import (
    HIGHEST_DISK_INDEX,
    LARGEST_LOSS,
    BatchItemSchema,
    CompletionSchema,
    UpdateSchema,
    job_type_problem,
)

LARGEST_BATCH = 10_000

_Integer = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INTEGER)] | None
_Percent = Annotated[float, msgspec.Meta(ge=0, le=100)] | None
_ShortText = Annotated[str, msgspec.Meta(max_length=255)] | None


class _Disk(msgspec.Struct, forbid_unknown_fields=True):
    disk_index: Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_DISK_INDEX)]
    status: Literal["pending", "transferring", "completed", "failed"] | None = None
    bytes_transferred: _Integer = None
    total_bytes: _Integer = None
    transfer_speed_bps: _Integer = None
    progress_percent: _Percent = None
    error_message: str | None = None


class _Update(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["running", "completed", "failed", "cancelled"]
    job_id: str | None = None
    job_type: str | None = None
    current_phase: _ShortText = None
    bytes_transferred: _Integer = None
    total_bytes: _Integer = None
    transfer_speed_bps: _Integer = None
    eta_seconds: _Integer = None
    progress_percent: _Percent = None
    error: str | None = None
    timestamp: str | None = None
    vm_name: _ShortText = None
    repository_id: _ShortText = None
    backup_type: _ShortText = None
    disks: list[_Disk] | None = None
    lost_updates: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_LOSS)] | None = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    updates: list[_Update]


_decode_update = msgspec.json.Decoder(_Update).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode

_UPDATE = UpdateSchema()
_BATCH_ITEM = BatchItemSchema()
_COMPLETION = CompletionSchema()

# The key whose value begins where a text ends, with the sign of a number perhaps.
_KEY_BEFORE = re.compile(r'"((?:[^"\\]|\\.){1,255})"\s*:\s*-?\Z')
_KEY_REACH = 300  # how far back it is looked for, in characters

# How the fast path says "not for me". Deep nesting is a RecursionError.
_NOT_FAST = (msgspec.MsgspecError, ValueError, RecursionError)

Rejected = dict[str, list[str]]  # reasons by field path


def decode_common_update(body: bytes, job_type: str, job_id: str) -> Update | None:
    """One pushed update where it is an ordinary one; None where the schema has to look at it."""
    if b"\\u" in body:
        return None
    try:
        said = _decode_update(body)
        if said.job_id in (None, job_id) and said.job_type in (None, job_type):
            return _from_struct(said, job_type, job_id)
    except _NOT_FAST:
        pass
    return None


def decode_update(body: bytes, job_type: str, job_id: str) -> Update:
    """One pushed update of the job that the path names.

    Raises InvalidInput with the reasons by field.
    """
    update = decode_common_update(body, job_type, job_id)
    if update is not None:
        return update
    data = load(_UPDATE, parse_object(body))
    for name, expected in (("job_id", job_id), ("job_type", job_type)):
        if data.pop(name, expected) != expected:
            raise InvalidInput(
                f"{name}: differs from the path's {expected!r}.",
                {name: [f"Differs from the path's {expected!r}."]},
            )
    return _from_data(data, job_type, job_id)


def decode_batch(body: bytes, *, is_ndjson: bool) -> list[Update | Rejected]:
    """The items of a batch in order: an update, or why it is none.

    Raises InvalidInput where nothing could be read.
    """
    if not is_ndjson and b"\\u" not in body:
        try:
            said = _decode_batch(body).updates
            if len(said) <= LARGEST_BATCH:
                return [_from_batch_struct(item) for item in said]
        except _NOT_FAST:
            pass
    items = _parse_lines(body) if is_ndjson else _batch_items(parse_object(body))
    if len(items) > LARGEST_BATCH:
        raise InvalidInput(
            f"updates: {len(items)} updates; a batch has at most {LARGEST_BATCH}.",
            {"updates": [f"Must be at most {LARGEST_BATCH} updates."]},
        )
    is_plain = b"\\u" not in body
    return [_judge_item(item, is_plain=is_plain) for item in items]


def decode_completion(body: bytes, job_id: str) -> Update:
    """The end of a job without telemetry, as an update that is none of its sender's.

    Raises InvalidInput.
    """
    update = _from_data(load(_COMPLETION, parse_object(body)), "", job_id)
    update.is_telemetry = False
    return update


def decode_snapshots(body: bytes, schema: Schema) -> list[Snapshot | Rejected]:
    """The snapshots of a body in order, one or `{"snapshots": […]}`, or why one is none.

    Raises InvalidInput where nothing could be read.
    """
    data = parse_object(body)
    if "snapshots" not in data:
        return [_to_snapshot(load(schema, data))]
    items = data["snapshots"]
    if not isinstance(items, list):
        raise InvalidInput("snapshots: must be a list.", {"snapshots": ["Must be a list."]})
    judged: list[Snapshot | Rejected] = []
    for item in items:
        try:
            judged.append(_to_snapshot(load(schema, item)))
        except InvalidInput as exc:
            judged.append(exc.errors)
    return judged


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidInput when it holds anything else."""
    if not body.strip():
        raise InvalidInput("body: is empty.", {"body": ["Is empty; a JSON object is expected."]})
    data = _parse(body)
    if not isinstance(data, dict):
        raise InvalidInput("body: must be a JSON object.", {"body": ["Must be a JSON object."]})
    return data


def load(schema: Schema, data: Any) -> dict[str, Any]:
    """What the schema makes of `data`; raises InvalidInput with the reasons by field path."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as exc:
        errors = flatten(exc.messages)
        field, reasons = next(iter(errors.items()))
        raise InvalidInput(f"{field}: {reasons[0]}", errors) from exc
    return loaded


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if "Not enough memory" in str(exc):  # orjson blames the body: its sender would give up
            raise MemoryError from exc
        field, reason = _explain(exc)
        raise InvalidInput(f"{field}: {reason}", {field: [reason]}) from exc


def _explain(error: orjson.JSONDecodeError) -> tuple[str, str]:
    """The field that could not be read, `body` where it is none or at its end, and why not."""
    text, at = error.doc, error.pos  # empty and 0 if it is no UTF-8
    key = _KEY_BEFORE.search(text[max(0, at - _KEY_REACH) : at]) if at < len(text) else None
    if "infinity" in str(error):
        reason = "too large a number"
        return (key[1], f"Is {reason}.") if key else ("body", f"Holds {reason}: {error}.")
    if key:
        return key[1], f"Is not a JSON value the hub can read: {error}."
    return "body", f"Is not JSON the hub can read: {error}."


def _parse_lines(body: bytes) -> list[Any]:
    """The values of NDJSON's lines; a line that is no JSON stands as an InvalidInput."""
    items: list[Any] = []
    for line in body.split(b"\n"):
        if line.strip():
            try:
                items.append(_parse(line))
            except InvalidInput as exc:
                items.append(exc)
    if not items:
        raise InvalidInput("body: is empty.", {"body": ["Is empty; JSON lines are expected."]})
    if all(isinstance(item, InvalidInput) for item in items):
        raise items[0]
    return items


def _batch_items(data: dict[str, Any]) -> list[Any]:
    items = data.get("updates")
    if not isinstance(items, list):
        raise InvalidInput("updates: must be a list.", {"updates": ["Must be a list of updates."]})
    return items


def _judge_item(item: Any, *, is_plain: bool) -> Update | Rejected:
    """One item of a batch by itself, as fast as it allows. `is_plain`: it had no escapes."""
    if isinstance(item, InvalidInput):
        return item.errors
    if is_plain:
        try:
            return _from_batch_struct(msgspec.convert(item, _Update))
        except _NOT_FAST:
            pass
    try:
        data = load(_BATCH_ITEM, item)
    except InvalidInput as exc:
        return exc.errors
    job_type, job_id = data.pop("job_type"), data.pop("job_id")
    return _from_data(data, job_type, job_id)


def _from_batch_struct(said: _Update) -> Update | Rejected:
    job_type, job_id = said.job_type, said.job_id
    if job_type is None or job_id is None or job_type_problem(job_type):
        raise ValueError  # the schema says why
    if identifier_problem(job_id):
        raise ValueError
    return _from_struct(said, job_type, job_id)


def _from_struct(said: _Update, job_type: str, job_id: str) -> Update:
    """An update as msgspec has read it. Raises ValueError for what only the schema may judge."""
    fields: Fields = {}
    if said.current_phase is not None:
        fields["current_phase"] = said.current_phase
    if said.bytes_transferred is not None:
        fields["bytes_transferred"] = said.bytes_transferred
    if said.total_bytes is not None:
        fields["total_bytes"] = said.total_bytes
    if said.transfer_speed_bps is not None:
        fields["transfer_speed_bps"] = said.transfer_speed_bps
    if said.eta_seconds is not None:
        fields["eta_seconds"] = said.eta_seconds
    if said.progress_percent is not None:
        fields["progress_percent"] = said.progress_percent + 0.0  # -0.0 becomes 0.0
    if said.error is not None:
        fields["error_message"] = said.error
    if said.vm_name:
        fields["vm_name"] = said.vm_name
    if said.repository_id:
        fields["repository_id"] = said.repository_id
    if said.backup_type:
        fields["backup_type"] = said.backup_type
    disks = _disks_from_structs(said.disks) if said.disks else {}
    timestamp = None if said.timestamp is None else to_micros(parse_timestamp(said.timestamp))
    lost = said.lost_updates or 0
    return Update(job_type, job_id, said.status, timestamp, fields, disks, lost_updates=lost)


def _disks_from_structs(said: list[_Disk]) -> dict[int, Fields]:
    disks: dict[int, Fields] = {}
    for disk in said:
        named: Fields = {}
        if disk.status is not None:
            named["status"] = disk.status
        if disk.bytes_transferred is not None:
            named["bytes_transferred"] = disk.bytes_transferred
        if disk.total_bytes is not None:
            named["total_bytes"] = disk.total_bytes
        if disk.transfer_speed_bps is not None:
            named["transfer_speed_bps"] = disk.transfer_speed_bps
        if disk.progress_percent is not None:
            named["progress_percent"] = disk.progress_percent + 0.0
        if disk.error_message is not None:
            named["error_message"] = disk.error_message
        disks[disk.disk_index] = named
    if len(disks) < len(said):
        raise ValueError("a disk is named twice")
    return disks


def _from_data(data: dict[str, Any], job_type: str, job_id: str) -> Update:
    """An update as the schema has loaded it."""
    notes: dict[str, str] = {}
    instant: datetime | None = data.pop("timestamp", None)
    disks: dict[int, Fields] = {}
    for disk in data.pop("disks", []):
        index = disk.pop("disk_index")
        disks[index] = clamp_percent(disk, notes)
    lost_updates = data.pop("lost_updates", 0)
    update = Update(
        job_type,
        job_id,
        data.pop("status"),
        None if instant is None else to_micros(instant),
        clamp_percent(_job_fields(data), notes),
        disks,
        notes,
        lost_updates=lost_updates,
    )
    return update


_IDENTITY = ("vm_name", "repository_id", "backup_type")


def _job_fields(data: Mapping[str, Any]) -> Fields:
    """Names as the columns have them. An empty name names nothing."""
    fields = {name: value for name, value in data.items() if value or name not in _IDENTITY}
    if "error" in fields:
        fields["error_message"] = fields.pop("error")
    return fields


def _to_snapshot(data: dict[str, Any]) -> Snapshot:
    instant: datetime | None = data.pop("timestamp", None)
    return Snapshot(
        data.pop("node_id"),
        None if instant is None else to_micros(instant),
        {name: value for name, value in data.items() if value is not None},
    )
