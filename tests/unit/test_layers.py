"""Imports point downwards only, and each library stays where it belongs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

# What a module may import of ours, besides its own package. The longest prefix of its name counts.
BASE = {"app.clock", "app.config", "app.errors", "app.logs", "app.metrics"}
POOL = "app.database.pool"
READS = "app.database.reads"
MAY_IMPORT = {
    "wsgi": {"app"},
    "app": set(),
    "app.create_app": {"app.api.factory", "app.hub", "app.config", "app.lifeline", "app.logs"},
    # How requests come in.
    "app.server": {
        "app.create_app",
        "app.api.context",
        "app.api.needs",
        "app.hub",
        "app.web",
        "app.ingest",
        POOL,
        *BASE,
    },
    "app.api": {"app.hub", "app.web", "app.schemas", "app.charts", "app.domain", "app.auth.scopes"}
    | {"app.store", "app.ingest", "app.checks.probe", "app.__version__", "app.notify", POOL, *BASE},
    "app.web": {"app.schemas", "app.ingest", "app.charts", "app.auth", "app.domain", *BASE},
    "app.hub": {"app.web", "app.charts", "app.auth", "app.ingest", "app.checks.probe"}
    | {"app.domain", POOL, READS, *BASE},
    # What is done with them.
    "app.schemas": {"app.domain", "app.clock", "app.errors"},
    "app.ingest": {"app.store", "app.domain", "app.background", POOL, *BASE},
    "app.charts": {"app.store", "app.domain", POOL, READS, "app.errors"},
    "app.auth": {"app.store", "app.background", POOL, "app.clock", "app.errors"},
    "app.auth.scopes": set(),
    "app.notify": {"app.domain", "app.auth.keys", "app.__version__", "app.config", "app.errors"},
    "app.store": {"app.domain", POOL, "app.clock", "app.errors"},
    "app.domain": set(),
    # How the hub is run.
    "app.__main__": {"app.commands", "app.__version__", *BASE},
    "app.commands": {"app.auth", "app.checks", "app.database", "app.domain", "app.store"}
    | {"app.background", "app.lifeline", "app.notify", "app.schemas", "app.transfer", *BASE},
    "app.commands.repair": {
        "app.commands.terminal",
        "app.database",
        "app.domain",
        "app.ingest",
        "app.store",
        *BASE,
    },
    "app.transfer": {"app.store", "app.domain", "app.database", *BASE},
    "app.checks": {"app.store", "app.domain", "app.database", *BASE},
    "app.database": {"app.background", *BASE},
    "app.background": {"app.errors"},
    "app.config": {"app.errors"},
    "app.clock": {"app.domain.window"},
    "app.logs": {"app.clock"},
    "app.metrics": {"app.config"},
    "app.metrics.state": {"app.metrics", "app.store", "app.background", "app.errors", POOL}
    | {"app.__version__"},
    "app.errors": set(),
    "app.lifeline": {"app.background", "app.config"},
    "jobs": {
        "app.charts",
        "app.store",
        "app.domain",
        "app.background",
        "app.lifeline",
        "app.notify",
        "app.auth.scopes",
        POOL,
        *BASE,
    },
}
# Where a library may be imported. SQL is wherever psycopg is.
HOME = {
    "flask": {"app.api", "app.create_app"},
    "flask_smorest": {"app.api"},
    "webargs": {"app.api"},
    "werkzeug": {"app.api"},
    "werkzeug.http": {"app.api", "app.web"},
    "werkzeug.datastructures": {"app.api", "app.web"},
    "marshmallow": {"app.schemas"},
    "msgspec": {"app.schemas"},
    "apscheduler": {"jobs.scheduler"},
    "cronsim": {"app.schemas", "app.domain.attention"},
    "psycopg": {"app.store", "app.database", "app.checks", "app.ingest", "app.transfer"},
    "psycopg_pool": {"app.database"},
    "granian": {"app.commands"},
    "apprise": {"app.notify.apprise_services"},
    "cryptography": {"app.notify.sealing"},
    "requests": {"app.notify.http"},
    "jwt": {"app.auth.tokens"},
    "prometheus_client": {"app.metrics"},
}
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|VACUUM|ANALYZE)\b")


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
    """What a module imports. In `from app import metrics` that is the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module in ("app", "jobs") else {node.module}
    return found


def is_below(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def rule_of(module: str) -> str:
    """The key of MAY_IMPORT that holds for a module. `app/__init__.py` is `app.create_app`."""
    if module == "app":
        return "app.create_app"
    rules = [package for package in MAY_IMPORT if is_below(module, {package})]
    return max(rules, key=len)


def own_package(module: str) -> str:
    """The package whose modules may import each other: `app.store` of `app.store.jobs`."""
    return ".".join(module.split(".")[: 1 if module.startswith("jobs") else 2])


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_module_has_a_rule_and_imports_only_what_is_below_it(path: Path) -> None:
    module = name_of(path)
    rule = rule_of(module)
    assert rule != "app", f"{module} has no rule in MAY_IMPORT"
    allowed = MAY_IMPORT[rule] | ({own_package(module)} if rule == own_package(module) else set())
    ours = {name for name in imports_of(path) if is_below(name, {"app", "jobs", "wsgi"})}
    wrong = {name for name in ours if not is_below(name, allowed)}
    assert not wrong, f"{module} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_library_is_imported_only_where_it_belongs(path: Path) -> None:
    module = "app.create_app" if name_of(path) == "app" else name_of(path)
    for name in imports_of(path):
        homes = HOME.get(name, HOME.get(name.split(".")[0]))
        assert homes is None or is_below(module, homes), f"{module} may not import {name}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_sql_is_only_where_it_belongs(path: Path) -> None:
    if not is_below(name_of(path), HOME["psycopg"]):
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [text for text in texts if SQL.match(text.lstrip())]


def test_top_of_app_holds_few_modules() -> None:
    assert len(list((ROOT / "app").glob("*.py"))) <= 10


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
        "app.database.engine_process",
    }
    for path in modules():
        if not is_below(name_of(path), allowed):
            assert "os.environ" not in path.read_text(), path
