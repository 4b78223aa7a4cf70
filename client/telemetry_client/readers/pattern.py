"""Reads progress by regular expressions: those of a user, or those of a tool's description."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Optional

from telemetry_client.readers.base import Reader, Stream, count_of

GROUPS = ("done", "total", "percent", "speed", "phase")
LONGEST_LINE = 2_000  # characters; reports of progress are shorter
_NUMBER = re.compile(r"(\d+(?:[.,' ]\d+)*)\s*([kmgtpe]?)(i?)(?=b|\W|$)", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 100  # characters; Python refuses to convert thousands of digits
_NAMED_PHASES = 200  # of more, only every hundredth is named: each costs an update
_POWERS = " KMGTPE"
_ALMOST_ALL = 99.99  # 100 means completed

Found = dict[str, str]  # the groups of a match that are not empty
Search = Callable[[Sequence[str]], list[Optional[Found]]]  # of each line


class PatternReader(Reader):
    """Searches each line for each pattern; the first one that is found counts.

    Groups: `done`, `total`, `percent`, `speed` and `phase`. Sizes may have a unit: with an `i`, as
    in MiB, it is a power of 1024; without, of `base`. A line of stderr that is not progress is kept
    as a message, unless it matches `noise`. A total without `done` is kept for the lines that have
    none. `scale`: how many bytes are 1 of `done` and `total`. `search` may be replaced.
    """

    streams: tuple[Stream, ...] = ("stdout", "stderr")

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        base: int = 1000,
        scale: int = 1,
        streams: tuple[Stream, ...] = ("stdout", "stderr"),
        total_bytes: int | None = None,
        noise: str | None = None,
    ) -> None:
        super().__init__()
        self.streams = streams
        self.search: Search = partial(search_lines, [compiled(pattern) for pattern in patterns])
        self._base = base
        self._scale = scale
        self._total = total_bytes
        self._noise = re.compile(noise) if noise is not None else None
        self._phases_count = 0

    def take_all(self, lines: Sequence[str], stream: Stream) -> None:
        for line, found in zip(lines, self.search(lines) if lines else ()):
            if found is not None:
                self._take_groups(found)
            elif self._noise is None or not self._noise.search(line):
                super().take(line, stream)

    def take(self, line: str, stream: Stream) -> None:
        self.take_all([line], stream)

    def _take_groups(self, found: Found) -> None:
        changes: dict[str, Any] = {}
        done, total, speed = (self._bytes(found.get(name)) for name in ("done", "total", "speed"))
        if done is not None:
            total = self._total if total is None else total
            changes.update(bytes_transferred=done, total_bytes=total)
        elif total is not None:
            self._total = total
        elif speed is not None:  # otherwise it is measured
            changes.update(speed_bps=speed // self._scale)
        percent = percent_in(found.get("percent"))
        if percent is not None:
            changes.update(percent=percent)
        phase = self._phase(found.get("phase"))
        # Once for all: there may be thousands of lines a second.
        self.progress = replace(self.progress, phase=phase, **changes)

    def _phase(self, named: str | None) -> str:
        before = self.progress.phase or "transferring"
        if named is None or named == before:
            return before
        self._phases_count += 1
        is_one_of_many = self._phases_count > _NAMED_PHASES and self._phases_count % 100
        return before if is_one_of_many else named[:100]

    def _bytes(self, text: str | None) -> int | None:
        size = size_in(text, self._base)
        return None if size is None else count_of(size * self._scale)


def search_lines(patterns: Sequence[re.Pattern[str]], lines: Sequence[str]) -> list[Found | None]:
    """The groups of the first pattern that is found in each line; None if none is."""
    return [_search_line(patterns, line[:LONGEST_LINE]) for line in lines]


def _search_line(patterns: Sequence[re.Pattern[str]], line: str) -> Found | None:
    for pattern in patterns:
        match = pattern.search(line)
        if match is not None:
            return {name: text.strip() for name, text in match.groupdict().items() if text}
    return None


def compiled(pattern: str) -> re.Pattern[str]:
    """The expression. Raises ValueError if it is invalid or has none of the groups."""
    try:
        found = re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"{pattern!r} is not a regular expression: {exc}") from exc
    unknown = set(found.groupindex) - set(GROUPS)
    if unknown or not found.groupindex:
        names = ", ".join(f"(?P<{name}>…)" for name in GROUPS)
        raise ValueError(f"{pattern!r} must have named groups, and only these: {names}")
    return found


def size_in(text: str | None, base: int) -> int | None:
    """`1,234`, `1.5G` or `1.5 GiB` in bytes; None for anything else, and if it is too large."""
    match = _NUMBER.match(text[:_LONGEST_NUMBER]) if text else None
    if match is None:
        return None
    digits, unit, is_binary = match.groups()
    *whole, last = re.split(r"[.,' ]", digits)
    # A group of three digits behind one separator is a fraction only with a unit: 1.234 MiB.
    is_fraction = bool(whole) and (bool(unit) or len(last) != 3) and digits[-len(last) - 1] in ".,"
    number = float("".join(whole) + "." + last) if is_fraction else float("".join([*whole, last]))
    if not is_fraction and not unit:
        return count_of(int("".join([*whole, last])))
    factor: int = (1024 if is_binary else base) ** _POWERS.index(unit.upper() or " ")
    return count_of(round(number * factor))


def percent_in(text: str | None) -> float | None:
    """A percentage below 100, which only a completed job has; None for anything else."""
    try:
        percent = float((text or "").replace(",", ".").rstrip("% "))
    except ValueError:
        return None
    return min(percent, _ALMOST_ALL) if 0 <= percent <= 1000 else None
