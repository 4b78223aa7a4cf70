"""Conditional answers: ETags, 304, and gzip for clients that accept it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import lru_cache

from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header, parse_etags

from app.web.problems import problem
from app.web.request import Answer, Request

CACHE_CONTROL = "no-cache"  # store it, but revalidate before use
LEAST_BYTES = 2048  # smaller bodies fit into a packet or two uncompressed
# A chart of 300 points, 29 KB: 10.7 KB in 0.18 ms at level 1, 9.4 KB in 0.71 ms at level 6.
_LEVEL = 1
_GZIP_HEADER = 16  # zlib's flag for a gzip header: no timestamp, so equal bodies stay equal
_SUFFIX = "-gzip"


def make_tag(body: bytes) -> str:
    """The strong ETag of a body, without quotes."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


@lru_cache(maxsize=256)  # a client sends the same value with every request
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client with this Accept-Encoding accepts gzip; with `q=0` it does not."""
    return parse_accept_header(accept_encoding, Accept)["gzip"] > 0


def compress(body: bytes) -> bytes:
    """The body as gzip."""
    return zlib.compress(body, _LEVEL, zlib.MAX_WBITS + _GZIP_HEADER)


def make_conditional(
    answer: Answer,
    request: Request,
    tag: str,
    *,
    is_weak: bool = False,
    compress: Callable[[bytes], bytes] = compress,
) -> Answer:
    """The answer to a GET with its ETag, compressed if the client accepts it, or 304.

    `is_weak`: equal tags mean equivalent answers, not equal bytes.

    Not for answers that hold both a secret and text an attacker can choose: their compressed
    length would leak the secret (BREACH).
    """
    is_compressed = _is_compressed(answer, request)
    if not is_weak:
        tag = _choose_tag(tag, request, is_compressed=is_compressed)
    headers = [("ETag", f'W/"{tag}"' if is_weak else f'"{tag}"'), ("Vary", "Accept-Encoding")]
    if answer.status == 200 and request.method in ("GET", "HEAD"):
        if _is_unexpected(tag, request, is_weak=is_weak):
            return problem(
                412, "The resource's current ETag does not match If-Match.", headers=headers
            )
        if _is_held(tag, request):
            kept = [header for header in answer.headers if header[0] != "Content-Type"]
            return Answer(304, b"", [*kept, *headers])
    if is_compressed:
        answer.body = compress(answer.body)
        headers.append(("Content-Encoding", "gzip"))
    answer.headers += headers
    return answer


def make_compressed(answer: Answer, request: Request) -> Answer:
    """The answer, compressed if the client accepts it. The same warning as above."""
    answer.headers.append(("Vary", "Accept-Encoding"))
    if _is_compressed(answer, request):
        answer.body = compress(answer.body)
        answer.headers.append(("Content-Encoding", "gzip"))
    return answer


def _is_compressed(answer: Answer, request: Request) -> bool:
    accepted = request.headers.get("accept-encoding", "")
    return len(answer.body) >= LEAST_BYTES and accepts_gzip(accepted)


def _choose_tag(tag: str, request: Request, *, is_compressed: bool) -> str:
    """The tag of the encoding to send, or of the other one if the client has cached that.

    A strong tag identifies the bytes sent, so each encoding has its own. A client that sent another
    Accept-Encoding before still has a valid copy, and selects it by the tag of the 304 (RFC 9111,
    4.3.4).
    """
    sent, other = (tag + _SUFFIX, tag) if is_compressed else (tag, tag + _SUFFIX)
    held = parse_etags(request.headers.get("if-none-match", ""))
    is_other = held.contains_weak(other) and not held.contains_weak(sent)
    return other if is_other and not request.headers.get("if-match", "") else sent


def _is_unexpected(tag: str, request: Request, *, is_weak: bool) -> bool:
    """Whether If-Match names other tags only. A weak tag matches none."""
    expected = request.headers.get("if-match", "")
    tags = parse_etags(expected)
    is_match = tags.star_tag or (not is_weak and tags.is_strong(tag))
    return bool(expected) and not is_match


def _is_held(tag: str, request: Request) -> bool:
    """Whether If-None-Match names the tag, so that the client has the answer."""
    held = request.headers.get("if-none-match", "")
    return bool(held) and parse_etags(held).contains_weak(tag)
