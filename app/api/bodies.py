"""Reading a request's body: its type, its size, its compression, and the path it was sent to."""

from __future__ import annotations

import zlib

from flask import Request

from app.errors import InvalidInput, TooLarge, UnsupportedMediaType
from app.schemas.fields import identifier_problem
from app.schemas.updates import job_type_problem

JSON = "application/json"
NDJSON = "application/x-ndjson"
_GZIP_WINDOW = 31  # zlib's number for "gzip header and trailer"


def read_body(request: Request, limit: int, accepted: tuple[str, ...] = (JSON,)) -> bytes:
    """The body, unpacked, of at most `limit` bytes both as sent and unpacked.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for damaged gzip.
    """
    if request.mimetype not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type: is {request.mimetype or 'missing'}; send {' or '.join(accepted)}."
        )
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = request.stream.read(limit + 1)
    if len(body) > limit:
        raise _too_large(limit)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(f"Content-Encoding: is {encoding}; send gzip or none.")
    return _unpack(body, limit)


def check_job_type(text: str) -> None:
    """Raise InvalidInput unless the path's job type is one."""
    if problem := job_type_problem(text):
        raise InvalidInput(f"job_type: {problem}", {"job_type": [problem]})


def check_identifier(field: str, text: str) -> None:
    """Raise InvalidInput unless the path's id can be one."""
    if problem := identifier_problem(text):
        raise InvalidInput(f"{field}: {problem}", {field: [problem]})


def _unpack(body: bytes, limit: int) -> bytes:
    """Gunzip, never holding more than the limit however much the body would unpack to."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as exc:
        raise InvalidInput("body: Is not gzip.", {"body": ["Is not gzip."]}) from exc
    if len(unpacked) > limit:
        raise _too_large(limit, " once unpacked")
    if not unpacker.eof:
        raise InvalidInput("body: Is cut off gzip.", {"body": ["Is cut off gzip."]})
    return unpacked


def _too_large(limit: int, when: str = "") -> TooLarge:
    return TooLarge(f"body: is larger than {limit} bytes{when}.")
