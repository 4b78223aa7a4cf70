"""Work in the background: a thread that repeats it, and a log that does not repeat failures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import first_line

logger = logging.getLogger("hub.background")

STOP_SECONDS = 2.0


class FailureLog:
    """Logs the first of several failures in a row, and the success that ends them. Thread-safe.

    `failing` and `recovered` are the messages; the reason is added to the first.
    """

    def __init__(
        self, logger: logging.Logger, failing: str, recovered: str, level: int = logging.WARNING
    ) -> None:
        self.is_failing = False
        self._logger = logger
        self._failing = failing
        self._recovered = recovered
        self._level = level
        self._lock = threading.Lock()

    def failed(self, exc: BaseException) -> None:
        """Record a failure."""
        if not self._change(is_failing=True):
            self._logger.log(self._level, "%s: %s", self._failing, first_line(exc))

    def succeeded(self) -> None:
        """Record a success."""
        if self._change(is_failing=False):
            self._logger.info("%s", self._recovered)

    @contextmanager
    def attempt(self, *expected: type[Exception]) -> Iterator[None]:
        """Note how the block ends, and suppress its exceptions. An unexpected one is a bug: it is
        logged every time, with its traceback.
        """
        try:
            yield
        except expected as exc:
            self.failed(exc)
        except Exception:
            self._logger.exception("%s", self._failing)
        else:
            self.succeeded()

    def _change(self, *, is_failing: bool) -> bool:
        with self._lock:
            before, self.is_failing = self.is_failing, is_failing
        return before


class RepeatingThread(threading.Thread):
    """Calls `work` every `seconds`, from `start` to `stop`, and `finish` after the last call.

    The first call comes after `delay` seconds. While one call takes too long, those due meanwhile
    are left out. An exception is logged and does not end the thread.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        seconds: float,
        *,
        delay: float = 0.0,
        finish: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._seconds = seconds
        self._delay = delay
        self._finish = finish
        self._stopping = threading.Event()

    def stop(self, wait_seconds: float = STOP_SECONDS) -> None:
        """Make no further call, and wait up to `wait_seconds` for the current one. Idempotent."""
        self._stopping.set()
        if self.is_alive():
            self.join(wait_seconds)

    def run(self) -> None:
        due = time.monotonic() + self._delay
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            self._call(self._work)
            missed = (time.monotonic() - due) // self._seconds
            due += self._seconds * (1 + missed)
        if self._finish is not None:
            self._call(self._finish)

    def _call(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            logger.exception("the thread %s failed", self.name)
