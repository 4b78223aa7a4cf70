"""Decodes the bytes of a push into domain objects.

msgspec decodes the common case, about 40 times faster than marshmallow. It must accept no more than
the schemas, with the same result (`tests/unit/test_decode.py`). Bodies that it refuses, that have a
`\\u` escape (lone surrogates, NUL) or an unknown field (msgspec would skip its value unread) go to
orjson and the schema, which explain what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from marshmallow import Schema, ValidationError

from app.clock import to_micros
from app.domain.fields import DISK_FIELDS, IDENTITY_FIELDS, JOB_FIELDS, METRICS, Field, Kind
from app.domain.job_state import clamp_percent
from app.domain.snapshots import Snapshot
from app.domain.statuses import REPORTED_DISK_STATUSES, REPORTED_STATUSES
from app.domain.texts import LONGEST_STORED_BYTES, SURELY_SHORT, cut_middle
from app.domain.timestamps import LATEST, is_unset
from app.domain.updates import Fields, Update
from app.errors import InvalidInput
from app.schemas.errors import flatten
from app.schemas.fields import (
    LARGEST_INTEGER,
    identifier_problem,
    normalise_identifier,
    parse_timestamp,
)
from app.schemas.updates import (
    HIGHEST_DISK_INDEX,
    LARGEST_LOSS,
    LONGEST_INTERVAL,
    BatchItemSchema,
    CompletionSchema,
    UpdateSchema,
    job_type_problem,
)

LARGEST_BATCH = 10_000
# A parser holds the interpreter until it has made every value: 16 MiB can hold 5 million, which
# take a second, and others wait meanwhile. Names of fields are so long that updates have fewer.
MOST_VALUES = 1_500_000

_TYPES: dict[Kind, Any] = {
    Kind.INTEGER: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INTEGER)],
    Kind.NUMBER: Annotated[float, msgspec.Meta(ge=0)],
    Kind.PERCENT: Annotated[float, msgspec.Meta(ge=0, le=100)],
    Kind.TEXT: str,
    Kind.LABEL: Annotated[str, msgspec.Meta(max_length=255)],
    Kind.IDENTITY: Annotated[str, msgspec.Meta(min_length=1, max_length=255)],
    Kind.DISK_STATUS: Literal[REPORTED_DISK_STATUSES],
}


def _struct(name: str, required: dict[str, Any], optional: dict[str, Any]) -> Any:
    """A struct with the names of a push. As a dict it has no absent or null fields."""
    return msgspec.defstruct(
        name,
        [*required.items(), *((n, kind | None, None) for n, kind in optional.items())],
        forbid_unknown_fields=True,
        omit_defaults=True,
        gc=False,  # never part of a reference cycle
    )


def _types(fields: Mapping[str, Field]) -> dict[str, Any]:
    return {field.sent_as or name: _TYPES[field.kind] for name, field in fields.items()}


_Disk = _struct(
    "_Disk",
    {"disk_index": Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_DISK_INDEX)]},
    _types(DISK_FIELDS),
)
_Update = _struct(
    "_Update",
    {"status": Literal[REPORTED_STATUSES]},
    {
        "job_id": str,
        "job_type": str,
        "timestamp": str,
        "lost_updates": Annotated[int, msgspec.Meta(ge=0, le=LARGEST_LOSS)],
        "interval_seconds": Annotated[int, msgspec.Meta(ge=1, le=LONGEST_INTERVAL)],
        "new_run": bool,
        "dry_run": bool,
        **_types(JOB_FIELDS),
        "disks": list[_Disk],  # type: ignore[valid-type]  # made at run time
    },
)
_Batch = _struct("_Batch", {"updates": list[_Update]}, {})  # type: ignore[valid-type]  # likewise

_to_dict = msgspec.to_builtins
_decode_update = msgspec.json.Decoder(_Update).decode
_decode_lines = msgspec.json.Decoder(_Update).decode_lines
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_array = msgspec.json.Decoder(list[_Update]).decode  # type: ignore[valid-type]  # likewise

_UPDATE = UpdateSchema()
_BATCH_ITEM = BatchItemSchema()
_COMPLETION = CompletionSchema()

# The key whose value begins at the end of a text, perhaps after a minus sign.
_KEY_BEFORE = re.compile(r'"((?:[^"\\]|\\.){1,255})"\s*:\s*-?\Z')
_KEY_REACH = 300  # how far back to search for it, in characters

# The fast path raises these for input that the schema must check. RecursionError: deep nesting.
_NOT_FAST = (msgspec.MsgspecError, ValueError, RecursionError)

Rejected = dict[str, list[str]]  # reasons by field path


def decode_common_update(body: bytes, job_type: str, job_id: str) -> Update | None:
    """One pushed update by the fast path; None if the schema has to check it."""
    if b"\\u" in body:
        return None
    try:
        read = _decode_update(body)
        if read.job_id in (None, job_id) and read.job_type in (None, job_type):
            update = _from_struct(read, job_type, job_id)
            return _with_cut_texts(update) if len(body) > LONGEST_STORED_BYTES else update
    except _NOT_FAST:
        pass
    return None


def decode_update(body: bytes, job_type: str, job_id: str) -> Update:
    """One pushed update of the job in the path. Raises InvalidInput with the reasons by field."""
    update = decode_common_update(body, job_type, job_id)
    if update is not None:
        return update
    data = load(_UPDATE, parse_object(body))
    if "job_id" in data:
        data["job_id"] = normalise_identifier(data["job_id"])
    for name, expected in (("job_id", job_id), ("job_type", job_type)):
        if data.pop(name, expected) != expected:
            raise InvalidInput(
                f"{name}: differs from the path's {expected!r}.",
                {name: [f"Differs from the path's {expected!r}."]},
            )
    return _from_data(data, job_type, job_id)


def decode_batch(body: bytes, *, is_ndjson: bool) -> list[Update | Rejected]:
    """The updates of a batch, or reasons for rejections. Raises InvalidInput for the whole."""
    _limit_values(body)
    if b"\\u" not in body:
        try:
            read = _decode_items(body, is_ndjson=is_ndjson)
            if len(read) <= LARGEST_BATCH and (not is_ndjson or _is_one_a_line(body, len(read))):
                return [_from_batch_struct(item) for item in read]
        except _NOT_FAST:
            pass
    items = _parse_lines(body) if is_ndjson else _parse_updates(body)
    _limit_items("updates", len(items))
    is_plain = b"\\u" not in body
    return [_judge_item(item, is_plain=is_plain) for item in items]


def _decode_items(body: bytes, *, is_ndjson: bool) -> list[Any]:
    """The structs of a batch: of lines, of an array, or of an object with a list."""
    if is_ndjson:
        return _decode_lines(body)
    items: list[Any] = _decode_array(body) if body[:1] == b"[" else _decode_batch(body).updates
    return items


def _is_one_a_line(body: bytes, items: int) -> bool:
    """Whether the objects of NDJSON end where the lines do; msgspec does not require it."""
    return body.count(b"}\n{") == body.count(b"\n", 0, -1) == items - 1


def decode_completion(body: bytes, job_id: str) -> Update:
    """The end of a job without telemetry, as an update. Raises InvalidInput."""
    update = _from_data(load(_COMPLETION, parse_object(body)), "", job_id)
    update.is_telemetry = False
    return update


def decode_snapshots(body: bytes, schema: Schema) -> list[Snapshot | Rejected]:
    """The snapshots of a body, or reasons for rejections. Raises InvalidInput for the whole."""
    _limit_values(body)
    data = _parse_object_or_list(body)
    if isinstance(data, dict) and "snapshots" not in data:
        return [_decode_snapshot(schema, data)]
    items = data["snapshots"] if isinstance(data, dict) else data
    if not isinstance(items, list):
        raise InvalidInput("snapshots: must be a list.", {"snapshots": ["Must be a list."]})
    _limit_items("snapshots", len(items))
    judged: list[Snapshot | Rejected] = []
    for item in items:
        try:
            judged.append(_decode_snapshot(schema, item))
        except InvalidInput as exc:
            judged.append(exc.errors)
    return judged


def _limit_values(body: bytes) -> None:
    if sum(map(body.count, (b",", b"{", b"[", b"\n"))) > MOST_VALUES:
        reason = f"Has more than {MOST_VALUES} values: send less at a time."
        raise InvalidInput(f"body: {reason}", {"body": [reason]})


def _limit_items(field: str, count: int) -> None:
    if count > LARGEST_BATCH:
        raise InvalidInput(
            f"{field}: {count} {field}; a batch has at most {LARGEST_BATCH}.",
            {field: [f"Must be at most {LARGEST_BATCH} {field}."]},
        )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; raises InvalidInput if it is anything else."""
    data = _parse_not_empty(body)
    if not isinstance(data, dict):
        raise InvalidInput("body: must be a JSON object.", {"body": ["Must be a JSON object."]})
    return data


def _parse_object_or_list(body: bytes) -> dict[str, Any] | list[Any]:
    data = _parse_not_empty(body)
    if not isinstance(data, dict | list):
        reason = "Must be a JSON object or array."
        raise InvalidInput(f"body: {reason}", {"body": [reason]})
    return data


def _parse_not_empty(body: bytes) -> Any:
    if not body.strip():
        raise InvalidInput(
            "body: must not be empty.", {"body": ["Must not be empty: send a JSON object."]}
        )
    return _parse(body)


def load(schema: Schema, data: Any) -> dict[str, Any]:
    """The data as loaded by the schema; raises InvalidInput with the reasons by field path."""
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
        if "Not enough memory" in str(exc):  # not the sender's fault
            raise MemoryError from exc
        field, reason = _explain(exc)
        raise InvalidInput(f"{field}: {reason}", {field: [reason]}) from exc


def _explain(error: orjson.JSONDecodeError) -> tuple[str, str]:
    """The field that could not be read (`body` if none, or at the end) and the reason."""
    text, at = error.doc, error.pos  # empty and 0 if it is not UTF-8
    key = _KEY_BEFORE.search(text[max(0, at - _KEY_REACH) : at]) if at < len(text) else None
    if "infinity" in str(error):
        reason = "too large a number"
        return (key[1], f"Is {reason}.") if key else ("body", f"Holds {reason}: {error}.")
    if key:
        return key[1], f"Is not a JSON value the hub can read: {error}."
    return "body", f"Is not JSON the hub can read: {error}."


def _parse_lines(body: bytes) -> list[Any]:
    """The values of NDJSON's lines; a line that is not JSON becomes an InvalidInput."""
    items: list[Any] = []
    for line in body.split(b"\n"):
        if line.strip():
            try:
                items.append(_parse(line))
            except InvalidInput as exc:
                items.append(exc)
    if not items:
        raise InvalidInput(
            "body: must not be empty.", {"body": ["Must not be empty: send JSON lines."]}
        )
    if all(isinstance(item, InvalidInput) for item in items):
        raise items[0]
    return items


def _parse_updates(body: bytes) -> list[Any]:
    """The items of a batch: an array, or an object with a list `updates`."""
    data = _parse_object_or_list(body)
    items = data.get("updates") if isinstance(data, dict) else data
    if not isinstance(items, list):
        raise InvalidInput("updates: must be a list.", {"updates": ["Must be a list of updates."]})
    return items


def _judge_item(item: Any, *, is_plain: bool) -> Update | Rejected:
    """One item of a batch, by the fast path if possible. `is_plain`: without escapes."""
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


def _from_batch_struct(read: Any) -> Update | Rejected:
    job_type, job_id = read.job_type, read.job_id
    if job_type is None or job_id is None or job_type_problem(job_type):
        raise ValueError  # the schema gives the reason
    job_id = normalise_identifier(job_id)
    if identifier_problem(job_id):
        raise ValueError
    return _with_cut_texts(_from_struct(read, job_type, job_id))


def _with_cut_texts(update: Update) -> Update:
    """The update, with the middle of texts cut that are too long."""
    _cut_texts(update.fields, _JOB_TEXTS, update.notes)
    for named in update.disks.values():
        _cut_texts(named, _DISK_TEXTS, update.notes)
    return update


def _cut_texts(named: Fields, names: Sequence[str], notes: dict[str, str]) -> None:
    """Cut texts that are too long, in place, with a warning in `notes` (code to sentence)."""
    for name in names:
        text = named.get(name)
        if isinstance(text, str) and len(text) > SURELY_SHORT:
            cut = cut_middle(text)
            if cut is not text:
                named[name] = cut
                notes["error_cut"] = _CUT_WARNING


_JOB_TEXTS = [name for name, field in JOB_FIELDS.items() if field.kind is Kind.TEXT]
_DISK_TEXTS = [name for name, field in DISK_FIELDS.items() if field.kind is Kind.TEXT]
_CUT_WARNING = (
    f"The sender reported an error of more than {LONGEST_STORED_BYTES // 1024} KiB; its middle "
    "was cut."
)


def _from_struct(read: Any, job_type: str, job_id: str) -> Update:
    """An update as read by msgspec. Raises ValueError for what the schema has to check."""
    data: dict[str, Any] = _to_dict(read)
    del data["status"]
    if read.job_id is not None:
        del data["job_id"]
    if read.job_type is not None:
        del data["job_type"]
    notes: dict[str, str] = {}
    instant = None
    if read.timestamp is not None:
        instant = to_micros(parse_timestamp(data.pop("timestamp")))
        if instant <= 0 or instant >= LATEST:  # is_unset, without a call
            instant, notes["timestamp_unset"] = None, _UNSET
    disks: dict[int, Fields] = {}
    if read.disks is not None:
        for disk in data.pop("disks"):
            if "progress_percent" in disk:
                disk["progress_percent"] += 0.0
            disks[disk.pop("disk_index")] = disk
        if len(disks) < len(read.disks):
            raise ValueError("a disk is named twice")
    if "progress_percent" in data:
        data["progress_percent"] += 0.0  # -0.0 becomes 0.0
    lost_updates = data.pop("lost_updates", 0)
    is_start = data.pop("new_run", False)
    if data.pop("dry_run", False):
        notes["dry_run"] = _DRY_RUN
    interval = data.pop("interval_seconds", 0)
    return Update(
        job_type,
        job_id,
        read.status,
        instant,
        _rename(data),
        disks,
        notes,
        lost_updates=lost_updates,
        is_start=is_start,
        interval=interval,
    )


def _from_data(data: dict[str, Any], job_type: str, job_id: str) -> Update:
    """An update as loaded by the schema."""
    notes: dict[str, str] = {}
    instant = _micros(data.pop("timestamp", None), notes)
    disks: dict[int, Fields] = {}
    for disk in data.pop("disks", []):
        index = disk.pop("disk_index")
        disks[index] = clamp_percent(disk, notes)
    lost_updates = data.pop("lost_updates", 0)
    is_start = data.pop("new_run", False)
    if data.pop("dry_run", False):
        notes["dry_run"] = _DRY_RUN
    interval = data.pop("interval_seconds", 0)
    status = data.pop("status")
    named = _rename({n: value for n, value in data.items() if value or n not in IDENTITY_FIELDS})
    update = Update(
        job_type,
        job_id,
        status,
        instant,
        clamp_percent(named, notes),
        disks,
        notes,
        lost_updates=lost_updates,
        is_start=is_start,
        interval=interval,
    )
    return _with_cut_texts(update)


_UNSET = (
    "The sender sends a timestamp that was never set, such as 0001-01-01T00:00:00Z. The time of "
    "arrival is used instead, and updates that are sent again are not recognised."
)


_DRY_RUN = "The sender says that this is a dry run: nothing is copied."


def _micros(instant: datetime | None, notes: dict[str, str]) -> int | None:
    """An instant in µs; None for one that was never set, with a warning in `notes`."""
    if instant is None:
        return None
    micros = to_micros(instant)
    if is_unset(micros):
        notes["timestamp_unset"] = _UNSET
        return None
    return micros


_SENT_AS = [(field.sent_as, name) for name, field in JOB_FIELDS.items() if field.sent_as]


def _rename(named: Fields) -> Fields:
    """Rename the fields to their columns, in place."""
    for sent_as, name in _SENT_AS:
        if sent_as in named:
            named[name] = named.pop(sent_as)
    return named


def _decode_snapshot(schema: Schema, data: Any) -> Snapshot:
    """A snapshot without its odd metrics, which are noted. Raises InvalidInput."""
    notes: dict[str, list[str]] = {}
    try:
        loaded = load(schema, data)
    except InvalidInput as exc:
        if not isinstance(data, dict) or not exc.errors.keys() <= METRICS.keys():
            raise
        loaded = load(schema, _without_odd_metrics(data, exc.errors, notes))
    return Snapshot(
        loaded.pop("node_id"),
        _micros(loaded.pop("timestamp", None), {}),
        {name: value for name, value in loaded.items() if name in METRICS and value is not None},
        notes=notes,
        lost=loaded.get("lost_snapshots") or 0,
    )


def _without_odd_metrics(
    data: dict[str, Any], errors: Mapping[str, list[str]], notes: dict[str, list[str]]
) -> dict[str, Any]:
    """The snapshot with percents of more than 100 cut, and without other metrics with an error."""
    kept = dict(data)
    for name, reasons in errors.items():
        value = data[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and METRICS[name].kind is Kind.PERCENT and value > 100:
            kept[name] = 100.0
            notes[name] = [f"Is {value}; 100 is kept."]
        else:
            del kept[name]
            notes[name] = [f"{reasons[0]} It is not kept."]
    return kept
