"""What an error of SQLite means.

Python has had SQLite's result codes since 3.11; before that the text of the error has to do.
"""

from __future__ import annotations

import sqlite3

# https://sqlite.org/rescode.html
PERM, BUSY, LOCKED, READONLY, IOERR = 3, 5, 6, 8, 10
CORRUPT, FULL, CANTOPEN, NOTADB = 11, 13, 14, 26

_TEXTS = {
    "access permission denied": PERM,
    "database is locked": BUSY,
    "table is locked": LOCKED,
    "readonly database": READONLY,
    "disk I/O error": IOERR,
    "malformed": CORRUPT,
    "database or disk is full": FULL,
    "unable to open database file": CANTOPEN,
    "file is not a database": NOTADB,
}
_REASONS = {
    FULL: "the disk is full",
    IOERR: "the disk is full or failing",
    READONLY: "it cannot be written",
    PERM: "it cannot be written",
    CANTOPEN: "it cannot be opened; check that its directory exists and is writable",
    BUSY: "another process keeps it locked",
    LOCKED: "another process keeps it locked",
}


class DamagedFile(sqlite3.DatabaseError):
    """A check found damage, as if SQLite had met it."""


def reason_of(exc: sqlite3.Error) -> str:
    """Why the file cannot be used."""
    return _REASONS.get(result_code(exc)) or f"it cannot be used: {exc}"


def is_full(exc: sqlite3.Error) -> bool:
    """Whether the disk has no room, or fails."""
    return result_code(exc) in (FULL, IOERR)


def is_busy(exc: sqlite3.Error) -> bool:
    """Whether another connection has locked the file."""
    return result_code(exc) in (BUSY, LOCKED)


def is_corrupt(exc: sqlite3.Error) -> bool:
    """Whether the file is damaged or is not a database."""
    return isinstance(exc, DamagedFile) or result_code(exc) in (CORRUPT, NOTADB)


def result_code(exc: sqlite3.Error) -> int:
    """The primary result code; 0 if it is not one of those above and Python does not know it."""
    code: int | None = getattr(exc, "sqlite_errorcode", None)
    return code_of_text(str(exc)) if code is None else code & 0xFF


def code_of_text(text: str) -> int:
    """The primary result code that SQLite's text of an error stands for; 0 if unknown."""
    return next((code for part, code in _TEXTS.items() if part in text), 0)
