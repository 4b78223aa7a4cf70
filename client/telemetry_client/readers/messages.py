"""The last error messages of a tool, short enough for an update."""

from __future__ import annotations

import os
import re
from collections import deque

from telemetry_client.wire.credentials import without_credentials

KEPT = 4
_KEPT_RAW = 50  # among them may be repeats and empty lines
LONGEST_MESSAGE = 300
LONGEST_TEXT = 900
_SEPARATOR = "; "
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Messages:
    """The newest few different messages. Adding one is cheap: they are cleaned when they are read,
    since a tool may write thousands of lines a second.
    """

    def __init__(self) -> None:
        self._raw: deque[str] = deque(maxlen=_KEPT_RAW)

    def add(self, text: str) -> None:
        """Add a message; the oldest one is dropped if there are too many."""
        self._raw.append(text[: 4 * LONGEST_MESSAGE])

    def is_by(self, programs: tuple[str, ...]) -> bool:
        """Whether the newest message is one of these programs: `sudo: a password is required`."""
        newest = self._raw[-1].partition(": ")[0] if self._raw else ""
        return os.path.basename(newest) in programs

    def __bool__(self) -> bool:
        return bool(str(self))

    def __str__(self) -> str:
        newest: list[str] = []
        room = LONGEST_TEXT
        for text in reversed(self._raw):
            message = clean(text)
            if not message or message in newest:
                continue
            room -= len(message) + len(_SEPARATOR)
            if len(newest) == KEPT or room < 0:
                break
            newest.append(message)
        return _SEPARATOR.join(reversed(newest))


def clean(text: str) -> str:
    """One printable line without colours and credentials."""
    plain = without_credentials(text[: 4 * LONGEST_MESSAGE])
    if plain.isprintable() and "  " not in plain:  # the usual case, and fast
        return plain.strip()[:LONGEST_MESSAGE]
    plain = _ESCAPES.sub("", plain)
    line = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(line.split())[:LONGEST_MESSAGE]
