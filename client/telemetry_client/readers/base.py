"""What all readers share: they get a tool's output and return its progress. No I/O, no clock."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from telemetry_client.progress import Progress
from telemetry_client.readers.lines import Lines
from telemetry_client.readers.messages import Messages
from telemetry_client.wire.cleaning import LARGEST_INTEGER

Stream = Literal["stdout", "stderr"]
EndStatus = Literal["completed", "failed", "cancelled"]

# Sent from the keyboard, by an operator, or at shutdown. By convention a tool that catches a signal
# exits with 128 plus its number.
_CANCELLING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# For tools that report whole percents only: 100 means completed.
HIGHEST_PERCENT = 99.0


@dataclass(frozen=True)
class End:
    """How a tool ended. `error` may also be a warning of a completed run."""

    status: EndStatus
    error: str | None
    progress: Progress


@dataclass(frozen=True)
class Missing:
    """A known tool whose output cannot be read without the flag in `hint`."""

    tool: str
    hint: str


class Reader:
    """Reads the output of one run of a tool, line by line (`take`). No output makes it raise."""

    tool = "tool"
    streams: tuple[Stream, ...] = ("stderr",)  # the ones it needs
    fine_statuses: tuple[int, ...] = (0,)
    warning_statuses: tuple[int, ...] = ()  # completed with a warning
    cancelled_statuses: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.progress = Progress()
        self.messages = Messages()
        self._lines: dict[Stream, Lines] = {}

    def take(self, line: str, stream: Stream) -> None:
        """Set `self.progress` or add to `self.messages` from a line."""
        raise NotImplementedError

    def feed(self, data: bytes, stream: Stream | None = None) -> Progress | None:
        """Take bytes of the output; returns the new progress, None if it is unchanged.

        `stream` None: the first one of `streams`. Streams with the same target are fed together, as
        stderr.
        """
        stream = stream or self.streams[0]
        before = self.progress
        # Repeated lines are skipped: thousands of them would slow the tool down.
        for line, _ in groupby(self._lines.setdefault(stream, Lines()).feed(data)):
            self.take(line, stream)
        return self.progress if self.progress is not before else None

    def end(self, exit_status: int) -> End:
        """The end of the run. `exit_status` is negative for a signal, as in subprocess."""
        for stream, lines in self._lines.items():
            for line in lines.flush():
                self.take(line, stream)
        status = self._status(exit_status)
        error = None
        if status != "completed" or exit_status in self.warning_statuses:
            error = describe_exit(self.tool, exit_status, self.messages)
        return End(status, error, self.progress)

    def _status(self, exit_status: int) -> EndStatus:
        if exit_status in self.fine_statuses or exit_status in self.warning_statuses:
            return "completed"
        return "cancelled" if exit_status in self.cancelled_statuses else plain_status(exit_status)


def plain_status(exit_status: int) -> EndStatus:
    """What an exit status means by convention."""
    if exit_status == 0:
        return "completed"
    signals = {-number for number in _CANCELLING} | {128 + number for number in _CANCELLING}
    return "cancelled" if exit_status in signals else "failed"


def plain_end(tool: str, exit_status: int) -> End:
    """The end of a tool whose output was not read."""
    status = plain_status(exit_status)
    error = None if status == "completed" else describe_exit(tool, exit_status)
    return End(status, error, Progress())


def describe_exit(tool: str, exit_status: int, messages: Messages | None = None) -> str:
    """`restic exited with 1: …`, or which signal ended it."""
    if exit_status < 0:
        try:
            name = signal.Signals(-exit_status).name
        except ValueError:
            name = f"signal {-exit_status}"
        sentence = f"{tool} was ended by {name}"
    else:
        sentence = f"{tool} exited with {exit_status}"
    return f"{sentence}: {messages}" if messages else sentence


# ---------------------------------------------------------------------------------------------
# Parsing lines.


def json_object(line: str) -> Mapping[str, Any] | None:
    """The JSON object in a line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def count_of(value: Any) -> int | None:
    """A number of bytes or seconds; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= LARGEST_INTEGER else None


def text_of(value: Any) -> str:
    """A text as it is; empty for anything else."""
    return value if isinstance(value, str) else ""
