"""Parses a command line: which tool it runs and with which flags, also behind sudo or nice."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

TOOLS = ("restic", "rclone", "borg", "rsync", "pv")
_NAME = re.compile(rf"({'|'.join(TOOLS)})(?:[-_.]?v?\d[\w.]*)?", re.ASCII)  # also restic_0.18


@dataclass(frozen=True)
class Prefix:
    """A program that runs another: its options with a value, and its number of arguments."""

    valued: tuple[str, ...] = ()
    words: int = 0


_PREFIXES = {
    "sudo": Prefix(("-u", "-g", "-h", "-p", "-C", "-r", "-t", "-U", "-D", "-R", "-T")),
    "doas": Prefix(("-u", "-C")),
    "env": Prefix(("-u", "--unset", "-C", "--chdir")),
    "nice": Prefix(("-n", "--adjustment")),
    "ionice": Prefix(("-c", "-n", "-P", "-u", "--class", "--classdata")),
    "chrt": Prefix(("-T", "-P", "-D"), words=1),
    "timeout": Prefix(("-k", "-s", "--kill-after", "--signal"), words=1),
    "stdbuf": Prefix(("-i", "-o", "-e", "--input", "--output", "--error")),
    "nohup": Prefix(),
    "setsid": Prefix(),
    "time": Prefix(("-f", "-o", "--format", "--output")),
}


@dataclass(frozen=True)
class Arguments:
    """The arguments of a known tool, up to a `--`."""

    tool: str
    given: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Whether a long switch is on: `--json`, or `--json=true`."""
        values = [arg.partition("=")[2] for arg in self.given if arg.partition("=")[0] == name]
        return bool(values) and values[-1].lower() not in ("false", "0", "no")

    def count(self, letter: str) -> int:
        """How often a short switch is given, alone or combined: `-vv`, `-avh`."""
        return sum(arg[1:].count(letter) for arg in self.given if _is_short(arg))

    def value(self, *names: str) -> str | None:
        """The last value of an option: `--repo x`, `--repo=x`, `-r x`, `-rx`."""
        found = None
        for arg, following in zip(self.given, (*self.given[1:], None)):
            name, equals, joined = arg.partition("=")
            if arg in names:
                found = following or found
            elif equals and name in names and name.startswith("--"):
                found = joined
            elif _is_short(arg) and arg[:2] in names:
                found = arg[2:].removeprefix("=")
            elif _is_short(arg) and f"-{arg[-1]}" in names:  # the last of several: -ns 20M
                found = following or found
        return found

    def runs(self, *commands: str) -> bool:
        """Whether one of these commands of the tool is among the arguments."""
        return any(arg in commands for arg in self.given)


def arguments_of(command: Sequence[str]) -> Arguments | None:
    """The arguments of a known tool in a command line; None for any other tool."""
    words = list(command)
    while words:
        name = os.path.basename(words[0])
        if match := _NAME.fullmatch(name):
            given = words[1:]
            return Arguments(
                match[1], tuple(given[: given.index("--")] if "--" in given else given)
            )
        prefix = _PREFIXES.get(name)
        if prefix is None:
            return None
        words = _after(words[1:], prefix)
    return None


def _after(words: list[str], prefix: Prefix) -> list[str]:
    """The command that a prefix runs."""
    position = 0
    while position < len(words):
        word = words[position]
        if word in prefix.valued:
            position += 2
        elif word == "--":
            return words[position + 1 + prefix.words :]
        elif word.startswith("-") or re.match(r"[A-Za-z_]\w*=", word):
            position += 1
        else:
            return words[position + prefix.words :]
    return []


def _is_short(arg: str) -> bool:
    return len(arg) > 1 and arg[0] == "-" and arg[1] != "-"
