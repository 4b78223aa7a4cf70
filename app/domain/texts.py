"""How long the texts of errors are, where they are stored and where they are listed."""

from __future__ import annotations

LONGEST_STORED_BYTES = 64 * 1024
LONGEST_LISTED = 500  # characters; ten whole errors may be megabytes

# A character has at most four bytes in UTF-8: a text of so many characters is short enough.
SURELY_SHORT = LONGEST_STORED_BYTES // 4
_ROOM_FOR_NOTE = 64
_KEPT_AT_EACH_END = (LONGEST_STORED_BYTES - _ROOM_FOR_NOTE) // 2


def cut_middle(text: str) -> str:
    """A text of at most LONGEST_STORED_BYTES in UTF-8; where it was cut it says so.

    Errors begin with what failed and end with why: the middle is mostly a log.
    """
    if len(text) <= SURELY_SHORT:
        return text
    raw = text.encode()
    if len(raw) <= LONGEST_STORED_BYTES:
        return text
    first = raw[:_KEPT_AT_EACH_END].decode(errors="ignore")
    last = raw[-_KEPT_AT_EACH_END:].decode(errors="ignore")
    return f"{first}\n… {len(raw) - 2 * _KEPT_AT_EACH_END} bytes cut …\n{last}"


def shorten(text: str) -> str:
    """A text as lists show it: at most LONGEST_LISTED characters, with an ellipsis if cut."""
    return text if len(text) <= LONGEST_LISTED else f"{text[: LONGEST_LISTED - 1]}…"
