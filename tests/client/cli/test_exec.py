"""`telemetry exec` is not there, as far as the tool and its caller can tell: output, input, exit
codes, signals, environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.client.cli.conftest import Shell, below_exec
from tools.faulty_hub import FaultyHub
from tools.hub_process import is_running, wait_until

# Bytes that are no text, no lines and no JSON, and progress among them, on both streams.
NOISY = """
import random
for turn in range(40):
    out = random.Random(turn).randbytes(random.Random(turn).randrange(9000))
    os.write(1, out)
    os.write(2, out[::-1] + b"\\r\\n")
    os.write(1, b'{"message_type":"status","percent_done":0.5,"bytes_done":%d}\\n' % turn)
sys.exit(7)
"""
SAYS_SIGNALS = """
seen = []
for number in (1, 2, 3, 10, 12, 15):
    signal.signal(number, lambda number, frame: seen.append(number))
open("ready", "w").close()
deadline = time.monotonic() + 20
while not seen and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.4)
print(*seen, flush=True)
sys.exit(9)
"""


@pytest.mark.parametrize("tool", ["restic backup --json", "rsync --info=progress2", "unknown"])
@pytest.mark.parametrize("is_merged", [False, True], ids=["apart", "merged"])
def test_output_is_the_same_byte_for_byte(shell: Shell, tool: str, is_merged: bool) -> None:
    """Merged into one pipe also the order of both streams is the same."""
    shell.fake(tool.split()[0], NOISY)
    pipes = {"capture_output": False, "stdout": subprocess.PIPE}
    pipes["stderr"] = subprocess.STDOUT if is_merged else subprocess.PIPE
    plain = shell.run(tool.split(), **pipes)
    wrapped = shell.exec(tool.split(), **pipes)
    assert plain.returncode == wrapped.returncode == 7
    assert wrapped.stdout == plain.stdout
    assert wrapped.stderr == plain.stderr


@pytest.mark.parametrize("status", [0, 3, 130, 255])
def test_the_exit_code_is_the_tools(shell: Shell, faulty_hub: FaultyHub, status: int) -> None:
    summary = '{"message_type": "summary", "total_bytes_processed": 9}'
    tool = shell.fake("restic", f"print('{summary}'); sys.exit({status})")
    done = shell.exec([tool, "backup", "--json"])
    assert (done.returncode, done.stderr) == (status, b"")
    end = faulty_hub.accepted[-1]
    expected = {0: "completed", 3: "completed", 130: "cancelled"}.get(status, "failed")
    assert end["status"] == expected
    errors = {update["error"] for update in faulty_hub.accepted if "error" in update}
    meanings = {3: ": some files could not be read", 130: ": interrupted"}
    assert errors == (
        {f"restic exited with {status}{meanings.get(status, '')}"} if status else set()
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_tool_killed_by_a_signal_is_seen_to_be(
    shell: Shell, faulty_hub: FaultyHub, number: signal.Signals
) -> None:
    tool = shell.fake("unknown", f"os.kill(os.getpid(), {int(number)})")
    assert shell.exec([tool]).returncode == -number
    assert faulty_hub.accepted[-1]["error"].startswith(f"unknown was ended by {number.name}")


def test_a_tool_that_is_not_there_is_127_and_a_failed_job(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    done = shell.exec(["no-such-tool"])
    assert (done.returncode, done.stdout) == (127, b"")
    assert done.stderr == b"telemetry: no-such-tool: command not found.\n"
    assert faulty_hub.accepted[-1]["status"] == "failed"


def test_a_file_that_cannot_be_run_is_126(shell: Shell) -> None:
    path = Path(shell.fake("tool", ""))
    path.chmod(0o644)
    done = shell.exec([str(path)])
    assert (done.returncode, done.stderr.count(b"\n")) == (126, 1)


@pytest.mark.parametrize("name", ["restic", "unknown"])
def test_input_reaches_the_tool(shell: Shell, name: str) -> None:
    data = os.urandom(3_000_000)
    shell.fake(name, "sys.stdout.buffer.write(sys.stdin.buffer.read())")
    assert shell.exec([name, "backup", "--json"], input=data).stdout == data


def test_arguments_and_environment_are_left_alone(shell: Shell) -> None:
    tool = shell.fake("restic", "print(sys.argv[1:], sorted(os.environ.items()))")
    command = [tool, "backup", "--json", "a b", "", "--help", "--"]
    assert shell.exec(command).stdout == shell.run(command).stdout


def test_the_tool_does_not_get_the_token(shell: Shell, faulty_hub: FaultyHub) -> None:
    tool = shell.fake("restic", "print(sorted(os.environ.items()))")
    without = shell.run([tool]).stdout
    shell.env["TELEMETRY_TOKEN"] = "s3cret"
    assert shell.exec([tool]).stdout == without
    (last, *_) = reversed(faulty_hub.requests)
    assert last.headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("number", [1, 2, 3, 10, 15])
def test_a_signal_for_us_reaches_the_tool_once(
    shell: Shell, faulty_hub: FaultyHub, number: int
) -> None:
    tool = shell.fake("restic", SAYS_SIGNALS)
    process = shell.start(below_exec([tool, "backup", "--json"]), stdout=subprocess.PIPE)
    wait_until((shell.folder / "ready").exists)
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == f"{number}\n".encode()
    assert process.returncode == 9
    is_ending = number in (1, 2, 3, 15)
    assert faulty_hub.accepted[-1]["status"] == ("cancelled" if is_ending else "failed")


def test_what_is_ignored_stays_ignored(shell: Shell) -> None:
    """As nohup has it: SIGHUP does nothing, neither to us nor to the tool."""
    tool = shell.fake(
        "unknown",
        "open('ready', 'w').close(); time.sleep(1); print(signal.getsignal(1) == signal.SIG_IGN)",
    )
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *below_exec([tool])]
    process = shell.start(command, stdout=subprocess.PIPE)
    wait_until((shell.folder / "ready").exists)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[0] == b"True\n"
    assert process.returncode == 0


def test_the_exit_code_is_known_where_ends_of_children_are_ignored(shell: Shell) -> None:
    command = ["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *below_exec(["sh", "-c", "exit 4"])]
    assert shell.run(command).returncode == 4


def test_a_reader_that_stalls_does_not_make_us_unstoppable(shell: Shell) -> None:
    """The tool has ended, and what it has left in its pipe is not read."""
    tool = shell.fake("restic", "os.write(1, bytes(120_000)); open('ready', 'w').close()")
    process = shell.start(below_exec([tool, "backup", "--json"]), stdout=subprocess.PIPE)
    wait_until((shell.folder / "ready").exists)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_a_full_disk_is_said(shell: Shell) -> None:
    tool = shell.fake("restic", "signal.signal(13, signal.SIG_DFL); os.write(1, b'line')")
    with open("/dev/full", "wb") as full:
        done = shell.exec(
            [tool, "backup", "--json"], capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 0
    assert b"No space left" in done.stderr


def test_a_kill_of_us_leaves_the_tool_running(shell: Shell) -> None:
    tool = shell.fake(
        "unknown",
        "open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'ready')\n"
        "time.sleep(1.5); open('done', 'w').close()",
    )
    process = shell.start(below_exec([tool]))
    wait_until((shell.folder / "ready").exists)
    process.kill()
    process.wait()
    assert is_running(int((shell.folder / "ready").read_text()))
    wait_until((shell.folder / "done").exists)


def test_a_process_that_the_tool_leaves_behind_holds_nothing_up(shell: Shell) -> None:
    tool = shell.fake(
        "restic",
        "print('printed', flush=True)\nif os.fork() == 0:\n    time.sleep(90)\n",
    )
    began = time.monotonic()
    done = shell.exec([tool, "backup", "--json"])
    assert (done.returncode, done.stdout) == (0, b"printed\n")
    assert time.monotonic() - began < 60


def test_a_closed_output_ends_the_tool_as_without_us(shell: Shell) -> None:
    shell.fake("restic", "while True: os.write(1, b'line\\n')")
    for command in (["restic", "backup", "--json"], below_exec(["restic", "backup", "--json"])):
        process = shell.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 1  # Python's BrokenPipeError


def test_closed_streams_are_left_closed(shell: Shell) -> None:
    tool = shell.fake("restic", "open('printed', 'w').write(str(os.listdir('/proc/self/fd')))")
    printed = []
    for command in ([tool, "backup", "--json"], below_exec([tool, "backup", "--json"])):
        closing = ["sh", "-c", '"$@" >&- 2>&-', "sh", *command]
        assert shell.run(closing, capture_output=False).returncode == 0
        printed.append((shell.folder / "printed").read_text())
    assert printed[0] == printed[1]


def test_a_known_tool_without_its_flag_is_told_once(shell: Shell, faulty_hub: FaultyHub) -> None:
    tool = shell.fake("restic", "print(sys.argv[1:]); sys.exit(0)")
    done = shell.exec([tool, "backup", "/home"])
    assert done.stdout == b"['backup', '/home']\n"
    assert done.stderr.count(b"\n") == 1
    assert b"run it with --json" in done.stderr
    assert [update["status"] for update in faulty_hub.accepted] == ["running", "completed"]


def test_an_unknown_tool_has_a_start_heartbeats_and_an_end(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    done = shell.exec(["sleep", "6"])
    assert (done.returncode, done.stderr) == (0, b"")
    updates = faulty_hub.accepted
    assert [update["status"] for update in updates] == ["running", "running", "completed"]
    assert all("bytes_transferred" not in update for update in updates)


def test_the_job_is_named_by_what_can_be_seen(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.env["RESTIC_REPOSITORY"] = "rest:https://user:secret@host/repo"
    shell.fake(
        "restic", "print('Fatal: https://u:secret@h/ is away', file=sys.stderr); sys.exit(1)"
    )
    command = ["restic", "backup", "--json"]
    exec_command = below_exec(command, "--job-id", "x", "--job-type", "backup")
    exec_command = [word for word in exec_command if word not in ("--job-id", "x")]
    shell.run([*exec_command[:4], "--vm-name", "vm7", *exec_command[4:]])
    first, last = faulty_hub.accepted[0], faulty_hub.accepted[-1]
    assert first["job_id"].startswith("backup-vm7-1")
    assert (first["job_type"], first["vm_name"]) == ("backup", "vm7")
    assert first["repository_id"] == "rest:https://host/repo"
    assert last["error"] == "restic exited with 1: Fatal: https://h/ is away"


def test_the_id_in_the_environment_is_honoured(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.env["MIGRATEKIT_JOB_ID"] = "replication-7"
    command = [word for word in below_exec(["true"]) if word not in ("--job-id", "backup-vm1-1")]
    assert shell.run(command).returncode == 0
    assert faulty_hub.accepted[0]["job_id"] == "replication-7"
    assert faulty_hub.accepted[0]["job_type"] == "replication"


def test_what_a_left_process_goes_on_writing_holds_nothing_up(shell: Shell) -> None:
    tool = shell.fake(
        "restic",
        "os.write(1, b'printed\\n')\n"
        "if os.fork() == 0:\n"
        "    for turn in range(900):\n"
        "        os.write(1, b'tick\\n'); time.sleep(0.1)\n",
    )
    began = time.monotonic()
    done = shell.exec([tool, "backup", "--json"])
    assert done.returncode == 0
    assert done.stdout.startswith(b"printed\ntick\n")
    assert time.monotonic() - began < 60


def test_what_the_tool_has_left_is_passed_on_however_late_it_is_taken(shell: Shell) -> None:
    """Longer than a process that it left behind is listened to."""
    tool = shell.fake("restic", "os.write(1, bytes(120_000)); open('ready', 'w').close()")
    process = shell.start(below_exec([tool, "backup", "--json"]), stdout=subprocess.PIPE)
    wait_until((shell.folder / "ready").exists)
    time.sleep(2.5)
    assert process.stdout is not None
    assert process.stdout.read() == bytes(120_000)
    assert process.wait(60) == 0
    process.stdout.close()


def test_a_blocked_stderr_does_not_make_us_unstoppable(shell: Shell) -> None:
    """stderr is full before the tool is told that it lacks a flag."""
    tool = shell.fake("restic", "open('ready', 'w').close(); time.sleep(60)")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    process = shell.start(below_exec([tool, "backup"]), stderr=writing)
    wait_until((shell.folder / "ready").exists)
    process.terminate()
    try:
        assert process.wait(60) == -signal.SIGTERM
    finally:
        os.close(reading)
        os.close(writing)
        process.kill()
        process.wait()


def test_the_tool_has_no_locale_that_its_caller_has_not(shell: Shell) -> None:
    """Python sets one in its own environment where there is none; rsync writes names otherwise."""
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        shell.env.pop(name, None)
    command = [*below_exec(["env"], "--wait", "0")]
    assert b"LC_" not in shell.run(command).stdout
    shell.env["LC_CTYPE"] = "C"
    assert b"LC_CTYPE=C\n" in shell.run(command).stdout


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["RESTIC_PASSWORD=secret", "restic"], "RESTIC_PASSWORD: command not found"),
        (["/no/restic -r rest:http://u:secret@h/ backup"], "restic: command not found"),
        ([""], ": command not found"),
    ],
)
def test_a_command_that_is_not_there_is_named_without_what_else_is_in_it(
    shell: Shell, faulty_hub: FaultyHub, command: list[str], error: str
) -> None:
    assert shell.exec(command).returncode == 127
    assert faulty_hub.accepted[-1]["error"] == error


def test_the_last_lines_of_any_failed_tool_are_its_error(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    shell.fake(
        "pg_dump",
        "print('pg_dump: error: connection to postgres://u:secret@h/x failed', file=sys.stderr)\n"
        "sys.exit(1)",
    )
    done = shell.exec(["pg_dump", "x"])
    assert done.returncode == 1
    assert b"u:secret@h" in done.stderr  # what the tool writes is left alone
    assert faulty_hub.accepted[-1]["error"] == (
        "pg_dump exited with 1: pg_dump: error: connection to postgres://h/x failed"
    )


@pytest.mark.parametrize(
    ("command", "status", "expected"),
    [
        ("restic backup /x", 3, "completed"),
        ("borg create ::a /x", 1, "completed"),
        ("borg create ::a /x", 100, "completed"),
        ("rsync -a x y", 24, "completed"),
        ("rsync -a x y", 20, "cancelled"),
        ("rsync -a x y", 23, "failed"),
    ],
)
def test_exit_codes_have_their_meaning_without_progress(
    shell: Shell, faulty_hub: FaultyHub, command: str, status: int, expected: str
) -> None:
    shell.fake(command.split()[0], f"sys.exit({status})")
    assert shell.exec(command.split()).returncode == status
    assert faulty_hub.accepted[-1]["status"] == expected


def test_a_pipe_that_was_cut_short_is_a_warning(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.fake("pv", "print(30_000_000, file=sys.stderr)")
    assert shell.exec("pv -nb -s 100000000".split()).returncode == 0
    end = faulty_hub.accepted[-1]
    assert (end["status"], end["bytes_transferred"]) == ("completed", 30_000_000)
    errors = [update["error"] for update in faulty_hub.accepted if "error" in update]
    assert errors == ["pv has completed with 30000000 of 100000000 bytes"]


def test_a_pipeline_that_hides_failures_is_said(shell: Shell) -> None:
    done = shell.exec(["sh", "-c", "false | cat"])
    assert done.returncode == 0
    assert b"bash -o pipefail -c" in done.stderr
    assert shell.exec(["bash", "-o", "pipefail", "-c", "false | cat"]).returncode == 1


def test_a_dry_run_is_marked(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.fake("rsync", "print('  9,000 100%  1.00MB/s  0:00:00 (xfr#1, to-chk=0/1)')")
    shell.exec("rsync -an --info=progress2 a b".split())
    last = faulty_hub.accepted[-1]
    assert (last["status"], last["bytes_transferred"], last["dry_run"]) == ("completed", 0, True)
    assert not any("error" in update for update in faulty_hub.accepted)


def test_output_without_the_expected_progress_is_said(shell: Shell) -> None:
    shell.fake("restic", "print('another version')")
    done = shell.exec(["restic", "backup", "--json", "/x"])
    assert done.stdout == b"another version\n"
    assert done.stderr.startswith(b"telemetry: restic's output contained no progress")


def test_a_script_is_read_as_the_tool_that_is_named(shell: Shell, faulty_hub: FaultyHub) -> None:
    tool = shell.fake("nightly", "print('  9,000 100%  1.00MB/s  0:00:00 (xfr#1, to-chk=0/1)')")
    assert shell.exec([tool], "--tool", "rsync").stderr == b""
    assert faulty_hub.accepted[-1]["bytes_transferred"] == 9000


def test_any_output_is_read_by_a_regular_expression(shell: Shell, faulty_hub: FaultyHub) -> None:
    tool = shell.fake(
        "dumper", "print('copying: 1.5 MiB of 3 MiB', flush=True); time.sleep(1); sys.exit(4)"
    )
    regex = r"^(?P<phase>\w+): (?P<done>.+) of (?P<total>.+)$"
    assert shell.exec([tool], "--progress-regex", regex).returncode == 4
    last = faulty_hub.accepted[-1]
    assert (last["bytes_transferred"], last["total_bytes"]) == (1_572_864, 3_145_728)
    assert (last["status"], last["progress_percent"]) == ("failed", 50.0)
    assert "copying" in [update.get("current_phase") for update in faulty_hub.accepted]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tool", "nothing"], "'nothing' is not known; known are: "),
        (["--progress-regex", "("], "is not a regular expression"),
        (["--progress-regex", "x"], "must have named groups"),
        (["--progress-regex", "(?P<bytes>x)"], "must have named groups, and only these"),
    ],
)
def test_a_wrong_option_runs_nothing(shell: Shell, options: list[str], words: str) -> None:
    done = shell.telemetry("exec", *options, "--", "touch", "ran")
    assert done.returncode == 64
    assert words in " ".join(done.stderr.decode().replace("│", " ").split())
    assert not (shell.folder / "ran").exists()


def test_explain_shows_how_a_command_is_read(shell: Shell, faulty_hub: FaultyHub) -> None:
    command = "sudo -u x rsync -an --info=progress2 a host:/b".split()
    done = shell.telemetry("exec", "--explain", "--job-id", "backup-7", "--", *command)
    assert done.returncode == 0
    facts = dict(line.split(":", 1) for line in done.stdout.decode().splitlines())
    facts = {name: text.strip() for name, text in facts.items()}
    assert facts["tool"] == "rsync, behind sudo"
    assert facts["read"] == "bytes; percent and time left once rsync has listed all files"
    assert facts["repository"] == "host:/b"
    assert facts["dry run"].startswith("yes")
    assert "24 completed with a warning (some files vanished" in facts["exit codes"]
    assert faulty_hub.accepted == []
    missing = shell.telemetry("exec", "--explain", "--", "restic", "backup", "/").stdout
    assert b"run it with --json" in missing
    unknown = shell.telemetry("exec", "--explain", "--", "./backup.sh").stdout
    assert b"not known (name a known one with --tool)" in unknown
    regex = shell.telemetry("exec", "--explain", "--progress-regex", "(?P<done>x)", "--", "x")
    assert b"lines that match (?P<done>x)" in regex.stdout
