"""The content of bodies: of a request its type, size and compression; of an answer its JSON."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import orjson

from app.clock import isoformat
from app.errors import InvalidInput, TooLarge, UnsupportedMediaType
from app.web.request import Headers

JSON = "application/json"
NDJSON = "application/x-ndjson"
_GZIP_WINDOW = 31  # zlib's number for "gzip header and trailer"
_GZIP_PIECE = 4096  # zlib copies what follows a member; small pieces keep many members cheap


def media_type(headers: Headers) -> str:
    """The Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def decompress_body(
    body: bytes, headers: Headers, limit: int, accepted: tuple[str, ...] = (JSON,)
) -> bytes:
    """The body, decompressed. `limit` is in bytes, before and after decompression.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for invalid gzip.
    """
    sent_as = headers.get("content-type", "")
    if sent_as not in accepted and (kind := media_type(headers)) not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type: must be {' or '.join(accepted)}, not {kind or 'empty'}."
        )
    return decompress(body, headers, limit)


def decompress(body: bytes, headers: Headers, limit: int) -> bytes:
    """The body, decompressed, of any type. Raises as `decompress_body`."""
    if len(body) > limit:
        raise too_large(limit)
    encoding = headers.get("content-encoding", "")
    if not encoding:
        return body
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(f"Content-Encoding: must be gzip or absent, not {encoding}.")
    return gunzip(body, limit)


def too_large(limit: int, when: str = "") -> TooLarge:
    """The error for a body larger than `limit` bytes."""
    return TooLarge(f"body: is larger than {limit} bytes{when}.")


def bad_body(reason: str) -> InvalidInput:
    """The error for a body that cannot be read."""
    return InvalidInput(f"body: {reason}", {"body": [reason]})


def gunzip(body: bytes, limit: int) -> bytes:
    """Decompress all gzip members, stopping at `limit` bytes.

    Raises TooLarge, or InvalidInput for invalid or truncated gzip.
    """
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    content = bytearray()
    for start in range(0, len(body), _GZIP_PIECE):
        piece = body[start : start + _GZIP_PIECE]
        while piece:
            if decompressor.eof:
                decompressor = zlib.decompressobj(_GZIP_WINDOW)
            try:
                content += decompressor.decompress(piece, limit + 1 - len(content))
            except zlib.error as exc:
                raise bad_body("Is not valid gzip.") from exc
            if len(content) > limit:
                raise too_large(limit, " after decompression")
            piece = decompressor.unused_data
    if not decompressor.eof:
        raise bad_body("Is truncated gzip.")
    return bytes(content)


def encode_json(body: Any) -> bytes:
    """Encode as JSON. Timestamps become RFC 3339 in UTC with a `Z`; NaN becomes null."""
    return orjson.dumps(body, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return isoformat(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
