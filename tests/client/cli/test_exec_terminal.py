"""`telemetry exec` on a terminal: keys reach the tool, its terminal stays one, the progress bar."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.client.cli.conftest import Shell, below_exec
from tools.faulty_hub import FaultyHub
from tools.hub_process import is_running, wait_until

COMMAND = ["restic", "backup", "--json"]
STATUS = '{"message_type":"status","percent_done":0.5,"seconds_remaining":9,"total_bytes":1000,'
SLOW_RESTIC = f"""
for turn in range(10):
    print('{STATUS}"bytes_done":%d}}' % (100 * turn), flush=True)
    time.sleep(0.15)
"""
ERASE = b"\r\x1b[2K"
PERCENT = re.compile(rb"[1-9]0%")
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-9][;m]")


# A shell with one job: it runs a command in the foreground of the terminal, continues it when it
# was stopped, and writes how it ended to a file.
SHELL = """
import fcntl, os, signal, sys, termios
log, status_file, *command = sys.argv[1:]
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
fcntl.ioctl(0, termios.TIOCSWINSZ, __import__("struct").pack("HHHH", 24, 100, 0, 0))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    if log:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
    os.execvp(command[0], command)
while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
    os.write(1, b"[stopped]")
    os.killpg(pid, signal.SIGCONT)
open(status_file, "w").write(str(os.waitstatus_to_exitcode(status)))
"""


class Terminal:
    """A command on a terminal of its own, which is ours to type on and to read."""

    def __init__(self, shell: Shell, command: Sequence[str], *, stdout: Path | None = None) -> None:
        self.output = b""
        self._status = shell.folder / "status"
        self._master, slave = os.openpty()
        self._process = shell.start(
            [sys.executable, "-c", SHELL, str(stdout or ""), str(self._status), *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self, seconds: float = 0.05) -> bool:
        """Read what comes; whether there may be more."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the terminal is closed
            return False
        self.output += data
        return bool(data)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.read(0)
            return condition()

        wait_until(holds)

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        deadline = time.monotonic() + 60
        while self.read():
            assert time.monotonic() < deadline, self.output
        self._process.wait(60)
        return int(self._status.read_text())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


Start = Callable[..., Terminal]


@pytest.fixture
def on_terminal(shell: Shell) -> Iterator[Start]:
    shell.env.update(TERM="xterm-256color", COLUMNS="100")
    shell.env.pop("NO_COLOR", None)
    terminals: list[Terminal] = []

    def start(command: Sequence[str], stdout: Path | None = None) -> Terminal:
        terminals.append(Terminal(shell, command, stdout=stdout))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.mark.parametrize("name", ["restic", "unknown"])
@pytest.mark.parametrize(("key", "number"), [(b"\x03", 2), (b"\x1c", 3)], ids=["INT", "QUIT"])
def test_a_key_reaches_the_tool_once(
    shell: Shell,
    faulty_hub: FaultyHub,
    on_terminal: Start,
    name: str,
    key: bytes,
    number: int,
) -> None:
    shell.fake(
        name,
        "seen = []\n"
        "for number in (2, 3): signal.signal(number, lambda number, frame: seen.append(number))\n"
        "open('ready', 'w').close()\n"
        "while not seen: time.sleep(0.01)\n"
        "time.sleep(0.5)\nprint('seen', *seen, flush=True)\nsys.exit(1)",
    )
    terminal = on_terminal(below_exec([name, "backup", "--json"]))
    wait_until((shell.folder / "ready").exists)
    terminal.type(key)
    assert terminal.wait() == 1
    assert f"seen {number}\r\n".encode() in terminal.output
    assert faulty_hub.accepted[-1]["status"] == "cancelled"


def test_a_key_that_kills_the_tool_kills_us_the_same_way(shell: Shell, on_terminal: Start) -> None:
    shell.fake(
        "unknown", "signal.signal(2, signal.SIG_DFL)\nprint('ready', flush=True)\ntime.sleep(30)"
    )
    terminal = on_terminal(below_exec(["unknown"]))
    terminal.wait_for(lambda: b"ready" in terminal.output)
    terminal.type(b"\x03")
    assert terminal.wait() == -signal.SIGINT


def test_stop_and_continue_work_as_ever(shell: Shell, on_terminal: Start) -> None:
    shell.fake("unknown", "print('ready', flush=True)\ntime.sleep(1)\nprint('done', flush=True)")
    terminal = on_terminal(below_exec(["unknown"]))
    terminal.wait_for(lambda: b"ready" in terminal.output)
    terminal.type(b"\x1a")
    assert terminal.wait() == 0
    assert b"[stopped]" in terminal.output
    assert b"done" in terminal.output


def test_a_tool_without_a_reader_keeps_its_terminal(shell: Shell, on_terminal: Start) -> None:
    shell.fake("unknown", "print([os.isatty(fd) for fd in (0, 1, 2)])")
    terminal = on_terminal(below_exec(["unknown"]))
    assert terminal.wait() == 0
    assert terminal.output == b"[True, True, True]\r\n"


def test_what_is_typed_reaches_the_tool(shell: Shell, on_terminal: Start) -> None:
    shell.fake("restic", "print('it was', input('password: ').upper())")
    terminal = on_terminal(below_exec(COMMAND))
    terminal.wait_for(lambda: b"password: " in terminal.output)
    terminal.type(b"secret\n")
    assert terminal.wait() == 0
    assert b"it was SECRET\r\n" in terminal.output


def test_a_bar_shows_the_progress_and_leaves_no_trace(shell: Shell, on_terminal: Start) -> None:
    shell.fake("restic", SLOW_RESTIC)
    log = shell.folder / "log"
    terminal = on_terminal(below_exec(COMMAND), stdout=log)
    assert terminal.wait() == 0
    bars = [bar for bar in terminal.output.split(ERASE) if bar]
    assert len(bars) >= 3
    assert all(b"restic" in bar and b"\n" not in bar for bar in bars)
    assert PERCENT.search(terminal.output)
    assert b"of 1.0 kB" in terminal.output
    assert COLOUR.search(terminal.output)
    assert terminal.output.endswith(ERASE)
    assert log.read_bytes().count(b"\n") == 10


def test_no_color_is_honoured(shell: Shell, on_terminal: Start) -> None:
    shell.env["NO_COLOR"] = "1"
    shell.fake("restic", SLOW_RESTIC)
    terminal = on_terminal(below_exec(COMMAND), stdout=shell.folder / "log")
    assert terminal.wait() == 0
    assert PERCENT.search(terminal.output)
    assert not COLOUR.search(terminal.output)


@pytest.mark.parametrize("option", ["--no-progress", "dumb"])
def test_a_bar_is_left_out_on_request(shell: Shell, on_terminal: Start, option: str) -> None:
    shell.fake("restic", SLOW_RESTIC)
    options = [option] if option.startswith("-") else []
    shell.env["TERM"] = "xterm" if options else "dumb"
    terminal = on_terminal(below_exec(COMMAND, *options), stdout=shell.folder / "log")
    assert terminal.wait() == 0
    assert terminal.output == b""


def test_the_bar_is_never_inside_the_tools_lines(shell: Shell, on_terminal: Start) -> None:
    """Both on one terminal: without the bars, and what erases them, the tool's output is left."""
    halves = "os.write(1, line[:20]); time.sleep(0.3); os.write(1, line[20:])"
    shell.fake(
        "restic",
        f"for turn in range(6):\n    line = b'{STATUS}\"bytes_done\":%d}}\\n' % (100 * turn)\n"
        f"    {halves}; time.sleep(0.3)",
    )
    terminal = on_terminal(below_exec(COMMAND))
    assert terminal.wait() == 0
    expected = [f'{STATUS}"bytes_done":{100 * turn}}}'.encode() for turn in range(6)]
    assert PERCENT.search(terminal.output)
    without_bars = re.sub(rb"\r\x1b\[2K[^\r\n]*(?=\r\x1b\[2K)", b"", terminal.output)
    assert without_bars.replace(ERASE, b"").split(b"\r\n") == [*expected, b""]


def test_no_bar_is_drawn_into_a_file(shell: Shell) -> None:
    shell.env["TERM"] = "xterm"
    shell.fake("restic", SLOW_RESTIC)
    assert shell.exec(COMMAND).stderr == b""


def test_a_terminal_that_goes_away_ends_the_tool(shell: Shell) -> None:
    """As with `ssh -t host telemetry exec …`: only the first process on it gets the signal."""
    tool = shell.fake(
        "unknown",
        "open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'ready'); time.sleep(60)",
    )
    child, master = pty.fork()
    if child == 0:
        os.chdir(shell.folder)
        os.execvpe(sys.executable, below_exec([tool], "--wait", "0"), shell.env)
    wait_until((shell.folder / "ready").exists)
    pid = int((shell.folder / "ready").read_text())
    os.close(master)
    try:
        wait_until(lambda: not is_running(pid))
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
