"""The tools that are known, a file each. Only the one that is needed is imported."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache

from telemetry_client.readers.tool import Tool

# Other names of the same tool.
_ALIASES = {
    "gtar": "tar",
    "mariadb-backup": "mariabackup",
    "xtrabackup": "mariabackup",
    "myloader": "mydumper",
    "pg_dumpall": "pg_dump",
    "pg_restore": "pg_dump",
    "pigz": "gzip",
}
_SCRIPT = re.compile(r"\.(?:sh|bash|zsh|py|pl|rb|ps1|bat|cmd)$")  # rsync-2024.sh is not rsync
_VERSION = re.compile(r"[-_.]?v?\d[\w.]*$", re.ASCII)  # restic_0.18.0


def known_name(name: str) -> str | None:
    """The name of the known tool that a program is, without a version; None for any other."""
    name = name.lower().removesuffix(".exe")
    if _SCRIPT.search(name):
        return None
    for candidate in (name, _VERSION.sub("", name)):
        if _module_of(candidate) in _modules():
            return candidate
    return None


def find(name: str) -> Tool:
    """The description of a known tool, by one of its names. Raises KeyError for an unknown name."""
    module = _module_of(name)
    if module not in _modules():
        raise KeyError(name)
    tool = importlib.import_module(f"{__name__}.{module}").TOOL
    assert isinstance(tool, Tool)
    return tool


def names() -> list[str]:
    """Of all known tools."""
    return sorted(find(module).name for module in _modules())


def _module_of(name: str) -> str:
    return _ALIASES.get(name, name).replace("-", "_")


@cache
def _modules() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(__path__))
