"""The last words of a tool: what went wrong, short enough to travel with an update."""

from __future__ import annotations

import re
from collections import deque

KEPT = 4  # the first of many alike is in the tool's own output
LONGEST_WORD = 300
LONGEST_TEXT = 900
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# The authority of an address up to its last @; or, where a password holds a slash, up to the @.
_AUTHORITY = re.compile(r"(?<=://)[^/\s@]*(?:@[^/\s@]*)*@")
_SLASHED_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:(?!\d*(?:/|$))[^\s@]*@")
_SECRET_QUERY = re.compile(r"(?<=[?&;])([^=&#\s]+)=[^&#\s'\"]+")
# `pass=x`, as in rclone's `:sftp,host=h,pass="x":path`, whose quotes its log may escape.
_SECRET_OPTION = re.compile(
    r"""([\w-]*(?:pass|secret|token|key|credential|auth|sas_url)[\w-]*)="""
    r"""(?:\\?"[^"]*"|\\?'[^']*'|[^\s,:;&'"]+)""",
    re.IGNORECASE,
)


class Words:
    """The newest few different sentences."""

    def __init__(self) -> None:
        self._said: deque[str] = deque(maxlen=KEPT)

    def add(self, text: str) -> None:
        """Remember a sentence, the oldest one gives way."""
        word = clean(text)
        if word in self._said:
            self._said.remove(word)
        if word:
            self._said.append(word)

    def __bool__(self) -> bool:
        return bool(self._said)

    def __str__(self) -> str:
        return "; ".join(self._said)[:LONGEST_TEXT]


def clean(text: str) -> str:
    """One printable line without colours and credentials."""
    plain = without_credentials(text[: 4 * LONGEST_WORD])
    if plain.isprintable() and "  " not in plain:  # nearly all; a tool may say thousands at once
        return plain.strip()[:LONGEST_WORD]
    plain = _ESCAPES.sub("", plain)
    line = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(line.split())[:LONGEST_WORD]


def without_credentials(text: str) -> str:
    """The text without passwords: `user:password@` and queries of addresses, and `pass=…`."""
    if "=" in text:
        text = _SECRET_OPTION.sub(r"\1=…", text)
    if "://" not in text:
        return text
    text = _AUTHORITY.sub("", text)
    text = _SLASHED_PASSWORD.sub("", text)
    return _SECRET_QUERY.sub(r"\1=…", text)
