"""Identifies the token of a request. A token that was verified before takes a microsecond.

It reads neither the database nor the key file: `app.auth.watch` passes on what has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from app.auth.keys import Keys
from app.auth.scopes import Claims
from app.auth.tokens import has_ended, read_token
from app.clock import utc_now
from app.errors import Unauthorized

CACHED = 4096  # tokens; then the oldest is dropped


class Guard:
    """Has the keys, the revoked ids and a cache of verified tokens. Thread-safe.

    Only tokens with a valid signature are cached, so others cannot fill the cache.
    """

    def __init__(self, keys: Keys, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        # One attribute, replaced as a whole: a token of an old key must not enter a new cache.
        self._verified: tuple[Keys, dict[str, Claims]] = (keys, {})
        self._revoked: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def identify(self, token: str) -> Claims:
        """The claims of a token. Raises Unauthorized if it is not valid, expired or revoked."""
        keys, cache = self._verified
        claims = cache.get(token)
        if claims is None:
            claims = read_token(token, keys)
            self._add(cache, token, claims)
        elif has_ended(claims, self._now()):
            raise Unauthorized("The token has expired.")
        if claims.token_id in self._revoked:
            raise Unauthorized("The token is revoked.")
        return claims

    def ends_soon(self, claims: Claims) -> bool:
        """Whether its holder should be told that it expires soon."""
        return claims.ends_soon(self._now())

    def replace_keys(self, keys: Keys) -> None:
        """Accept these keys only, and drop the cached tokens of others."""
        if keys != self._verified[0]:
            self._verified = (keys, {})

    def replace_revoked(self, token_ids: frozenset[str]) -> None:
        """Refuse these tokens."""
        self._revoked = token_ids

    def _add(self, cache: dict[str, Claims], token: str, claims: Claims) -> None:
        with self._lock:
            if len(cache) >= CACHED:
                del cache[next(iter(cache))]
            cache[token] = claims
