"""Texts that senders wrote, in a form that no service takes for markup, a mention or a header."""

from __future__ import annotations

import re
import unicodedata

_ZERO_WIDTH_SPACE = "\u200b"
# Control, format and unassigned characters, and the separators of lines: a line break would forge a
# header or another line, an override of the direction other words.
_HIDDEN = re.compile(r"[\s\u200b]+")
# `@everyone`, `<!channel>`, `<@U1>`, `<a …>`, `[words](address)`: each is broken after the part
# given here. An address of mail such as a@example.org stays as it is.
_MARKUP = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#&/\w])|\](?=\()")


def plain(text: str, longest: int = 500) -> str:
    """One line of at most `longest` characters, without markup."""
    shown = "".join(
        " " if unicodedata.category(each) in _CATEGORIES else each for each in text[: 4 * longest]
    )
    line = _HIDDEN.sub(" ", shown).strip()
    if len(line) > longest:
        line = f"{line[: longest - 1].rstrip()}…"
    return _MARKUP.sub(lambda found: found[0] + _ZERO_WIDTH_SPACE, line)


_CATEGORIES = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
