"""The client's folders import downwards only, and each library is imported where it belongs."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from app.config import ROOT

PACKAGE = ROOT / "client" / "telemetry_client"
BASE = {"errors", "extras", "log_limit", "progress", "settings"}
# What a folder may import of the package.
MAY_IMPORT = {
    "errors": set(),
    "extras": set(),
    "log_limit": set(),
    "progress": set(),
    "settings": {"errors"},
    "wire": {"wire", *BASE},
    "queue": {"queue", "wire", *BASE},
    "tracker": {"tracker", "queue", "wire", *BASE},
    "readers": {"readers", "wire", *BASE},
    "cli": {"cli", "readers", "tracker", "queue", "wire", *BASE},
    "agent": {"agent", "queue", "wire", *BASE},
}
# The self-test checks what is installed, so it imports more.
EXCEPTIONS = {"agent/selftest.py": {"tracker"}}
LIBRARIES = {
    "urllib3": {"wire"},
    "typer": {"cli"},
    "rich": {"cli"},
    "psutil": {"agent"},
    "websockets": {"agent"},
}


def modules() -> list[str]:
    names = (str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")))
    return [name for name in names if name != "__init__.py"]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    folder = module.split("/")[0].removesuffix(".py")
    allowed = MAY_IMPORT[folder] | EXCEPTIONS.get(module, set())
    for name in imports_of(PACKAGE / module):
        top, _, rest = name.partition(".")
        if top == "telemetry_client":
            assert rest.split(".")[0] in allowed, name
        elif top not in sys.stdlib_module_names:
            assert folder in LIBRARIES[top], name


def test_the_wire_knows_no_files() -> None:
    """What goes over HTTP is independent of where it is kept."""
    for path in (PACKAGE / "wire").glob("*.py"):
        assert not imports_of(path) & {"sqlite3", "pathlib"}, path
