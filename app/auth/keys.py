"""The file with the keys that sign tokens: one per line; the first signs, both are accepted."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from app.errors import ConfigError

SHORTEST_BYTES = 32  # of a key for HS256 (RFC 7518, section 3.2)
MOST_KEYS = 2  # the one that signs, and the previous one
_LARGEST_FILE = 16 * 1024

Keys = tuple[bytes, ...]


def read_keys(path: Path, variable: str = "HUB_TOKEN_KEY_FILE") -> Keys:
    """The keys; the first one signs. Raises ConfigError naming the file and `variable`.

    A key is a line without the space around it. Empty lines and lines that start with # are
    ignored.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LARGEST_FILE + 1)
    except OSError as exc:
        raise ConfigError(f"{variable} is {path}, which cannot be read ({exc.strerror}).") from exc
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"{variable} is {path}, which all users of this machine can access: "
            f"run `chmod 600 {path}`."
        )
    lines = [line.strip() for line in text.splitlines()]
    keys = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not 1 <= len(keys) <= MOST_KEYS or len(text) > _LARGEST_FILE:
        raise ConfigError(
            f"{variable} is {path}, which must have one key, or two during a rotation, one "
            f"per line; it has {len(keys)}."
        )
    if min(len(key) for key in keys) < SHORTEST_BYTES:
        raise ConfigError(
            f"{variable} is {path}, which has a key of less than {SHORTEST_BYTES} bytes: "
            "make one with `python -m app token key`."
        )
    return keys


def create_key_file(path: Path) -> None:
    """Create the file, with a new key, for its owner only. Raises ConfigError if it exists."""
    try:
        _write(path, _lines(_new_key()), os.O_EXCL)
    except FileExistsError as exc:
        raise ConfigError(
            f"{path} exists already: use `python -m app token key --rotate` to add a new key."
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be created ({exc.strerror}).") from exc


def rotate_key_file(path: Path) -> None:
    """Add a new key that signs. The current one stays valid; the one before it is removed.

    The file is replaced in one step. Raises ConfigError.
    """
    keys = read_keys(path)
    path = path.resolve()  # replace the target of a link, not the link
    unfinished = path.with_name(f"{path.name}.new")
    try:
        with suppress(FileNotFoundError):
            unfinished.unlink()  # of a rotation that was interrupted
        _write(unfinished, _lines(_new_key(), keys[0]), os.O_EXCL)
        current = path.stat()
        if os.geteuid() == 0:  # the hub's own user could not read a file of root
            os.chown(unfinished, current.st_uid, current.st_gid)
        os.chmod(unfinished, stat.S_IMODE(current.st_mode))
        unfinished.replace(path)
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
