"""`telemetry exec` while hub, address, spool or reader are broken: the tool runs on."""

from __future__ import annotations

import sys
import time

import pytest

from tests.client.cli.conftest import TELEMETRY, Shell, below_exec
from tools.faulty_hub import FaultyHub
from tools.hub_process import wait_until

FAKE_RESTIC = """
for turn in range(1, 11):
    print('{"message_type":"status","percent_done":0.1,"seconds_remaining":1,"total_bytes":100,'
          '"bytes_done":%d}' % (10 * turn), flush=True)
    time.sleep(0.05)
print('{"message_type":"summary","total_bytes_processed":100}')
sys.exit(5)
"""
COMMAND = ["restic", "backup", "--json"]
WAIT_SECONDS = 1.0
# For the interpreter, its imports and the fake's own second, on a busy machine.
SLACK_SECONDS = 25.0


@pytest.fixture
def plain_output(shell: Shell) -> bytes:
    shell.fake("restic", FAKE_RESTIC)
    return shell.run(COMMAND).stdout


@pytest.mark.parametrize("fault", ["timeout", "garbage", "reset", "dribble_headers", "401"])
def test_a_failing_hub_costs_the_tool_nothing(
    shell: Shell, faulty_hub: FaultyHub, plain_output: bytes, fault: str
) -> None:
    faulty_hub.probability, faulty_hub.faults = 1.0, (fault,)
    began = time.monotonic()
    done = shell.exec(COMMAND, "--wait", str(WAIT_SECONDS))
    assert (done.returncode, done.stdout) == (5, plain_output)
    assert time.monotonic() - began < WAIT_SECONDS + SLACK_SECONDS
    assert b"Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) <= 4
    assert all(line.startswith(b"telemetry: ") for line in lines)


def test_what_a_missing_hub_did_not_get_is_spooled_and_sent_later(lonely_shell: Shell) -> None:
    shell = lonely_shell
    shell.fake("restic", FAKE_RESTIC)
    began = time.monotonic()
    assert shell.exec(COMMAND, "--wait", "60").returncode == 5
    assert time.monotonic() - began < SLACK_SECONDS, "it did not wait for the hub"
    hub = FaultyHub()
    with hub:
        shell.env["SHA_API_URL"] = hub.url
        done = shell.telemetry("queue", "drain", "--wait", "30")
        assert done.returncode == 0, done.stderr
    assert [update["status"] for update in hub.accepted][-1] == "failed"
    stamps = [update["timestamp"] for update in hub.accepted]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize(
    "url", ["not an address", "http://", "ftp://h", "http://[::1", "http://h:x"]
)
def test_a_bad_address_is_said_and_the_tool_runs(
    shell: Shell, plain_output: bytes, url: str
) -> None:
    done = shell.exec(COMMAND, "--url", url)
    assert (done.returncode, done.stdout) == (5, plain_output)
    assert b"telemetry: " in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_spool_that_cannot_be_written_is_said_and_the_tool_runs(
    shell: Shell, faulty_hub: FaultyHub, plain_output: bytes
) -> None:
    done = shell.exec(COMMAND, "--spool", "/proc/no/spool.db")
    assert (done.returncode, done.stdout) == (5, plain_output)
    assert done.stderr.startswith(b"telemetry: The telemetry spool cannot be used")
    assert faulty_hub.accepted[-1]["status"] == "failed"


def test_a_broken_reader_is_said_once_and_the_tool_runs(
    shell: Shell, faulty_hub: FaultyHub, plain_output: bytes
) -> None:
    breaks = (
        "from telemetry_client.readers.tools.restic import ResticReader\n"
        "from telemetry_client.cli import main\n"
        "def take(*_): raise RuntimeError('broken')\n"
        "ResticReader.take = take\nmain()"
    )
    done = shell.run([sys.executable, "-c", breaks, *below_exec(COMMAND)[3:]])
    assert (done.returncode, done.stdout) == (5, plain_output)
    assert done.stderr.count(b"\n") == 1
    assert b"broken" in done.stderr
    assert faulty_hub.accepted[-1]["error"] == "restic exited with 5"


@pytest.mark.parametrize("is_first", [True, False])
def test_an_expression_that_would_not_end_in_years_does_not_hold_the_tool_up(
    shell: Shell, faulty_hub: FaultyHub, is_first: bool
) -> None:
    words = "print('the disk is full', file=sys.stderr, flush=True); time.sleep(0.2)\n"
    tool = shell.fake(
        "dumper",
        f"print('aaa', flush=True); time.sleep(0.5)\n{words if is_first else ''}"
        "for _ in range(3): print('a' * 60 + 'b', flush=True)\n"
        f"{'' if is_first else words}sys.exit(4)",
    )
    done = shell.exec([tool], "--progress-regex", "^(?P<phase>(a+)+)$")
    assert (done.returncode, done.stdout.count(b"\n")) == (4, 4)
    assert done.stderr.count(b"--progress-regex: it takes too long for a line") == 1
    last = faulty_hub.accepted[-1]
    assert (last["status"], last["current_phase"]) == ("failed", "aaa")
    assert last["error"] == "dumper exited with 4: the disk is full"


def test_an_interrupt_ends_the_wait_for_the_hub(shell: Shell, faulty_hub: FaultyHub) -> None:
    """The tool has ended, and the user at the keyboard wants the prompt back."""
    faulty_hub.probability, faulty_hub.faults = 1.0, ("timeout",)
    shell.fake("restic", "open('ready', 'w').close()")
    process = shell.start(below_exec(COMMAND, "--wait", "60"))
    wait_until((shell.folder / "ready").exists)
    time.sleep(1)  # for the tool's end to be seen
    began = time.monotonic()
    process.send_signal(2)
    assert process.wait(50) == 0
    assert time.monotonic() - began < 30


def test_a_job_id_that_the_hub_would_refuse_is_said(shell: Shell, plain_output: bytes) -> None:
    done = shell.exec(COMMAND, "--job-id", "a/b")
    assert (done.returncode, done.stdout) == (5, plain_output)
    assert b"job_id" in done.stderr


def test_ctrl_c_while_the_command_itself_starts_leaves_no_traceback(shell: Shell) -> None:
    shell.env["PYTHONPATH"] = str(shell.folder)
    (shell.folder / "typer.py").write_text("raise KeyboardInterrupt  # pressed at this moment")
    done = shell.run([*TELEMETRY, "exec", "--job-type", "backup", "--", "true"])
    assert (done.returncode, done.stderr) == (130, b"")
