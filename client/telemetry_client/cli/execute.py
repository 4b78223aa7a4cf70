"""`telemetry exec`: runs a tool without changing its behaviour, and reports it to the hub."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from signal import struct_siginfo
from typing import NoReturn

from telemetry_client.cli.bar import Bar, is_wanted
from telemetry_client.cli.process import (
    ENDING,
    CannotRun,
    Signals,
    Tool,
    leave,
    occupy_closed_streams,
    start,
)
from telemetry_client.cli.relay import Relay, plan_pipes
from telemetry_client.cli.reporting import JobIdentity, Reporter, route_logging
from telemetry_client.cli.screen import Screen
from telemetry_client.errors import SearchTooLong
from telemetry_client.progress import Progress
from telemetry_client.readers import (
    Choice,
    End,
    LastLines,
    PatternReader,
    Reader,
    Stream,
    choose_reader,
    repository_of,
)
from telemetry_client.settings import FALLBACK_JOB_TYPE, Settings, job_type_of
from telemetry_client.wire.names import machine_name, new_job_id

PIPE_HINT = (
    "the status of this pipeline is that of its last command: run it with `bash -o pipefail -c`, "
    "so that a failure of the others counts."
)
# Added to the wait for the delivery of the end, if a call takes longer than it should.
_GRACE_SECONDS = 0.5


def execute(
    command: Sequence[str],
    job: JobIdentity,
    *,
    url: str | None = None,
    spool: Path | None = None,
    wait_seconds: float = 5.0,
    shows_bar: bool = True,
    choice: Choice | None = None,
) -> NoReturn:
    """Run the command, then exit as it did. `choice`: how to read it, from `choose`."""
    signals = Signals()
    signals.hold()
    choice = choose(command) if choice is None else choice
    run = _Run(command, job, choice, url=url, spool=spool, wait_seconds=wait_seconds)
    try:
        tool, relays = run.start(signals)
    except CannotRun as exc:
        run.fail_to_start(str(exc), signals)
        leave(exc.exit_status)
    bar = run.begin_reporting(shows_bar)
    exit_status = tool.wait()
    run.empty_pipes(relays, signals)
    if bar is not None:
        bar.stop()
    run.end(exit_status, signals, was_interrupted=tool.was_interrupted)
    leave(exit_status)


class _Run:
    """One run: the tool's bytes go to the reader, and its progress to the reporter."""

    def __init__(
        self,
        command: Sequence[str],
        job: JobIdentity,
        choice: Choice,
        *,
        url: str | None,
        spool: Path | None,
        wait_seconds: float,
    ) -> None:
        self.screen = Screen()
        self._command = command
        self._reader = choice.reader
        self._has_patterns = choice.has_patterns
        self._name, self._exits = choice.reader.tool, choice.reader.exits
        self._hints = [choice.hint] if choice.hint is not None else []
        if choice.hides_failures:
            self._hints.append(PIPE_HINT)
        self._wait_seconds = wait_seconds
        self._reporter = Reporter(
            job,
            url=url,
            spool=spool,
            wait_seconds=wait_seconds,
            is_dry_run=choice.reader.is_dry_run,
            say=self.screen.say,
        )
        self._reading = threading.Lock()
        self._newest = Progress()
        self._owns_terminal = False

    def start(self, signals: Signals) -> tuple[Tool, list[Relay]]:
        """Start the tool, with pipes for what the reader needs. Raises CannotRun.

        A terminal is left to a tool without progress: behind a pipe it may behave differently.
        """
        pipes: dict[int, int] = {}
        relays = []
        sources = []
        streams = self._reader.streams
        if self._reader.reads_progress:
            streams = streams if "stderr" in streams else (*streams, "stderr")
        elif os.isatty(2):
            streams = ()
        plan = plan_pipes(streams)
        for target, descriptors, stream in plan:
            source, sink = os.pipe()
            sources.append(source)
            pipes.update(dict.fromkeys(descriptors, sink))
            relays.append(Relay(source, target, self.screen, self._look_at(stream)))
        terminals = {fd for fd in (1, 2) if os.isatty(fd)}
        self._owns_terminal = terminals <= pipes.keys()
        try:
            tool = start(self._command, pipes, signals)
        finally:
            for sink in set(pipes.values()):
                os.close(sink)
        occupy_closed_streams()
        if self._has_patterns:
            self._search_in_a_process(sources)
        for relay in relays:
            relay.start()
        return tool, relays

    def _search_in_a_process(self, sources: Sequence[int]) -> None:
        from telemetry_client.cli.searching import SearchProcess  # loads multiprocessing

        assert isinstance(self._reader, PatternReader)
        try:
            self._reader.search = SearchProcess(self._reader.search, sources)
        except OSError as exc:
            self._stop_reading(exc)

    def begin_reporting(self, shows_bar: bool) -> Bar | None:
        """Start reporting. After the start of the tool, which must not wait for it."""
        route_logging(self.screen.say)
        self._reporter.start()
        for hint in self._hints:
            self.screen.say(hint)
        # If the tool writes to the terminal itself, a bar would end up inside its lines.
        reads = self._reader.reads_progress
        if not (shows_bar and reads and self._owns_terminal and is_wanted()):
            return None
        bar = Bar(self.screen, self._name, lambda: self._newest)
        bar.start()
        return bar

    def empty_pipes(self, relays: Sequence[Relay], signals: Signals) -> None:
        """Pass on what the tool has left in its pipes; until a signal, if the reader is blocked."""
        for relay in relays:
            relay.tool_ended()
        while any(relay.is_alive() for relay in relays):
            for relay in relays:
                relay.join(0.02)
            if _is_ending(signals.next(0)):
                return
        for relay in relays:
            if relay.error is not None and relay.error.errno != errno.EPIPE:
                self.screen.say(f"{self._name}'s output could not be passed on: {relay.error}")

    def _look_at(self, stream: Stream) -> Callable[[bytes], None]:
        def look(data: bytes) -> None:
            with self._reading:
                try:
                    progress = self._reader.feed(data, stream)
                    if progress is not None:
                        self._take(progress)
                except Exception as exc:
                    self._stop_reading(exc)

        return look

    def _stop_reading(self, exc: Exception) -> None:
        """From now on keep the last lines only, after those that were read so far."""
        lines = LastLines.after(self._reader)
        lines.tool, lines.exits = self._name, self._exits
        lines.progress = self._newest
        self._reader = lines
        why = str(exc) if isinstance(exc, SearchTooLong) else f"({exc!r})"
        self.screen.say(f"{self._name}'s output cannot be parsed {why}; it runs on.")

    def _take(self, progress: Progress) -> None:
        self._newest = progress
        self._reporter.report(progress)

    def fail_to_start(self, reason: str, signals: Signals) -> None:
        occupy_closed_streams()
        self.screen.say(f"{self._command[0]}: {reason}.")
        route_logging(self.screen.say)
        self._reporter.start()
        # The name may be a whole command line in quotes, or begin with `PASSWORD=…`.
        name = os.path.basename(re.split(r"[\s=]", self._command[0], maxsplit=1)[0])
        self._deliver(End("failed", f"{name}: {reason}", Progress()), signals)

    def end(self, exit_status: int, signals: Signals, *, was_interrupted: bool) -> None:
        """Report how it ended, and wait for the delivery, in bounded time."""
        end = self._describe_end(exit_status)
        if was_interrupted and end.status == "failed":
            end = replace(end, status="cancelled")
        self._deliver(end, signals)

    def _describe_end(self, exit_status: int) -> End:
        reader = self._reader
        try:
            end = reader.end(exit_status)
        except Exception as exc:
            self._stop_reading(exc)
            return self._reader.end(exit_status)
        self._say_if_nothing_was_read(reader, end)
        return end

    def _say_if_nothing_was_read(self, reader: Reader, end: End) -> None:
        """The tool has another version than those that are known, or options that hide progress."""
        if reader.reads_progress and not reader.has_read and end.status == "completed":
            self.screen.say(
                f"{self._name}'s output contained no progress: the hub only knows that it has run. "
                "`telemetry exec --explain` shows what was expected."
            )

    def _deliver(self, end: End, signals: Signals) -> None:
        """A signal ends the wait: what is not delivered by then is in the spool."""
        self._reporter.finish(end)
        deadline = time.monotonic() + self._wait_seconds + _GRACE_SECONDS
        while not self._reporter.done.wait(0.02) and time.monotonic() < deadline:
            if _is_ending(signals.next(0)):
                break


def _is_ending(info: struct_siginfo | None) -> bool:
    return info is not None and info.si_signo in ENDING


def choose(
    command: Sequence[str], *, tool: str | None = None, patterns: Sequence[str] = ()
) -> Choice:
    """How to read the output of a command. Raises KeyError or ValueError for a wrong option."""
    try:
        return choose_reader(command, os.environ, _size_of, tool=tool, patterns=patterns)
    except Exception:
        if tool is not None or patterns:
            raise
    reader = LastLines()  # let the tool report an invalid command line
    reader.tool = os.path.basename(command[0])
    return Choice(reader)


def _size_of(name: str) -> int | None:
    """The size of a regular file; `-` is standard input."""
    try:
        found = os.fstat(0) if name == "-" else os.stat(name)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def identify(
    command: Sequence[str],
    *,
    job_id: str | None,
    job_type: str | None,
    vm_name: str | None,
    repository_id: str | None,
    backup_type: str | None,
) -> JobIdentity:
    """The job: from the options, else the environment, else the command line and the machine."""
    machine = machine_name()
    job_id = job_id or Settings.from_env().job_id
    if job_id is None:
        job_type = job_type or FALLBACK_JOB_TYPE
        job_id = new_job_id(job_type, vm_name or machine)
    try:
        repository_id = repository_id or repository_of(command, os.environ)
    except Exception:
        repository_id = None
    return JobIdentity(
        job_id=job_id,
        job_type=job_type or job_type_of(job_id),
        vm_name=vm_name or machine,
        repository_id=repository_id,
        backup_type=backup_type,
    )
