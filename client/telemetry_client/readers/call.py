"""The command line of a known tool, as its description reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Optional

SizeOf = Callable[[str], Optional[int]]  # of a file; `-` is standard input

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)", re.ASCII | re.IGNORECASE)


def no_size(_name: str) -> int | None:
    """A `size_of` that knows no file."""
    return None


@dataclass(frozen=True)
class Call:
    """The arguments of a tool, up to a `--`, and its environment.

    `via`: the programs that run it (`sudo`). `doubtful`: exit statuses that may be theirs.
    `size_of` returns the size of an input file. `is_blind`: the arguments are not known, since a
    script has them; what can be read is expected to be there.
    """

    tool: str
    given: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    size_of: SizeOf = no_size
    via: tuple[str, ...] = ()
    doubtful: frozenset[int] = frozenset()
    is_blind: bool = False

    def has(self, name: str, letter: str = "") -> bool:
        """Whether a switch is on: `--json`, or `--json=true`; or its letter, `-vj`."""
        values = [arg.partition("=")[2] for arg in self.given if arg.partition("=")[0] == name]
        if values:
            return values[-1].lower() not in ("false", "0", "no")
        return bool(letter) and self.count(letter) > 0

    def count(self, letter: str) -> int:
        """How often a short switch is given, alone or combined: `-vv`, `-avh`."""
        return sum(arg[1:].count(letter) for arg in self.given if _is_short(arg))

    def value(self, *names: str) -> str | None:
        """The last value of an option: `--repo x`, `--repo=x`, `-r x`, `-rx`."""
        values = self.values(*names)
        return values[-1] if values else None

    def values(self, *names: str) -> list[str]:
        """All values of an option that may be repeated."""
        found = []
        for arg, following in zip(self.given, (*self.given[1:], None)):
            name, equals, joined = arg.partition("=")
            # The last of several letters may have a value, too: -ns 20M.
            if arg in names or (_is_short(arg) and len(arg) > 2 and f"-{arg[-1]}" in names):
                found += [following] if following else []
            elif equals and name in names:
                found.append(joined)
            elif _is_short(arg) and arg[:2] in names:
                found.append(arg[2:].removeprefix("="))
        return found

    def words(self, valued: tuple[str, ...] = ()) -> list[str]:
        """The arguments that are neither options nor values of the options `valued`."""
        words, skips = [], False
        for arg in self.given:
            if skips:
                skips = False
            elif arg == "-" or not arg.startswith("-"):
                words.append(arg)
            else:
                is_last_letter = _is_short(arg) and len(arg) > 2 and f"-{arg[-1]}" in valued
                is_joined = _is_short(arg) and arg[:2] in valued and len(arg) > 2
                skips = arg in valued or (is_last_letter and not is_joined)
        return words

    def command(self, valued: tuple[str, ...] = ()) -> str:
        """The first word, which is the command of many tools; empty if there is none."""
        words = self.words(valued)
        return words[0] if words else ""


def _is_short(arg: str) -> bool:
    return len(arg) > 1 and arg[0] == "-" and arg[1] != "-"


def size_in_1024s(text: str | None) -> int | None:
    """`20M` in powers of 1024; None for any other text."""
    match = _SIZE.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    factor: int = 1024 ** " kmgtp".index(match[2].lower() or " ")
    return round(float(match[1]) * factor)


def is_true(text: str | None) -> bool:
    """Whether an environment variable turns something on."""
    return (text or "").strip().lower() in ("true", "1", "t", "yes")
