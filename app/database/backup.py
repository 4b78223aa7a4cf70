"""A copy of the running embedded database in one file, as `pg_basebackup` makes one of a server.

PostgreSQL's low-level API: between `pg_backup_start` and `pg_backup_stop` the files are copied as
they are, while the database goes on changing them. A start from the copy first repeats the log
(WAL) of that time, so the database is then as it was when the copy ended. See "Making a Base Backup
Using the Low Level API" in PostgreSQL's documentation.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg

from app.database.addresses import ENGINE_FILE, OWNER_FILE
from app.database.lock import DATABASE_FOLDER, LOCK_FILE
from app.database.pool import Connection, translated_errors
from app.errors import ConfigError

# The bridge ends the backup of a connection with this name when the connection ends.
APPLICATION = "hub_backup"
GZIP_LEVEL = 1  # the quickest

# What a start makes itself, or what belongs to the engine that runs.
_LEFT_OUT = {"postmaster.pid", "postmaster.opts", ENGINE_FILE, OWNER_FILE, LOCK_FILE}
_EMPTIED = {"pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots"} | {
    "pg_stat_tmp",
    "pg_subtrans",
    "pgsql_tmp",
}
_CONTROL = Path("global", "pg_control")
_START_FILE = re.compile(r"\(file ([0-9A-F]{24})\)")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup has: files, and their bytes before compression."""

    files: int
    bytes: int


def write_backup(conn: Connection, data_dir: Path, out: IO[bytes], progress: Progress) -> Copied:
    """Write the data directory as a tar.gz. `conn`: the owner's, in autocommit, for this alone.

    `progress` is called with the bytes of each file. Raises DatabaseUnavailable, OSError, and
    ConfigError if another backup is being made.
    """
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=GZIP_LEVEL) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        copy = _Copy(tar, data_dir, progress)
        with translated_errors():
            _begin(conn)
            database = data_dir / DATABASE_FOLDER
            for path in _files(data_dir):
                if path != database / _CONTROL:
                    copy.add(path)
            copy.add(database / _CONTROL)  # last, as the documentation demands
            label, newest = _end(conn)
            copy.add_text(database / "backup_label", label)
            for path in _log(database / "pg_wal", label, newest):
                copy.add(path)
            conn.execute("SELECT pg_drop_replication_slot(%s)", [APPLICATION])
    return Copied(copy.files, copy.bytes)


def _begin(conn: Connection) -> None:
    """Keep the log from now on, and begin. A command that was killed has ended its own backup."""
    try:
        conn.execute(
            """SELECT pg_create_physical_replication_slot(%(name)s, true, true),
                      set_config('application_name', %(name)s, false)""",
            {"name": APPLICATION},
        )
    except psycopg.errors.DuplicateObject as exc:
        raise ConfigError("Another backup is being made: wait until it has ended.") from exc
    conn.execute("SELECT pg_backup_start(%s, true)", [APPLICATION])


def _end(conn: Connection) -> tuple[str, str]:
    """The label that a start from the copy needs, and the newest file of the log."""
    row = conn.execute(
        "SELECT labelfile, pg_walfile_name(lsn) FROM pg_backup_stop(false)"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _files(data_dir: Path) -> Iterator[Path]:
    """Files and directories to copy, a directory before what is in it."""
    for folder, folders, files in os.walk(data_dir):
        for name in sorted(folders):
            yield Path(folder, name)
        folders[:] = sorted(set(folders) - _EMPTIED)
        for name in sorted(set(files) - _LEFT_OUT):
            if not name.endswith(".new"):  # one that is being replaced
                yield Path(folder, name)


def _log(folder: Path, label: str, newest: str) -> list[Path]:
    """The files of the log from the start of the backup to its end."""
    found = _START_FILE.search(label)
    assert found is not None, label
    names = sorted(path.name for path in folder.iterdir() if len(path.name) == 24)
    return [folder / name for name in names if found[1] <= name <= newest]


class _Copy:
    """Adds files to a tar while they change."""

    def __init__(self, tar: tarfile.TarFile, root: Path, progress: Progress) -> None:
        self.files = 0
        self.bytes = 0
        self._tar = tar
        self._root = root
        self._progress = progress

    def add(self, path: Path) -> None:
        """Add a file or a directory, unless it has been deleted in the meantime."""
        try:
            if path.is_dir():
                self._tar.addfile(self._entry(path))
                return
            with path.open("rb") as file:
                entry = self._entry(path)
                entry.size = os.fstat(file.fileno()).st_size
                self._add(entry, _OfSize(file, entry.size))
        except FileNotFoundError:  # the log says that it was deleted
            return

    def add_text(self, path: Path, text: str) -> None:
        """Add a file that is not on the disk."""
        content = text.encode()
        entry = tarfile.TarInfo(str(path.relative_to(self._root)))
        entry.size, entry.mode = len(content), 0o600
        self._add(entry, io.BytesIO(content))

    def _entry(self, path: Path) -> tarfile.TarInfo:
        return self._tar.gettarinfo(str(path), str(path.relative_to(self._root)))

    def _add(self, entry: tarfile.TarInfo, content: Any) -> None:
        self._tar.addfile(entry, content)
        self.files += 1
        self.bytes += entry.size
        self._progress(entry.size)


class _OfSize:
    """A file as long as it was when it was opened: zeros follow where it was cut since then.

    The log repeats the cut, so what is there does not matter.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none only at the end."""
        size = min(size, self._left)
        piece = self._file.read(size)
        piece += bytes(size - len(piece))
        self._left -= size
        return piece
