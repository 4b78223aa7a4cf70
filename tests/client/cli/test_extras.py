"""Without their extras the commands say in one sentence what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = {
    "telemetry": ("telemetry_client.cli", "cli", ("typer", "rich"), 69),
    "telemetry-agent": ("telemetry_client.agent", "agent", ("psutil", "websockets"), 2),
}


def run_without(packages: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that cannot import the packages."""
    block = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_extra_that_it_needs(command: str) -> None:
    module, extra, packages, status = COMMANDS[command]
    answer = run_without(packages, f"from {module} import main\nsys.exit(main())")
    assert (answer.returncode, answer.stdout) == (status, "")
    assert answer.stderr == (
        f"{command}: this command needs {' and '.join(packages)}: "
        f"pip install 'telemetry-client[{extra}]'\n"
    )


def test_only_the_missing_packages_are_named() -> None:
    answer = run_without(("rich",), "from telemetry_client.cli import main\nmain()")
    assert answer.returncode == 69
    assert "this command needs rich: pip install" in answer.stderr


def test_the_library_runs_without_any_extra() -> None:
    packages = ("typer", "rich", "click", "psutil", "websockets")
    code = (
        "from telemetry_client import ProgressTracker, TelemetryClient, TelemetryQueue\n"
        "import telemetry_client.readers\n"
        "TelemetryQueue(':memory:').enqueue({'job_id': 'a'})\n"
        "with TelemetryClient('http://127.0.0.1:9') as client:\n"
        "    tracker = ProgressTracker('backup-1', client=client, spool=False)\n"
        "    tracker.flush()\n"
    )
    answer = run_without(packages, code)
    assert answer.returncode == 0, answer.stderr


def test_the_library_imports_urllib3_and_nothing_else_that_is_not_of_python() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import telemetry_client, telemetry_client.readers\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split()) - sys.stdlib_module_names
    # Modules of urllib3's own that are optional and may lie beside it.
    assert loaded - {"brotli", "zstandard", "backports", "h2", "socks"} == {
        "telemetry_client",
        "urllib3",
    }
