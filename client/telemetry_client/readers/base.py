"""What all readers share: they are fed a tool's bytes and say how far it is. No I/O, no clock."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from telemetry_client.readers.lines import Lines
from telemetry_client.readers.words import Words
from telemetry_client.updates import LARGEST_INTEGER, Progress

Stream = Literal["stdout", "stderr"]
EndStatus = Literal["completed", "failed", "cancelled"]

# Ended by somebody: from the keyboard, by an operator, by a shutdown. By the shell's custom a tool
# that catches the signal exits with 128 and its number.
_CANCELLING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a tool only says in whole percent is not all of it before the tool has ended.
HIGHEST_PERCENT = 99.0


@dataclass(frozen=True, slots=True)
class End:
    """How a tool ended: `error` is what to keep of it, also where it completed with a warning."""

    status: EndStatus
    error: str | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class Missing:
    """A known tool that was not asked for output a program can read; `hint` names the flag."""

    tool: str
    hint: str


class Reader:
    """Reads the streams of one run of a tool. What a line means a tool's own reader says (`take`).

    Nothing a tool writes makes it raise.
    """

    tool = "tool"
    streams: tuple[Stream, ...] = ("stderr",)  # what it has to be fed; the others it never sees
    fine_statuses: tuple[int, ...] = (0,)
    warning_statuses: tuple[int, ...] = ()  # done, with something to tell
    cancelled_statuses: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.progress = Progress()
        self.words = Words()
        self._lines: dict[Stream, Lines] = {}

    def take(self, line: str, stream: Stream) -> None:
        """Set `self.progress` or add to `self.words`, as the line says."""
        raise NotImplementedError

    def feed(self, data: bytes, stream: Stream | None = None) -> Progress | None:
        """The newest progress after these bytes; None when they say nothing new.

        `stream` None: the reader's first one. Streams that the tool writes to one place are fed
        together, as stderr.
        """
        stream = stream or self.streams[0]
        before = self.progress
        # A repeat that comes at once says nothing new, and thousands of them hold the tool up.
        for line, _ in groupby(self._lines.setdefault(stream, Lines()).feed(data)):
            self.take(line, stream)
        return self.progress if self.progress is not before else None

    def end(self, exit_status: int) -> End:
        """What the run came to. `exit_status` is negative for a signal, as subprocess has it."""
        for stream, lines in self._lines.items():
            for line in lines.flush():
                self.take(line, stream)
        status = self._status(exit_status)
        error = None
        if status != "completed" or exit_status in self.warning_statuses:
            error = describe_exit(self.tool, exit_status, self.words)
        return End(status, error, self.progress)

    def _status(self, exit_status: int) -> EndStatus:
        if exit_status in self.fine_statuses or exit_status in self.warning_statuses:
            return "completed"
        return "cancelled" if exit_status in self.cancelled_statuses else plain_status(exit_status)


def plain_status(exit_status: int) -> EndStatus:
    """What an exit status means by custom."""
    if exit_status == 0:
        return "completed"
    signals = {-number for number in _CANCELLING} | {128 + number for number in _CANCELLING}
    return "cancelled" if exit_status in signals else "failed"


def plain_end(tool: str, exit_status: int) -> End:
    """The end of a tool that nobody read."""
    status = plain_status(exit_status)
    error = None if status == "completed" else describe_exit(tool, exit_status)
    return End(status, error, Progress())


def describe_exit(tool: str, exit_status: int, words: Words | None = None) -> str:
    """`restic exited with 1: …`, or which signal ended it."""
    if exit_status < 0:
        try:
            name = signal.Signals(-exit_status).name
        except ValueError:
            name = f"signal {-exit_status}"
        sentence = f"{tool} was ended by {name}"
    else:
        sentence = f"{tool} exited with {exit_status}"
    return f"{sentence}: {words}" if words else sentence


# ---------------------------------------------------------------------------------------------
# What a line holds.


def json_object(line: str) -> Mapping[str, Any] | None:
    """The object that a line is; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def count_of(value: Any) -> int | None:
    """A number of bytes or seconds; None for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= LARGEST_INTEGER else None


def text_of(value: Any) -> str:
    """A text as it stands, and nothing for anything else."""
    return value if isinstance(value, str) else ""
