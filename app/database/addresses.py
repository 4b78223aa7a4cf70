"""How other processes reach the database: DATABASE_URL, or files that the embedded engine writes.

In the data directory, engine.json has the addresses for web workers and analysts. owner.json has
the owner's, for migrations and tasks; web workers never open it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.config import Config
from app.errors import ConfigError

ENGINE_FILE = "engine.json"
OWNER_FILE = "owner.json"
ANALYST_FILE = "analyst.password"
_SCHEMES = ("postgresql", "postgres")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}", re.ASCII)


def hub_dsn(config: Config) -> str:
    """The database's address for the hub's user. Raises ConfigError if none is set or running."""
    return config.database_url or _read_dsn(config.data_dir / ENGINE_FILE)


def owner_dsn(config: Config) -> str:
    """The address for the user who may change the schema. Raises ConfigError as `hub_dsn` does."""
    return config.owner_url or config.database_url or _read_dsn(config.data_dir / OWNER_FILE)


def without_password(dsn: str) -> str:
    """The address as it may be printed."""
    parts = _read_parts(dsn)
    if parts is None:
        return "(not a valid database address)"
    hidden = {name: "***" for name in parts if name in ("password", "sslpassword")}
    return make_conninfo("", **{**parts, **hidden})


def check_addresses(config: Config) -> None:
    """Raise ConfigError if an address that is set is not valid."""
    addresses = {
        "DATABASE_URL": config.database_url,
        "HUB_OWNER_URL": config.owner_url,
        "HUB_READ_URL": config.read_url,
    }
    for variable, dsn in addresses.items():
        if dsn is not None:
            check_dsn(dsn, variable)


def check_dsn(dsn: str, variable: str) -> None:
    """Raise ConfigError naming the setting if the address is not valid.

    libpq's own message would quote a part of the address, often the one with the password.
    """
    if _read_parts(dsn) is not None:
        return
    scheme, separator, _ = dsn.partition("://")
    is_other = bool(separator and _SCHEME.fullmatch(scheme)) and scheme not in _SCHEMES
    hint = f" (it begins with {scheme}://)" if is_other else ""
    raise ConfigError(
        f"{variable} is not a valid database address{hint}: "
        "it must be like postgresql://user:password@host:5432/database, with special characters "
        "of the password percent-encoded."
    )


def _read_parts(dsn: str) -> dict[str, Any] | None:
    """The parts of an address; None if it is not valid."""
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        return None
    # A password with a slash that is not encoded ends up in the port, which libpq would quote.
    is_number = all(not port or port.isdecimal() for port in str(parts.get("port") or 0).split(","))
    return parts if is_number else None


def write_addresses(data_dir: Path, engine: dict[str, int | str], owner_dsn: str) -> None:
    """Write both files. `engine`: port, pid, dsn, analyst_dsn. Raises OSError (a full disk)."""
    write_private(data_dir / OWNER_FILE, json.dumps({"dsn": owner_dsn}))
    write_private(data_dir / ENGINE_FILE, json.dumps(engine))


def remove_addresses(data_dir: Path) -> None:
    """Delete both files: the engine has stopped."""
    for name in (ENGINE_FILE, OWNER_FILE):
        (data_dir / name).unlink(missing_ok=True)


def read_analyst_password(data_dir: Path) -> str | None:
    """The analyst's password, which is kept because people save it; None before the first start.

    Raises OSError.
    """
    try:
        return (data_dir / ANALYST_FILE).read_text().strip() or None
    except FileNotFoundError:
        return None


def keep_analyst_password(data_dir: Path, password: str) -> None:
    """Write it down, unless that is done. Raises OSError."""
    if read_analyst_password(data_dir) != password:
        write_private(data_dir / ANALYST_FILE, password + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable for its owner only. Raises OSError."""
    with new_file(path) as file:
        file.write(text.encode())


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file for its owner only, there under its name once it is complete. Raises OSError."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # without it a power cut may leave an empty file of that name
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _read_dsn(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["dsn"])
    except (OSError, ValueError, KeyError) as exc:
        raise ConfigError(
            f"No embedded database runs in {file.parent}: start the hub "
            "(`python -m app serve`), or set DATABASE_URL."
        ) from exc
