"""The last error messages of a tool, short enough for an update."""

from __future__ import annotations

import re
from collections import deque

from telemetry_client.wire.credentials import without_credentials

KEPT = 4
LONGEST_MESSAGE = 300
LONGEST_TEXT = 900
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Messages:
    """The newest few different messages."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque(maxlen=KEPT)

    def add(self, text: str) -> None:
        """Add a message; the oldest one is dropped if there are too many."""
        message = clean(text)
        if message in self._messages:
            self._messages.remove(message)
        if message:
            self._messages.append(message)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def __str__(self) -> str:
        return "; ".join(self._messages)[:LONGEST_TEXT]


def clean(text: str) -> str:
    """One printable line without colours and credentials."""
    plain = without_credentials(text[: 4 * LONGEST_MESSAGE])
    if plain.isprintable() and "  " not in plain:  # the usual case, and fast
        return plain.strip()[:LONGEST_MESSAGE]
    plain = _ESCAPES.sub("", plain)
    line = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(line.split())[:LONGEST_MESSAGE]
