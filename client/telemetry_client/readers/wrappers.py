"""Finds the tool in a command line, also behind sudo, flock, ssh or a shell, where that is sure."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from telemetry_client.readers.call import Call
from telemetry_client.readers.tools import known_name

_DEEPEST = 10  # wrappers inside wrappers
# A shell command line with any of these is more than one command with its arguments.
_SHELL_SYNTAX = re.compile(r"[|&;<>()$`\\\n*?\[\]{}~#!]")
_PIPE = re.compile(r"(?<!\|)\|(?!\|)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


@dataclass(frozen=True)
class Found:
    """A known tool and its arguments, up to a `--`.

    `via`: the programs that run it, outermost first. `doubtful`: exit statuses that one of these
    may return without a word. `variables` are set for it in the command line. `is_elsewhere`: it
    has another environment and other files than we.
    """

    tool: str
    given: tuple[str, ...]
    via: tuple[str, ...] = ()
    doubtful: frozenset[int] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)
    is_elsewhere: bool = False


@dataclass(frozen=True)
class Wrapper:
    """A program that runs another one.

    `valued`: its options with a value in the next argument. `words`: how many arguments come before
    the command, unless one of the options `instead` is given. `line`: options whose value is a
    command line of a shell. `is_joined`: the rest of the arguments is such a line. `needs`: the
    sub-command that runs a command. `doubtful`: as in `Found`.
    """

    valued: tuple[str, ...] = ()
    words: int = 0
    instead: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    is_joined: bool = False
    needs: str = ""
    doubtful: Callable[[Sequence[str]], frozenset[int]] = lambda arguments: frozenset()
    is_elsewhere: bool = False


def _is_locked(arguments: Sequence[str]) -> frozenset[int]:
    """The status of `flock -n` if another process has the lock."""
    status = Call("flock", tuple(arguments)).value("-E", "--conflict-exit-code") or "1"
    return frozenset({int(status)} if status.isdigit() else ())


_SHELL = Wrapper(("-o", "-O", "+o", "+O"), line=("-c",))
_CONTAINER = Wrapper(
    (
        *"-e -u -w --detach-keys --env --env-file --user --workdir".split(),
        *"-c --container -n --namespace".split(),
    ),
    words=1,
    needs="exec",
    doubtful=lambda arguments: frozenset({1}),
    is_elsewhere=True,
)

_WRAPPERS = {
    "sudo": Wrapper(
        tuple("-u -g -h -p -C -r -t -U -D -R -T --user --group --host --prompt --chdir".split())
    ),
    "doas": Wrapper(("-u", "-C")),
    "env": Wrapper(("-u", "--unset", "-C", "--chdir")),
    "nice": Wrapper(("-n", "--adjustment")),
    "ionice": Wrapper(("-c", "-n", "-P", "-u", "--class", "--classdata")),
    "chrt": Wrapper(("-T", "-P", "-D"), words=1),
    "taskset": Wrapper(words=1),
    "timeout": Wrapper(("-k", "-s", "--kill-after", "--signal"), words=1),
    "stdbuf": Wrapper(("-i", "-o", "-e", "--input", "--output", "--error")),
    "nohup": Wrapper(),
    "setsid": Wrapper(),
    "time": Wrapper(("-f", "-o", "--format", "--output")),
    "unbuffer": Wrapper(),
    "chroot": Wrapper(words=1, is_elsewhere=True),
    "systemd-inhibit": Wrapper(("--what", "--who", "--why", "--mode")),
    "systemd-run": Wrapper(("-p", "-u", "-E", "--property", "--unit", "--setenv", "--slice")),
    "cgexec": Wrapper(("-g",)),
    "numactl": Wrapper(),
    "flock": Wrapper(
        ("-w", "-E", "--timeout", "--wait", "--conflict-exit-code"),
        words=1,
        line=("-c", "--command"),
        doubtful=_is_locked,
    ),
    "runuser": Wrapper(
        ("-u", "-g", "-G", "-s", "--user", "--group", "--shell"),
        words=1,
        instead=("-u", "--user"),
        line=("-c", "--command"),
    ),
    "su": Wrapper(("-g", "-G", "-s", "-w"), words=1, line=("-c", "--command")),
    "ssh": Wrapper(
        tuple(f"-{letter}" for letter in "bceilmopwBDEFIJLOQRSW"),
        words=1,
        is_joined=True,
        is_elsewhere=True,
    ),
    **dict.fromkeys(("docker", "podman", "kubectl"), _CONTAINER),
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh"), _SHELL),
}


def find_tool(command: Sequence[str]) -> Found | None:
    """The tool that a command runs; None if it is not known, or not sure."""
    words: list[str] | None = list(command)
    via: list[str] = []
    doubtful: frozenset[int] = frozenset()
    variables: dict[str, str] = {}
    is_elsewhere = False
    while words and len(via) < _DEEPEST:
        name = os.path.basename(words[0])
        if tool := known_name(name):
            given = words[1:]
            given = given[: given.index("--")] if "--" in given else given
            return Found(tool, tuple(given), tuple(via), doubtful, variables, is_elsewhere)
        wrapper = _WRAPPERS.get(name)
        if wrapper is None:
            return None
        via.append(name)
        doubtful |= wrapper.doubtful(words[1:])
        is_elsewhere |= wrapper.is_elsewhere
        words = _inside(words[1:], wrapper)
        while words and (words[0] == "exec" or _ASSIGNMENT.match(words[0])):
            variable, equals, value = words.pop(0).partition("=")
            variables.update({variable: value} if equals else {})
    return None


def mentioned_tool(command: Sequence[str]) -> str | None:
    """A known tool that a command seems to run in a way that is not sure, such as a pipeline."""
    if find_tool(command) is not None:
        return None
    wrapped = command and os.path.basename(command[0]) in _WRAPPERS
    words = re.split(r"[\s|&;()]+", " ".join(command)) if wrapped else []
    tools = [known_name(os.path.basename(word)) for word in words[1:]]
    return next((tool for tool in tools if tool is not None), None)


def hides_failures(command: Sequence[str]) -> bool:
    """Whether a command is a shell's pipeline whose status is that of its last part only."""
    is_shell = any(_WRAPPERS.get(os.path.basename(word)) is _SHELL for word in command)
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", " ".join(command))
    return is_shell and bool(_PIPE.search(unquoted)) and "pipefail" not in unquoted


def arguments_of(tool: str, command: Sequence[str]) -> tuple[str, ...] | None:
    """The arguments of a tool in a pipeline or the like; None if it is in a script."""
    lexer = shlex.shlex(" ".join(command), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return None
    starts = [n for n, word in enumerate(words) if known_name(os.path.basename(word)) == tool]
    if not starts:
        return None
    given = words[starts[0] + 1 :]
    ends = [n for n, word in enumerate(given) if word == "--" or set(word) <= set("();<>|&")]
    return tuple(given[: ends[0]] if ends else given)


def _inside(words: list[str], wrapper: Wrapper) -> list[str] | None:
    """The command that a wrapper runs, after variables; None if that is not sure."""
    if wrapper.needs:
        if not words or words[0] != wrapper.needs:
            return None
        words = words[1:]
    leading = 0 if any(_is_option(word, wrapper.instead) for word in words) else wrapper.words
    position = 0
    while position < len(words):
        word = words[position]
        if _is_line_option(word, wrapper):
            return _simple_command(words[position + 1]) if position + 1 < len(words) else None
        if word == "--":
            position += 1
            break
        if _takes_value(word, wrapper):
            position += 2
        elif word.startswith("-"):
            position += 1
        elif leading:
            leading -= 1
            position += 1
        else:
            break
    rest = words[position + leading :]
    if wrapper is _SHELL:
        return None  # a script
    return _simple_command(" ".join(rest)) if wrapper.is_joined else rest


def _is_option(word: str, options: tuple[str, ...]) -> bool:
    return word.partition("=")[0] in options


def _is_line_option(word: str, wrapper: Wrapper) -> bool:
    """Whether the command line follows: `-c`, and of shells also `-ec`."""
    if word in wrapper.line:
        return True
    return wrapper is _SHELL and bool(re.fullmatch(r"-[a-z]*c", word))


def _takes_value(word: str, wrapper: Wrapper) -> bool:
    """Whether the next word is the value of this option: `-u`, and of letters the last: `-Eu`."""
    if word in wrapper.valued:
        return True
    is_letters = re.fullmatch(r"-[a-zA-Z]{2,}", word)
    return (
        bool(is_letters)
        and not any(f"-{letter}" in wrapper.valued for letter in word[1:-1])
        and f"-{word[-1]}" in wrapper.valued
    )


def _simple_command(line: str) -> list[str] | None:
    """The words of a shell's command line if it is one command; None if it may be more."""
    if _SHELL_SYNTAX.search(re.sub(r"'[^']*'", "", line)):
        return None
    try:
        return shlex.split(line)
    except ValueError:
        return None
