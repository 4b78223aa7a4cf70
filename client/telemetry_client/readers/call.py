"""The command line of a known tool, as its description reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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

    `valued`: its options that have a value in the rest of their argument or in the next one. `via`:
    the programs that run it (`sudo`). `doubtful`: exit statuses that may be theirs. `size_of`
    returns the size of an input file. `is_blind`: the arguments are not known, since a script has
    them; what can be read is expected to be there.
    """

    tool: str
    given: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    size_of: SizeOf = no_size
    via: tuple[str, ...] = ()
    doubtful: frozenset[int] = frozenset()
    is_blind: bool = False
    valued: tuple[str, ...] = ()

    def has(self, name: str, letter: str = "") -> bool:
        """Whether a switch is on: `--json`, or `--json=true`; or its letter, `-vj`."""
        values = [value for option, value in self._options() if option == name]
        if values:
            return (values[-1] or "").lower() not in ("false", "0", "no")
        return bool(letter) and self.count(letter) > 0

    def count(self, letter: str) -> int:
        """How often a short switch is given, alone or combined: `-vv`, `-avh`."""
        return sum(option == f"-{letter}" for option, _ in self._options())

    def value(self, *names: str) -> str | None:
        """The last value of an option: `--repo x`, `--repo=x`, `-r x`, `-rx`."""
        values = self.values(*names)
        return values[-1] if values else None

    def values(self, *names: str) -> list[str]:
        """All values of an option that may be repeated."""
        return [value for option, value in self._options(names) if option in names and value]

    def words(self, valued: tuple[str, ...] = ()) -> list[str]:
        """The arguments that are neither options nor their values; `valued`: more of these."""
        return [value for option, value in self._options(valued) if option == "" and value]

    def command(self) -> str:
        """The first word, which is the command of many tools; empty if there is none."""
        return next(iter(self.words()), "")

    def _options(self, valued: tuple[str, ...] = ()) -> Iterator[tuple[str, str | None]]:
        """Options with their values, if any, and words under the name "".

        Of several letters in one argument, the first one with a value has the rest: `-ns20M`. What
        is in a value is not a switch: `-r/mnt/n`.
        """
        valued = (*self.valued, *valued)
        arguments = iter(self.given)
        for argument in arguments:
            name, equals, joined = argument.partition("=")
            if argument == "-" or not argument.startswith("-"):
                yield "", argument
            elif name.startswith("--"):
                is_next = not equals and name in valued
                yield name, next(arguments, None) if is_next else joined or None
            else:
                for end, letter in enumerate(argument[1:], start=2):
                    if f"-{letter}" in valued:
                        rest = argument[end:].removeprefix("=")
                        yield f"-{letter}", rest or next(arguments, None)
                        break
                    yield f"-{letter}", None


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
