"""The tool as a child process: started as by a shell, signals passed on, its exit status ours."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from telemetry_client.settings import TOKEN_VARIABLE

# Signals to us that are meant for the tool. Stop and continue (Ctrl-Z) are not handled: the
# terminal sends them to both processes.
_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# Python ignores these at its start; the tool must not inherit that.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_SI_KERNEL = 0x80  # from the terminal, to its whole foreground process group
_POLL_SECONDS = 0.5  # SIGCHLD usually ends the wait earlier


class Signals:
    """Signals blocked while a tool runs, to be read one by one (`next`).

    Threads started after `hold` block them too. Signals that were ignored when we were started stay
    ignored, by us and by the tool (nohup).
    """

    def __init__(self) -> None:
        ignored = {s for s in _PASSED_ON if signal.getsignal(s) is signal.SIG_IGN}
        self.held = {*_PASSED_ON, signal.SIGCHLD} - ignored
        self.original_mask: set[int] = set()

    def hold(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, the tool's status would be lost
        self.original_mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self.held))

    def next(self, seconds: float) -> signal.struct_siginfo | None:
        """The next signal; None if none came in time."""
        return signal.sigtimedwait(self.held, seconds)


class CannotRun(Exception):
    """The tool could not be started; `exit_status` is what a shell returns for it."""

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


class Tool:
    """A running tool. `was_interrupted`: a signal to end it was received."""

    def __init__(self, pid: int, signals: Signals) -> None:
        self.pid = pid
        self.was_interrupted = False
        self._signals = signals

    def wait(self) -> int:
        """Wait for its end, passing signals on; returns its status, negative for a signal."""
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            info = self._signals.next(_POLL_SECONDS)
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._pass_on(info)

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        """Pass it on unless the terminal did: received twice, it may mean something else."""
        self.was_interrupted |= info.si_signo in ENDING
        has_it = info.si_code == _SI_KERNEL and os.getpgid(self.pid) == os.getpgrp()
        # A closed terminal sends SIGHUP to the first process on it only (ssh -t, xterm -e).
        is_for_us_alone = info.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
        if not has_it or is_for_us_alone:
            with suppress(PermissionError):  # it runs as another user (sudo): only the terminal may
                os.kill(self.pid, info.si_signo)


def start(command: Sequence[str], pipes: dict[int, int], signals: Signals) -> Tool:
    """Start a tool. `pipes`: its file descriptor to ours. Raises CannotRun."""
    if not command[0]:
        raise CannotRun("command not found", 127)
    actions = [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in pipes.items()]
    try:
        pid = os.posix_spawnp(
            command[0],
            list(command),
            _environment(),
            file_actions=actions,
            setsigmask=signals.original_mask,
            setsigdef=_RESTORED,
        )
    except FileNotFoundError as exc:
        raise CannotRun("command not found", 127) from exc
    except (OSError, ValueError) as exc:
        reason = (exc.strerror or "it cannot be run") if isinstance(exc, OSError) else str(exc)
        raise CannotRun(reason, 126) from exc
    return Tool(pid, signals)


def _environment() -> Mapping[str, str]:
    """The environment we were started with, without the token: the tool has no use for it.

    Python sets LC_CTYPE if the locale is C (PEP 538).
    """
    ours = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    try:
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return ours
    name = "LC_CTYPE"
    ours.pop(name, None)
    found = [entry for entry in map(os.fsdecode, given) if entry.startswith(f"{name}=")]
    return {**ours, name: found[0].partition("=")[2]} if found else ours


def occupy_closed_streams() -> None:
    """Open the standard streams that were closed: otherwise a file that we open may get the number
    of stderr, and our messages would be written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def leave(exit_status: int) -> NoReturn:
    """Exit as the tool did: with its status, or by the same signal.

    At once, without waiting for telemetry.
    """
    if exit_status >= 0:
        os._exit(exit_status)
    number = -exit_status
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the tool has written its core, if any
    with suppress(OSError, ValueError):  # the handler of SIGKILL cannot be changed
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
