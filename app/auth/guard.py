"""Tells a process's requests who they are: what was read once is remembered, so that it costs a
microsecond. Asks neither the database nor the file: `app.auth.watch` brings what is new.
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

REMEMBERED = 4096  # tokens; more take turns


class Guard:
    """Knows the keys, the revoked ids and the tokens it has read. Thread-safe.

    Only what was signed with a key of ours is remembered, so nobody else can fill the memory.
    """

    def __init__(self, keys: Keys, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        # One attribute, replaced as a whole: what an old key has signed never meets a new memory.
        self._known: tuple[Keys, dict[str, Claims]] = (keys, {})
        self._revoked: frozenset[str] = frozenset()
        self._making_room = threading.Lock()

    def identify(self, token: str) -> Claims:
        """Whose token it is. Raises Unauthorized: foreign, expired or revoked."""
        keys, memory = self._known
        claims = memory.get(token)
        if claims is None:
            claims = read_token(token, keys)
            self._remember(memory, token, claims)
        elif has_ended(claims, self._now()):
            raise Unauthorized("The token has expired.")
        if claims.token_id in self._revoked:
            raise Unauthorized("The token is revoked.")
        return claims

    def ends_soon(self, claims: Claims) -> bool:
        """Whether its holder should be told that it ends."""
        return claims.ends_soon(self._now())

    def replace_keys(self, keys: Keys) -> None:
        """From now on believe these; what was signed with others is forgotten."""
        if keys != self._known[0]:
            self._known = (keys, {})

    def replace_revoked(self, token_ids: frozenset[str]) -> None:
        """From now on refuse these."""
        self._revoked = token_ids

    def _remember(self, memory: dict[str, Claims], token: str, claims: Claims) -> None:
        with self._making_room:
            if len(memory) >= REMEMBERED:
                del memory[next(iter(memory))]
            memory[token] = claims
