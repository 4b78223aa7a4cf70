"""A migrated, empty embedded database to copy: making one takes five seconds of a core.

It is kept until its migrations, the engine or the code that makes it change. Tests of the engine's
start or of the migrations do not use it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app.config import ROOT, Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database

FOLDER_VARIABLE = "HUB_TEST_TEMPLATE"  # the folder, for every process of a test run
MADE_OF = ("app/database/**/*.py", "migrations/**/*.sql", "embedded/*.*")


def offer(folder: Path) -> None:
    """Let `copy_to` keep the template in this folder, for all processes of this run."""
    os.environ[FOLDER_VARIABLE] = str(folder)


def copy_to(data_dir: Path) -> None:
    """Give a hub's data directory a database, unless it has one or no template is offered."""
    offered = os.environ.get(FOLDER_VARIABLE)
    if offered is None or (data_dir / "timescaledb").exists():
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_made_in(Path(offered)) / "timescaledb", data_dir / "timescaledb")


def _made_in(folder: Path) -> Path:
    """The template of the present code; those of earlier code are removed."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / _digest()
        if not made.exists():
            for other in filter(Path.is_dir, folder.iterdir()):
                shutil.rmtree(other)
            unfinished = folder / "unfinished"
            _make(unfinished)
            unfinished.rename(made)
    return made


def _digest() -> str:
    """Of the files that decide what a new database holds."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for pattern in MADE_OF:
        yield from filter(Path.is_file, ROOT.glob(pattern))


def _make(data_dir: Path) -> None:
    with (
        EmbeddedEngine(data_dir, port=0, durable=False),
        Database.of_owner(Config(data_dir=data_dir)).connect(autocommit=True) as conn,
    ):
        migrate(conn)
