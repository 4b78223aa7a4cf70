"""The lock on a data directory: one engine at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from app.errors import EngineError

DATABASE_FOLDER = "timescaledb"  # in the data directory
LOCK_FILE = "engine.lock"
RETRY_SECONDS = 0.05


def lock_directory(data_dir: Path, wait_seconds: float) -> int:
    """Lock the directory, creating it if needed; return the descriptor that holds the lock.

    Raises EngineError if it cannot be created, written to, or locked within `wait_seconds`.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise EngineError(
            f"HUB_DATA_DIR is {data_dir}, where the hub cannot write ({exc.strerror}): set it to "
            "a directory that the hub can create or write to."
        ) from exc
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise EngineError(
                    f"{data_dir} is in use by another hub: stop that one, or set HUB_DATA_DIR to "
                    "another directory."
                ) from None
            time.sleep(RETRY_SECONDS)
