"""The file of the keys that tokens are signed with: one a line, the first signs, both are valid."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from app.errors import ConfigError

SHORTEST_BYTES = 32  # of a key for HS256: as long as what it signs with (RFC 7518, section 3.2)
MOST_KEYS = 2  # the one that signs, and the one before it
_LARGEST_FILE = 16 * 1024

Keys = tuple[bytes, ...]


def read_keys(path: Path) -> Keys:
    """The keys, the one that signs first. Raises ConfigError with a sentence that names the file.

    A key is all of its line but the space around it. Empty lines and lines with a # do not count.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LARGEST_FILE + 1)
    except OSError as exc:
        raise ConfigError(
            f"HUB_TOKEN_KEY_FILE is {path}, which cannot be read ({exc.strerror})."
        ) from exc
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"HUB_TOKEN_KEY_FILE is {path}, which everybody on this machine may open: "
            f"run `chmod 600 {path}`."
        )
    lines = [line.strip() for line in text.splitlines()]
    keys = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not 1 <= len(keys) <= MOST_KEYS or len(text) > _LARGEST_FILE:
        raise ConfigError(
            f"HUB_TOKEN_KEY_FILE is {path}, which must hold one key, or two while rotating, each "
            f"on a line of its own, and holds {len(keys)}."
        )
    if min(len(key) for key in keys) < SHORTEST_BYTES:
        raise ConfigError(
            f"HUB_TOKEN_KEY_FILE is {path}, which holds a key of less than {SHORTEST_BYTES} "
            "bytes: `python -m app token key` makes one."
        )
    return keys


def create_key_file(path: Path) -> None:
    """Make the file with a new key, for its owner alone. Raises ConfigError if it is there."""
    try:
        _write(path, _lines(_new_key()), os.O_EXCL)
    except FileExistsError as exc:
        raise ConfigError(
            f"{path} is there already: `python -m app token key --rotate` puts a new key before "
            "the one that signs now."
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be made ({exc.strerror}).") from exc


def rotate_key_file(path: Path) -> None:
    """Let a new key sign. The one that signed stays valid, the one before it is gone.

    Whoever reads meanwhile sees the old file or the new one. Raises ConfigError.
    """
    keys = read_keys(path)
    path = path.resolve()  # where a link leads: replaced, the link would be cut off from it
    beside = path.with_name(f"{path.name}.new")
    try:
        with suppress(FileNotFoundError):
            beside.unlink()  # of a rotation that was cut off
        _write(beside, _lines(_new_key(), keys[0]), os.O_EXCL)
        was = path.stat()
        if os.geteuid() == 0:  # a file of root's would shut the hub's own user out
            os.chown(beside, was.st_uid, was.st_gid)
        os.chmod(beside, stat.S_IMODE(was.st_mode))
        beside.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror}).") from exc


def _new_key() -> bytes:
    return secrets.token_urlsafe(48).encode()


def _lines(*keys: bytes) -> bytes:
    return b"".join(key + b"\n" for key in keys)


def _write(path: Path, content: bytes, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
