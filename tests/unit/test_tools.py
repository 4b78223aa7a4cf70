"""Benchmarks and tests share code through `tools/`, never by importing tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from app.config import ROOT

MODULES = sorted(path for folder in ("bench", "tools") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_bench_and_tools_do_not_import_tests(path: Path) -> None:
    imported: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
    assert not [name for name in imported if name.split(".")[0] == "tests"]
