"""Finds the tool in a command line, also behind sudo, flock, ssh or a shell, where that is sure."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    sub-command that runs a command. `doubtful`: as in `Found`. `detaches`: whether it returns
    before the command has ended.
    """

    valued: tuple[str, ...] = ()
    words: int = 0
    instead: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    is_joined: bool = False
    needs: str = ""
    doubtful: Callable[[Sequence[str]], frozenset[int]] = lambda arguments: frozenset()
    detaches: Callable[[Call], bool] = lambda own: False
    is_elsewhere: bool = False


def _is_locked(arguments: Sequence[str]) -> frozenset[int]:
    """The status of `flock -n` if another process has the lock."""
    status = Call("flock", tuple(arguments)).value("-E", "--conflict-exit-code") or "1"
    return frozenset({int(status)} if status.isdigit() else ())


def _is_waited_for(own: Call) -> bool:
    """Whether `systemd-run` returns when the unit has ended, not when it has started."""
    is_connected = own.has("--pty", "t") or own.has("--pipe", "P")
    return is_connected or own.has("--wait") or own.has("--scope")


_SHELL = Wrapper(("-o", "-O", "+o", "+O"), line=("-c",))
_CONTAINER = Wrapper(
    (
        *"-e -u -w --detach-keys --env --env-file --user --workdir".split(),
        *"-c --container -n --namespace".split(),
    ),
    words=1,
    needs="exec",
    doubtful=lambda arguments: frozenset({1}),
    detaches=lambda own: own.has("--detach", "d"),
    is_elsewhere=True,
)

_WRAPPERS = {
    "sudo": Wrapper(
        tuple("-u -g -h -p -C -r -t -U -D -R -T --user --group --host --prompt --chdir".split()),
        detaches=lambda own: own.has("--background", "b"),
    ),
    "doas": Wrapper(("-u", "-C")),
    "env": Wrapper(("-u", "--unset", "-C", "--chdir"), line=("-S", "--split-string")),
    "nice": Wrapper(("-n", "--adjustment")),
    "ionice": Wrapper(("-c", "-n", "-P", "-u", "--class", "--classdata")),
    "chrt": Wrapper(("-T", "-P", "-D"), words=1),
    "taskset": Wrapper(words=1),
    "timeout": Wrapper(("-k", "-s", "--kill-after", "--signal"), words=1),
    "stdbuf": Wrapper(("-i", "-o", "-e", "--input", "--output", "--error")),
    "nohup": Wrapper(),
    "setsid": Wrapper(detaches=lambda own: own.has("--fork", "f")),
    "time": Wrapper(("-f", "-o", "--format", "--output")),
    "unbuffer": Wrapper(),
    "chroot": Wrapper(words=1, is_elsewhere=True),
    "systemd-inhibit": Wrapper(("--what", "--who", "--why", "--mode")),
    "systemd-run": Wrapper(
        (
            *"-p -u -E -H -M --property --unit --setenv --slice --uid --gid --nice".split(),
            *"--description --working-directory --on-active --on-calendar".split(),
        ),
        detaches=lambda own: not _is_waited_for(own),
    ),
    "cgexec": Wrapper(("-g",)),
    "numactl": Wrapper(tuple("-N -m -C -i -p".split())),
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
        detaches=lambda own: own.count("f") > 0,
        is_elsewhere=True,
    ),
    **dict.fromkeys(("docker", "podman", "kubectl"), _CONTAINER),
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh"), _SHELL),
}


def find_tool(command: Sequence[str]) -> Found | None:
    """The tool that a command runs; None if it is not known, or not sure."""
    via: list[str] = []
    doubtful: frozenset[int] = frozenset()
    variables: dict[str, str] = {}
    is_elsewhere = False
    for layer in _layers(command):
        if tool := known_name(layer.name):
            given = layer.arguments
            given = given[: given.index("--")] if "--" in given else given
            return Found(tool, tuple(given), tuple(via), doubtful, variables, is_elsewhere)
        if layer.wrapper is None:
            return None
        via.append(layer.name)
        doubtful |= layer.wrapper.doubtful(layer.arguments)
        is_elsewhere |= layer.wrapper.is_elsewhere
        variables.update(layer.variables)
    return None


def detaching_wrapper(command: Sequence[str]) -> str | None:
    """The program that returns before the command which it has started; None if there is none."""
    return next((layer.name for layer in _layers(command) if layer.detaches), None)


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


@dataclass(frozen=True)
class _Layer:
    """A program of a command line. `variables` are set for what a wrapper runs."""

    name: str
    arguments: list[str]
    wrapper: Wrapper | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    detaches: bool = False


def _layers(command: Sequence[str]) -> Iterator[_Layer]:
    """The wrappers of a command and what they run, outermost first, as far as that is sure."""
    words: list[str] | None = list(command)
    for _ in range(_DEEPEST):
        if not words:
            return
        name, arguments = os.path.basename(words[0]), words[1:]
        wrapper = None if known_name(name) else _WRAPPERS.get(name)
        if wrapper is None:
            yield _Layer(name, arguments)
            return
        own, words = _split(arguments, wrapper)
        variables = {}
        while words and (words[0] == "exec" or _ASSIGNMENT.match(words[0])):
            variable, equals, value = words.pop(0).partition("=")
            variables.update({variable: value} if equals else {})
        detaches = wrapper.detaches(Call(name, tuple(own), valued=wrapper.valued))
        yield _Layer(name, arguments, wrapper, variables, detaches)


def _split(words: list[str], wrapper: Wrapper) -> tuple[list[str], list[str] | None]:
    """The arguments of a wrapper itself, and the command that it runs; None if that is not sure."""
    if wrapper.needs:
        if not words or words[0] != wrapper.needs:
            return [], None
        words = words[1:]
    leading = 0 if any(_is_option(word, wrapper.instead) for word in words) else wrapper.words
    position = 0
    while position < len(words):
        word = words[position]
        if _is_line_option(word, wrapper):
            line = words[position + 1] if position + 1 < len(words) else None
            return words[:position], None if line is None else _simple_command(line)
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
    own, rest = words[: position + leading], words[position + leading :]
    if wrapper is _SHELL:
        return own, None  # a script
    return own, _simple_command(" ".join(rest)) if wrapper.is_joined else rest


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
