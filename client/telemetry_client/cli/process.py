"""The tool as a child: started as a shell would start it, signals passed on, its end made ours."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

# What somebody may send us and mean the tool. Stop and continue (Ctrl-Z) are left as they are:
# the terminal sends them to both of us.
_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# Python ignores these at its start; a program that it runs must not inherit that.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_SI_KERNEL = 0x80  # from the terminal, to its whole foreground process group
_POLL_SECONDS = 0.5  # SIGCHLD says it sooner


class Signals:
    """Signals held back while a tool runs, to be read one by one (`next`).

    Every thread started after `hold` leaves them to the one that reads. What was ignored when we
    were started stays ignored, by us and by the tool (nohup).
    """

    def __init__(self) -> None:
        ignored = {s for s in _PASSED_ON if signal.getsignal(s) is signal.SIG_IGN}
        self.held = {*_PASSED_ON, signal.SIGCHLD} - ignored
        self.original_mask: set[int] = set()

    def hold(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take the tool's status
        self.original_mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self.held))

    def next(self, seconds: float) -> signal.struct_siginfo | None:
        """The next signal, None when none came in time."""
        return signal.sigtimedwait(self.held, seconds)


class CannotRun(Exception):
    """The tool could not be started, for this reason; `exit_status` is a shell's for it."""

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


class Tool:
    """A running tool. `was_interrupted`: somebody sent a signal that is to end it."""

    def __init__(self, pid: int, signals: Signals) -> None:
        self.pid = pid
        self.was_interrupted = False
        self._signals = signals

    def wait(self) -> int:
        """Wait for its end, passing signals on; its status, negative for a signal."""
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            info = self._signals.next(_POLL_SECONDS)
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._pass_on(info)

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        """The terminal has sent it to the tool as well; sent twice it may mean something else."""
        self.was_interrupted |= info.si_signo in ENDING
        has_it = info.si_code == _SI_KERNEL and os.getpgid(self.pid) == os.getpgrp()
        # A terminal that goes away tells the first process on it only (ssh -t, xterm -e).
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
        reason = (exc.strerror or "cannot be run") if isinstance(exc, OSError) else str(exc)
        raise CannotRun(reason, 126) from exc
    return Tool(pid, signals)


def _environment() -> Mapping[str, str]:
    """What we were given. Python sets LC_CTYPE in its own where the locale is C (PEP 538)."""
    try:
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    name = "LC_CTYPE"
    ours = {other: value for other, value in os.environ.items() if other != name}
    said = [entry for entry in map(os.fsdecode, given) if entry.startswith(f"{name}=")]
    return {**ours, name: said[0].partition("=")[2]} if said else ours


def occupy_closed_streams() -> None:
    """Where we were started with a closed stream, nothing that we open may take its number: a
    sentence for stderr would be written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def leave(exit_status: int) -> NoReturn:
    """End as the tool ended: with its status, or by the same signal.

    At once: nothing that telemetry still does may hold it up.
    """
    if exit_status >= 0:
        os._exit(exit_status)
    number = -exit_status
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the tool has left its core, if any
    with suppress(OSError, ValueError):  # SIGKILL has no other handler
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
