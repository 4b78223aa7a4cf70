"""Reads the complete body of a Flask request, under any WSGI server."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import ClientDisconnected

from app.api.context import current_request, hub
from app.web.content import bad_body, decompress_body, too_large


def read_json() -> bytes:
    """The decompressed body of the current request, whose type must be JSON.

    Raises UnsupportedMediaType, TooLarge, or InvalidInput for a truncated body or invalid gzip.
    """
    limit = hub().config.max_body_bytes
    return decompress_body(read_whole(limit), current_request().headers, limit)


def read_whole(limit: int) -> bytes:
    """The body as sent. Raises TooLarge, or InvalidInput for a truncated body."""
    expected = request.content_length
    if expected is not None and expected > limit:
        raise too_large(limit)
    most = limit + 1 if expected is None else expected
    body = bytearray()
    try:
        while len(body) < most and (piece := request.stream.read(most - len(body))):
            body += piece
    except (OSError, ClientDisconnected) as exc:
        raise bad_body(f"Is truncated: the connection failed after {len(body)} bytes.") from exc
    if len(body) > limit:
        raise too_large(limit)
    if expected is not None and len(body) < expected:
        raise bad_body(f"Is truncated: received {len(body)} of {expected} bytes.")
    return bytes(body)
