"""Static files over HTTP: read and packed once, and again after an edit, so that a reload shows it.

All answers with a file share its bytes.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flask import Response

from app.api.context import current_request, to_response
from app.web.conditional import make_conditional, make_tag
from app.web.request import Answer

ASK_FIRST = "no-cache"
FOR_EVER = "public, max-age=31536000, immutable"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Types for tsc and editors: a sixth of the bytes that a browser would receive. Their lines stay, so
# that a line number in the browser is one of the source.
_JSDOC = re.compile(rb"^ */\*\*(?:(?!\*/).)*\*/\n", re.M | re.S)


@dataclass(frozen=True)
class File:
    """A file's content, plain and compressed, and its tag."""

    body: bytes
    gzipped: bytes
    tag: str


def make_file(body: bytes) -> File:
    """The file with this content."""
    return File(body, gzip.compress(body, 9, mtime=0), make_tag(body))


def read_file(path: Path) -> File:
    """The file as it is sent: JavaScript of ours without its type comments."""
    state = path.stat()
    return read_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def read_version(path: Path, mtime_ns: int, size: int) -> File:
    """The file in the state that it has: mtime in ns, size in bytes."""
    body = path.read_bytes()
    if path.suffix == ".js" and "node_modules" not in path.parts:
        body = _JSDOC.sub(lambda comment: b"\n" * comment[0].count(b"\n"), body)
    return make_file(body)


def send(file: File, kind: str, cache_control: str = ASK_FIRST, status: int = 200) -> Response:
    """The response with a file, packed for those who accept that; 304 if the client has it."""
    headers = [("Content-Type", kind), ("Cache-Control", cache_control)]
    answer = Answer(status, file.body, headers)
    return to_response(
        make_conditional(answer, current_request(), file.tag, compress=lambda _: file.gzipped)
    )
