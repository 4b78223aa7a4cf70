"""Commands as processes of their own, with a home, a spool and fake tools below tmp_path."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from telemetry_client.cli import main
from tools.faulty_hub import FaultyHub
from tools.hub_process import free_port

TELEMETRY = [sys.executable, "-m", "telemetry_client.cli"]


class Shell:
    """Runs commands, plain or below `telemetry exec`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.spool = folder / "spool" / "spool.db"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.env = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "SHA_API_URL": url,
            "TELEMETRY_SPOOL": str(self.spool),
            "PYTHONFAULTHANDLER": "1",
        }

    def fake(self, name: str, python: str) -> str:
        """A tool of this name, written in Python; its path."""
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{python}")
        path.chmod(0o755)
        return str(path)

    def telemetry(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """The command in this process: it is the interpreter's start that takes time."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.env, clear=True),
            mock.patch.object(sys, "argv", ["telemetry", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ending,
        ):
            main()
        texts = out.getvalue().encode(), err.getvalue().encode()
        return subprocess.CompletedProcess(arguments, int(ending.value.code or 0), *texts)

    def exec(
        self, command: Sequence[str], *options: str, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        return self.run(below_exec(command, *options), **more)

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        options = {"capture_output": True, "timeout": 100, "env": self.env, **options}
        return subprocess.run(list(command), cwd=self.folder, **options)

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(list(command), cwd=self.folder, **{"env": self.env, **options})


def below_exec(command: Sequence[str], *options: str) -> list[str]:
    job = [] if "--job-id" in options else ["--job-id", "backup-vm1-1"]
    return [*TELEMETRY, "exec", *job, *options, "--", *command]


@pytest.fixture
def shell(tmp_path: Path, faulty_hub: FaultyHub) -> Shell:
    """With a hub that answers by itself."""
    return Shell(tmp_path, faulty_hub.url)


@pytest.fixture
def lonely_shell(tmp_path: Path) -> Shell:
    """Without any hub."""
    return Shell(tmp_path, f"http://127.0.0.1:{free_port()}")
