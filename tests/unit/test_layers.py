"""Imports point downwards only, and each library stays where it belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

# What a package may import of ours. A module not named here falls under its longest prefix.
MAY_IMPORT = {
    "wsgi": {"app"},
    "app.api": {"app"},
    "app.schemas": {"app.schemas", "app.domain", "app.store", "app.clock", "app.errors"},
    "app.ingest": {
        "app.ingest",
        "app.store",
        "app.domain",
        "app.database.pool",
        "app.clock",
        "app.errors",
        "app.metrics",
    },
    "app.charts": {"app.charts", "app.store", "app.domain", "app.database.pool", "app.errors"},
    "app.auth": {
        "app.auth",
        "app.store",
        "app.database.pool",
        "app.clock",
        "app.errors",
    },
    "app.auth.scopes": set(),
    "app.commands.token": {
        "app.auth",
        "app.store",
        "app.schemas",
        "app.database.attach",
        "app.config",
        "app.database.pool",
        "app.clock",
        "app.errors",
    },
    "app.store": {"app.store", "app.domain", "app.database.pool", "app.clock", "app.errors"},
    "app.domain": {"app.domain"},
    "app.database.pool": {"app.config", "app.errors"},
    "app.config": {"app.errors"},
    "app.clock": {"app.domain"},
    "app.metrics": set(),
    "app.errors": set(),
    "jobs": {
        "jobs",
        "app.config",
        "app.database.pool",
        "app.charts",
        "app.store",
        "app.domain",
        "app.clock",
        "app.errors",
        "app.logs",
        "app.lifeline",
    },
}
# Where a library may be imported.
HOME = {
    "flask": {"app", "app.api"},
    "flask_smorest": {"app.api"},
    "webargs": {"app.api"},
    "werkzeug": {"app.api"},
    "marshmallow": {"app.schemas", "app.api"},
    "msgspec": {"app.schemas"},
    "apscheduler": {"jobs.__main__"},
    "psycopg": {
        "app.database",
        "app.checks",
        "app.store",
        "app.ingest",
        "app.auth",
        "app.commands",
        "app.__main__",
        "jobs",
    },
    "granian": {"app.commands.serve"},
    "jwt": {"app.auth.tokens"},
    "prometheus_client": {"app.metrics", "app.api"},
}


def modules() -> list[Path]:
    return [
        *sorted((ROOT / "app").rglob("*.py")),
        *sorted((ROOT / "jobs").rglob("*.py")),
        ROOT / "wsgi.py",
    ]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "app":  # `from app import metrics` means app.metrics
                found.update(f"app.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
    return found


def is_below(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_module_imports_only_what_is_below_it(path: Path) -> None:
    module = name_of(path)
    rules = [package for package in MAY_IMPORT if is_below(module, {package})]
    if rules:
        ours = {name for name in imports_of(path) if is_below(name, {"app", "jobs", "wsgi"})}
        wrong = {name for name in ours if not is_below(name, MAY_IMPORT[max(rules, key=len)])}
        assert not wrong, f"{module} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_library_is_imported_only_where_it_belongs(path: Path) -> None:
    module = name_of(path)
    for name in imports_of(path):
        homes = HOME.get(name.split(".")[0])
        assert homes is None or module in homes or is_below(module, homes - {"app"}), name


def test_domain_needs_the_standard_library_only() -> None:
    for path in (ROOT / "app" / "domain").glob("*.py"):
        for name in imports_of(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or name.startswith("app.domain"), (path, name)


def test_tasks_do_not_load_flask() -> None:
    code = "import sys, app.database.pool, app.store.ingest; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_only_config_reads_the_environment() -> None:
    allowed = {
        "app.config",
        "app.lifeline",
        "app.commands.serve",
        "app.database.engine",
        "app.__main__",
    }
    for path in modules():
        if name_of(path) not in allowed:
            assert "os.environ" not in path.read_text(), path
