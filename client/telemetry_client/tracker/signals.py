"""SIGTERM, which ends a Python program without running the rest of its `with` blocks."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

EXIT_STATUSES = {128 + signal.SIGINT: "SIGINT", 128 + signal.SIGTERM: "SIGTERM"}


def cancel_on_sigterm() -> bool:
    """Let SIGTERM raise SystemExit(143), as Ctrl-C raises KeyboardInterrupt: `with` blocks are
    left, and their jobs are cancelled. Returns whether it does so now.

    For the main thread. A handler that the program has set itself is left alone.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return signal.getsignal(signal.SIGTERM) is _exit
    signal.signal(signal.SIGTERM, _exit)
    return True


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
