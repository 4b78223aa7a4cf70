"""Reading a request's body: its type, its size, its compression, and the path it was sent to."""

from __future__ import annotations

import zlib

from flask import Request
from werkzeug.exceptions import ClientDisconnected

from app.errors import InvalidInput, TooLarge, UnsupportedMediaType
from app.schemas.fields import identifier_problem
from app.schemas.updates import job_type_problem

JSON = "application/json"
NDJSON = "application/x-ndjson"
_GZIP_WINDOW = 31  # zlib's number for "gzip header and trailer"
_GZIP_PIECE = 4096  # what follows a member is copied: of a piece at most, so that many cost little


def read_body(request: Request, limit: int, accepted: tuple[str, ...] = (JSON,)) -> bytes:
    """The body, unpacked, of at most `limit` bytes both as sent and unpacked.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for a body cut off or damaged gzip.
    """
    if request.mimetype not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type: is {request.mimetype or 'missing'}; send {' or '.join(accepted)}."
        )
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = _read_whole(request, limit)
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


def _read_whole(request: Request, limit: int) -> bytes:
    """The body as sent, all that its Content-Length says where it has one."""
    expected = request.content_length
    most = limit + 1 if expected is None else expected
    body = bytearray()
    try:
        while len(body) < most and (piece := request.stream.read(most - len(body))):
            body += piece
    except (OSError, ClientDisconnected) as exc:
        raise _bad(f"Is cut off: the connection failed after {len(body)} bytes.") from exc
    if len(body) > limit:
        raise _too_large(limit)
    if expected is not None and len(body) < expected:
        raise _bad(f"Is cut off: {len(body)} of the {expected} bytes of its Content-Length came.")
    return bytes(body)


def _unpack(body: bytes, limit: int) -> bytes:
    """Gunzip all members, never holding more than the limit however much they would unpack to."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    unpacked = bytearray()
    for start in range(0, len(body), _GZIP_PIECE):
        piece = body[start : start + _GZIP_PIECE]
        while piece:
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            try:
                unpacked += unpacker.decompress(piece, limit + 1 - len(unpacked))
            except zlib.error as exc:
                raise _bad("Is not gzip, or not to its end.") from exc
            if len(unpacked) > limit:
                raise _too_large(limit, " once unpacked")
            piece = unpacker.unused_data
    if not unpacker.eof:
        raise _bad("Is cut off gzip.")
    return bytes(unpacked)


def _bad(reason: str) -> InvalidInput:
    return InvalidInput(f"body: {reason}", {"body": [reason]})


def _too_large(limit: int, when: str = "") -> TooLarge:
    return TooLarge(f"body: is larger than {limit} bytes{when}.")
