"""A migrated, empty embedded database, made once a run: to make one takes five seconds of a core.

Tests that are about making one, or about the migrations, do not use it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database

FOLDER_VARIABLE = "HUB_TEST_TEMPLATE"  # where it is, for every process of a test run


def offer(folder: Path) -> None:
    """Let `copy_to` keep the template here, for all workers of this run."""
    os.environ[FOLDER_VARIABLE] = str(folder)


def copy_to(data_dir: Path) -> None:
    """Give a hub's data directory a database, unless it has one or no template is offered."""
    offered = os.environ.get(FOLDER_VARIABLE)
    if offered is None or (data_dir / "timescaledb").exists():
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_made_in(Path(offered)) / "timescaledb", data_dir / "timescaledb")


def _made_in(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "made"
        if not made.exists():
            unfinished = folder / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished)
            unfinished.rename(made)
    return made


def _make(data_dir: Path) -> None:
    with (
        EmbeddedEngine(data_dir, port=0, durable=False),
        Database.of_owner(Config(data_dir=data_dir)).connect(autocommit=True) as conn,
    ):
        migrate(conn)
