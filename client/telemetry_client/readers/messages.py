"""The last error messages of a tool, short enough for an update."""

from __future__ import annotations

import os
import re
from collections import deque

KEPT = 4
_KEPT_RAW = 50  # among them may be repeats and empty lines
LONGEST_MESSAGE = 300
LONGEST_TEXT = 900
_SEPARATOR = "; "
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# The user in an address: up to its last @, or up to the @ if a password contains a slash.
_AUTHORITY = re.compile(r"(?<=://)[^/\s@]*(?:@[^/\s@]*)*@")
_SLASHED_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:(?!\d*(?:/|$))[^\s@]*@")
_SECRET_QUERY = re.compile(r"(?<=[?&;])([^=&#\s]+)=[^&#\s'\"]+")
# `pass=x`, as in rclone's `:sftp,host=h,pass="x":path`, whose quotes its log may escape.
_SECRET_OPTION = re.compile(
    r"""([\w-]*(?:pass|secret|token|key|credential|auth|sas_url)[\w-]*)="""
    r"""(?:\\?"[^"]*"|\\?'[^']*'|[^\s,:;&'"]+)""",
    re.IGNORECASE,
)


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


def without_credentials(text: str) -> str:
    """The text without passwords: `user:password@` and queries of addresses, and `pass=…`."""
    if "=" in text:
        text = _SECRET_OPTION.sub(r"\1=…", text)
    if "://" not in text:
        return text
    text = _AUTHORITY.sub("", text)
    text = _SLASHED_PASSWORD.sub("", text)
    return _SECRET_QUERY.sub(r"\1=…", text)
