"""The last error messages of a tool, short enough for an update."""

from __future__ import annotations

import re
from collections import deque

KEPT = 4
LONGEST_MESSAGE = 300
LONGEST_TEXT = 900
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


def without_credentials(text: str) -> str:
    """The text without passwords: `user:password@` and queries of addresses, and `pass=…`."""
    if "=" in text:
        text = _SECRET_OPTION.sub(r"\1=…", text)
    if "://" not in text:
        return text
    text = _AUTHORITY.sub("", text)
    text = _SLASHED_PASSWORD.sub("", text)
    return _SECRET_QUERY.sub(r"\1=…", text)
