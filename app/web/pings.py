"""Pings over HTTP (`app.schemas.pings`): their paths, the token in them, and the answer.

The web server answers them as it does other pushes (`app.server.push`), Flask's route likewise
(`app.api.pings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from app.auth.tokens import looks_like_token
from app.errors import InvalidInput, RequestError
from app.ingest.transaction import Outcome
from app.schemas.pings import KEPT_BYTES, PingRequest, make_update, read_ping
from app.web.content import decompress
from app.web.permissions import PING
from app.web.push import Decoded, Push, Pushes, Target
from app.web.request import Answer, Request

PATH = "/ping/"
ROUTE = f"{PATH}<job_id>"  # of all pings, in the metrics
METHODS = frozenset({"GET", "HEAD", "POST"})
_HEADERS = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Cache-Control", "no-store"),  # a GET that changes something
    ("Ping-Body-Limit", str(KEPT_BYTES)),  # programs shorten what they send to it
)


def take_token(request: Request) -> None:
    """Move the token of a ping from its path to its headers, in place.

    So it counts like any other, and nothing that shows or logs a path can show it. Nor any other
    text in the path that looks like one, which is removed.
    """
    if not request.path.startswith(PATH):
        return
    segments = request.path[len(PATH) :].split("/")
    tokens = [segment for segment in segments if looks_like_token(segment)]
    if tokens:
        request.path = PATH + "/".join(each for each in segments if each not in tokens)
        request.headers = {**request.headers, "authorization": f"Bearer {tokens[0]}"}


def find_ping(request: Request, query: bytes) -> Target | None:
    """The target of a ping whose token has been taken; None for any other request.

    An invalid one has a target that refuses it, once the request is admitted.
    """
    path = request.path
    if not path.startswith(PATH) or request.method not in METHODS:
        return None
    try:
        if "\ufffd" in path:  # possibly not UTF-8
            raise InvalidInput("path: Must be UTF-8.", {"path": ["Must be UTF-8."]})
        ping = read_ping(path[len(PATH) :], query.decode(errors="replace"))
    except InvalidInput as exc:
        return Target(ROUTE, PING, partial(_refuse, exc))
    return Target(ROUTE, PING, partial(_decode, ping), ping.job_type)


def _refuse(error: InvalidInput, pushes: Pushes, push: Push) -> Decoded:
    raise error


def _decode(ping: PingRequest, pushes: Pushes, push: Push) -> Decoded:
    """Raises TooLarge, UnsupportedMediaType or InvalidInput for the body; its type is ignored."""
    body = decompress(push.body, push.headers, pushes.largest_batch)
    return Decoded([make_update(ping, body)], _answer)


def _answer(outcomes: Sequence[Outcome]) -> Answer:
    """`OK`, once the ping is stored. Raises the error it was refused with."""
    if isinstance(outcomes[0], RequestError):
        raise outcomes[0]
    return Answer(200, b"OK", [*_HEADERS])
