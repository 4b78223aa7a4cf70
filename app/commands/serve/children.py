"""The processes beside the web workers: started again when they end or do not answer."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from contextlib import suppress

from app.background import FailureLog
from app.config import PARENT_VARIABLE, ROOT, Config
from app.database.engine import EmbeddedEngine
from app.errors import EngineError

logger = logging.getLogger("hub.serve")

# A busy engine answers no other query. The longest statement compresses a chunk, at 650,000 rows a
# second: 100 s for 6 hours of 3,000 updates a second, the most that the engine can take. An engine
# that fails, or runs a statement forever, ends by itself.
ENGINE_SILENCE_SECONDS = 120.0
ENGINE_ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 1.0  # before a restart, at first
LONGEST_PAUSE_SECONDS = 30.0  # a process that runs for longer has not failed at its start
STOP_SECONDS = 15


class ChildProcess:
    """A process that is started again when it ends, after longer pauses if it keeps ending."""

    def __init__(self, command: list[str], config: Config) -> None:
        self._command = command
        self._env = {
            **os.environ,  # as it is now: the web workers get less
            PARENT_VARIABLE: str(os.getpid()),
            "HUB_DATA_DIR": str(config.data_dir),  # absolute: the process runs in ROOT
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = PAUSE_SECONDS

    def check(self) -> None:
        """Start it unless it runs or a pause is not over."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                if now - self._started > LONGEST_PAUSE_SECONDS:
                    self._pause = PAUSE_SECONDS
                return
            if now - self._started < self._pause:
                return
            name, status = self._command[-1], self._process.returncode
            logger.error("python -m %s ended with status %s; starting it again", name, status)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._started = now
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env)

    def stop(self) -> None:
        """Terminate it; kill it after STOP_SECONDS."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class EngineCheck:
    """Starts the embedded database again when it has ended or answers no query."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._last_answer = time.monotonic()
        self._failures = FailureLog(
            logger,
            "the embedded database cannot be started, trying again every second",
            "the embedded database has been started",
            logging.ERROR,
        )

    def check(self) -> None:
        """Check once, and restart the engine if needed."""
        if not self._engine.is_alive():
            # A start on a full disk fails slowly, and would delay the one that succeeds.
            if not self._failures.is_failing or self._engine.has_room():
                self._restart("ended")
        elif self._engine.answers(ENGINE_ANSWER_SECONDS):
            self._last_answer = time.monotonic()
            with suppress(OSError):  # the log has it
                self._engine.announce()
        elif time.monotonic() - self._last_answer > ENGINE_SILENCE_SECONDS:
            self._restart(f"has not answered for {ENGINE_SILENCE_SECONDS:.0f} s")

    def _restart(self, reason: str) -> None:
        if not self._failures.is_failing:
            logger.error("the embedded database %s; starting it again", reason)
        with self._failures.attempt(EngineError):
            self._engine.restart()
            self._last_answer = time.monotonic()
