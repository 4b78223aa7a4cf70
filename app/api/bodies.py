"""Reads the body of a Flask request: whole, whatever server hands it on."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import ClientDisconnected

from app.api.context import hub
from app.web.content import JSON, bad_body, too_large, unpack


def read_json() -> bytes:
    """The body of the current request, JSON by its type, unpacked.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for a body cut off or damaged gzip.
    """
    limit = hub().config.max_body_bytes
    return unpack(read_whole(limit), request.headers, limit, (JSON,))


def read_whole(limit: int) -> bytes:
    """The body as sent, all that its Content-Length says where it has one."""
    expected = request.content_length
    if expected is not None and expected > limit:
        raise too_large(limit)
    most = limit + 1 if expected is None else expected
    body = bytearray()
    try:
        while len(body) < most and (piece := request.stream.read(most - len(body))):
            body += piece
    except (OSError, ClientDisconnected) as exc:
        raise bad_body(f"Is cut off: the connection failed after {len(body)} bytes.") from exc
    if len(body) > limit:
        raise too_large(limit)
    if expected is not None and len(body) < expected:
        raise bad_body(
            f"Is cut off: {len(body)} of the {expected} bytes of its Content-Length came."
        )
    return bytes(body)
