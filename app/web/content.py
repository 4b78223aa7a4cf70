"""The content of a request's body: its type, its size, its compression."""

from __future__ import annotations

import zlib

from app.errors import InvalidInput, TooLarge, UnsupportedMediaType
from app.web.request import Headers

JSON = "application/json"
NDJSON = "application/x-ndjson"
_GZIP_WINDOW = 31  # zlib's number for "gzip header and trailer"
_GZIP_PIECE = 4096  # what follows a member is copied: of a piece at most, so that many cost little


def media_type(headers: Headers) -> str:
    """The Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def unpack(body: bytes, headers: Headers, limit: int, accepted: tuple[str, ...] = (JSON,)) -> bytes:
    """A whole body, unpacked, of at most `limit` bytes both as sent and unpacked.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for damaged gzip.
    """
    sent_as = headers.get("content-type", "")
    if sent_as not in accepted and (kind := media_type(headers)) not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type: is {kind or 'missing'}; send {' or '.join(accepted)}."
        )
    if len(body) > limit:
        raise too_large(limit)
    encoding = headers.get("content-encoding", "")
    if not encoding:
        return body
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(f"Content-Encoding: is {encoding}; send gzip or none.")
    return unpack_gzip(body, limit)


def too_large(limit: int, when: str = "") -> TooLarge:
    """What a body larger than `limit` bytes is refused with."""
    return TooLarge(f"body: is larger than {limit} bytes{when}.")


def bad_body(reason: str) -> InvalidInput:
    """What a body that cannot be read is refused with."""
    return InvalidInput(f"body: {reason}", {"body": [reason]})


def unpack_gzip(body: bytes, limit: int) -> bytes:
    """Gunzip all members, never holding more than the limit however much they would unpack to.

    Raises TooLarge, or InvalidInput for what is not gzip to its end.
    """
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
                raise bad_body("Is not gzip, or not to its end.") from exc
            if len(unpacked) > limit:
                raise too_large(limit, " once unpacked")
            piece = unpacker.unused_data
    if not unpacker.eof:
        raise bad_body("Is cut off gzip.")
    return bytes(unpacked)
