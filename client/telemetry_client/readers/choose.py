"""Chooses the reader for a command line, or says what is missing for one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry_client.readers.base import Detached, LastLines, Reader
from telemetry_client.readers.call import Call, SizeOf, no_size
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool
from telemetry_client.readers.tools import find, known_name
from telemetry_client.readers.wrappers import (
    Found,
    arguments_of,
    detaching_wrapper,
    find_tool,
    hides_failures,
    mentioned_tool,
)
from telemetry_client.wire.cleaning import LONGEST_NAME
from telemetry_client.wire.credentials import without_credentials

_ANY_FAILURE = frozenset(range(1, 256))  # of a script: its other commands may fail as well


@dataclass(frozen=True)
class Choice:
    """What is known of a command. `hint`: a sentence about what would make its progress readable.

    `hides_failures`: it is a pipeline, of which the status shows only the last part.
    `tool` and `call` are None for a program that is not known; its reader keeps last words only.
    `has_patterns`: the reader searches for expressions of the user.
    """

    reader: Reader
    tool: Tool | None = None
    call: Call | None = None
    hint: str | None = None
    hides_failures: bool = False
    has_patterns: bool = False


def choose_reader(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    size_of: SizeOf = no_size,
    *,
    tool: str | None = None,
    patterns: Sequence[str] = (),
) -> Choice:
    """The reader of a command's output.

    `tool`: the command runs this tool, in whatever way. `patterns`: regular expressions that read
    its progress. `environ` is the tool's: some have options there. Raises KeyError for an unknown
    `tool`, ValueError for an invalid pattern.
    """
    call = _call_of(command, environ or {}, size_of, tool)
    if wrapper := detaching_wrapper(command):
        return _detached(command, wrapper, call)
    if call is None:
        return _unknown(command, patterns)
    described = find(call.tool)
    found = PatternReader(patterns) if patterns else described.reader(call)
    reader = found if isinstance(found, Reader) else LastLines()
    reader.tool = call.tool
    reader.exits = described.exits(call)
    reader.via, reader.doubtful = call.via, call.doubtful
    reader.is_dry_run = described.is_dry_run(call)
    hint = _hint(call, found) if isinstance(found, Missing) else None
    return Choice(reader, described, call, hint, hides_failures(command), bool(patterns))


def _unknown(command: Sequence[str], patterns: Sequence[str]) -> Choice:
    reader = PatternReader(patterns) if patterns else LastLines()
    reader.tool = os.path.basename(command[0]) if command else ""
    hint = None if patterns else _mention(command)
    return Choice(
        reader, hint=hint, hides_failures=hides_failures(command), has_patterns=bool(patterns)
    )


def _detached(command: Sequence[str], wrapper: str, call: Call | None) -> Choice:
    reader = Detached()
    reader.tool = call.tool if call is not None else os.path.basename(command[0])
    reader.via = call.via if call is not None else ()
    hint = (
        f"{wrapper} returns while its command is still running: how that ends is not known. "
        "Run it in the foreground."
    )
    tool = find(call.tool) if call is not None else None
    return Choice(reader, tool, call, hint, hides_failures(command))


def repository_of(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The repository or target of a known tool; None if there is none in the command line."""
    call = _call_of(command, environ, no_size, None)
    repository = find(call.tool).repository(call) if call else None
    return (_plain(repository)[:LONGEST_NAME] or None) if repository else None


def _call_of(
    command: Sequence[str], environ: Mapping[str, str], size_of: SizeOf, named: str | None
) -> Call | None:
    found = find_tool(command)
    if named is not None:
        name = known_name(named)
        if name is None:
            raise KeyError(named)
        if found is None or found.tool != name:
            given = arguments_of(name, command)
            if given is None:
                return Call(name, is_blind=True, doubtful=_ANY_FAILURE)
            found = Found(name, given, doubtful=_ANY_FAILURE)
            size_of = no_size  # its standard input may be a pipe
    if found is None:
        return None
    if found.is_elsewhere:
        environ, size_of = {}, no_size
    environ = {**environ, **found.variables}
    return Call(
        found.tool,
        found.given,
        environ,
        size_of,
        found.via,
        found.doubtful,
        valued=find(found.tool).valued,
    )


def _hint(call: Call, missing: Missing) -> str:
    return (
        f"{call.tool} does not report its progress: run it with {missing.hint} to see it. "
        "Until then the hub only knows that it is running."
    )


def _mention(command: Sequence[str]) -> str | None:
    tool = mentioned_tool(command)
    if tool is None:
        return None
    return f"if the progress of this command is that of {tool}, read it with --tool {tool}."


def _plain(text: str) -> str:
    """The text without credentials, also those of rclone's `:sftp,host=h,pass=p:path`."""
    printable = "".join(char for char in without_credentials(text) if char.isprintable())
    backend, comma, options = printable.partition(",")
    if comma and "=" in options and "/" not in backend:
        _, colon, path = options.rpartition(":")
        return f"{backend}:{path}" if colon else backend
    return printable
