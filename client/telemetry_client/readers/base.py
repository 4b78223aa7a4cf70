"""What all readers share: they get a tool's output and return its progress. No I/O, no clock."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from telemetry_client.progress import Progress, percent_of
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
LONGEST_ETA_SECONDS = 10 * 365 * 86_400  # more is an overflow or a division by almost nothing
_LAST_BYTES = 1 << 14  # of stderr: more than the longest error
_SHORT_OF_TOTAL = 0.99  # a completed run with less than this part of its total is worth a warning


@dataclass(frozen=True)
class Outcome:
    """What an exit status of a tool means. `completed` is with a warning, unless `is_fine`."""

    status: EndStatus
    meaning: str
    is_fine: bool = False


Exits = Mapping[int, Outcome]


def fine(meaning: str) -> Outcome:
    """The job is completed."""
    return Outcome("completed", meaning, is_fine=True)


def warning(meaning: str) -> Outcome:
    """The job is completed, with a warning."""
    return Outcome("completed", meaning)


def cancelled(meaning: str) -> Outcome:
    """The job was stopped on purpose."""
    return Outcome("cancelled", meaning)


def failed(meaning: str) -> Outcome:
    """The job has failed, for a reason that the exit status tells."""
    return Outcome("failed", meaning)


@dataclass(frozen=True)
class End:
    """How a tool ended. `error` may also be a warning of a completed run."""

    status: EndStatus
    error: str | None
    progress: Progress
    is_dry_run: bool = False


class Reader:
    """Reads the output of one run of a tool, line by line (`take`). No output makes it raise.

    `tool` and `exits` describe the tool; `via` the programs that run it, and `doubtful` the
    statuses that may be theirs: these are not a success unless the tool has reported progress.
    `is_dry_run`: nothing is written, whatever the tool counts.
    """

    streams: tuple[Stream, ...] = ("stderr",)  # the ones it needs
    reads_progress = True

    def __init__(self) -> None:
        self.tool = "tool"
        self.exits: Exits = {}
        self.via: tuple[str, ...] = ()
        self.doubtful: frozenset[int] = frozenset()
        self.is_dry_run = False
        self.progress = Progress()
        self.messages = Messages()
        self._lines: dict[Stream, Lines] = {}

    def take(self, line: str, stream: Stream) -> None:
        """Set `self.progress` from a line; a line of stderr without progress is a message."""
        if stream == "stderr":
            self.messages.add(line)

    def take_all(self, lines: Sequence[str], stream: Stream) -> None:
        """Take the lines of one read."""
        for line in lines:
            self.take(line, stream)

    def feed(self, data: bytes, stream: Stream | None = None) -> Progress | None:
        """Take bytes of the output; returns the new progress, None if it is unchanged.

        `stream` None: the first one of `streams`. Streams with the same target are fed together, as
        stderr.
        """
        stream = stream or self.streams[0]
        before = self.progress
        # Repeated lines are skipped: thousands of them would slow the tool down.
        lines = [line for line, _ in groupby(self._lines.setdefault(stream, Lines()).feed(data))]
        try:
            self.take_all(lines, stream)
        except Exception:
            for line in lines:
                Reader.take(self, line, stream)
            raise
        return self._shown() if self.progress is not before else None

    def end(self, exit_status: int) -> End:
        """The end of the run. `exit_status` is negative for a signal, as in subprocess."""
        self._flush()
        outcome = self._outcome(exit_status)
        progress = self._shown()
        error = None
        if outcome.status != "completed" or not outcome.is_fine:
            words = str(self.messages) or outcome.meaning
            who = (*self.via, self.tool) if self._is_unsure(exit_status) else (self.tool,)
            error = describe_exit(" or ".join(who), exit_status, words)
        else:
            error = _shortfall(self.tool, progress)
        return End(outcome.status, error, progress, self.is_dry_run)

    def _flush(self) -> None:
        """Take the lines that have no end yet."""
        for stream, lines in self._lines.items():
            for line in lines.flush():
                self.take(line, stream)

    @property
    def has_read(self) -> bool:
        """Whether the output has contained progress."""
        return self.progress != Progress()

    def _outcome(self, exit_status: int) -> Outcome:
        outcome = self.exits.get(exit_status)
        if outcome is None or self._is_unsure(exit_status):
            return plain_outcome(exit_status)
        return outcome

    def _is_unsure(self, exit_status: int) -> bool:
        """Whether an exit status may be that of a program which runs the tool."""
        is_doubtful = exit_status in self.doubtful and not self.has_read
        return is_doubtful or self.messages.is_by(self.via)

    def _shown(self) -> Progress:
        progress = plausible(self.progress)
        return without_bytes(progress) if self.is_dry_run else progress


class LastLines(Reader):
    """Of a tool without progress: its last lines on stderr. Cheap, however much it writes."""

    reads_progress = False

    def __init__(self) -> None:
        super().__init__()
        self._last = b""

    @classmethod
    def after(cls, reader: Reader) -> LastLines:
        """Go on with what another reader has kept, also of lines that have no end yet."""
        lines = cls()
        lines.messages, lines._lines = reader.messages, reader._lines
        return lines

    def feed(self, data: bytes, stream: Stream | None = None) -> Progress | None:
        if stream != "stdout":
            self._last = (self._last + data)[-_LAST_BYTES:]
        return None

    def _flush(self) -> None:
        super().feed(self._last, "stderr")
        super()._flush()


class Detached(LastLines):
    """Of a tool that its wrapper leaves running in the background: how it ends is not known."""

    def end(self, exit_status: int) -> End:
        end = super().end(exit_status)
        if end.status != "completed":
            return end
        return replace(end, error=f"{self.tool} was left running: how it ends is not known")


def plain_outcome(exit_status: int) -> Outcome:
    """What an exit status means by convention."""
    if exit_status == 0:
        return fine("")
    signals = {-number for number in _CANCELLING} | {128 + number for number in _CANCELLING}
    return cancelled("") if exit_status in signals else failed("")


def describe_exit(tool: str, exit_status: int, words: str = "") -> str:
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


def _shortfall(tool: str, progress: Progress) -> str | None:
    """A warning about a run that completed with less than its total: its input was cut off."""
    done, total = progress.bytes_transferred, progress.total_bytes
    if done is None or total is None or done >= total * _SHORT_OF_TOTAL:
        return None
    return f"{tool} has completed with {done} of {total} bytes"


# ---------------------------------------------------------------------------------------------
# What a progress may be.


def plausible(progress: Progress) -> Progress:
    """The progress without what cannot be: unknown is better than wrong."""
    done, total, eta = progress.bytes_transferred, progress.total_bytes, progress.eta_seconds
    if total is not None and (total <= 0 or (done is not None and done > total)):
        total = None
    is_over = done is not None and done == total
    if eta is not None and (eta > LONGEST_ETA_SECONDS or (eta == 0 and not is_over)):
        eta = None
    if (total, eta) == (progress.total_bytes, progress.eta_seconds):
        return progress
    return replace(progress, total_bytes=total, eta_seconds=eta)


def without_bytes(progress: Progress) -> Progress:
    """The progress of a run that moves no bytes: its percent stays."""
    percent = percent_of(progress.bytes_transferred, progress.total_bytes)
    return replace(
        progress,
        bytes_transferred=0,
        total_bytes=None,
        speed_bps=None,
        percent=progress.percent if percent is None else percent,
    )


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
