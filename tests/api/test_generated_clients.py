"""Clients that are generated from the OpenAPI document, used against a hub; and its checkers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from app.api.factory import make_routes
from app.config import ROOT
from app.database.engine_process import _find_node
from tests import pages

HERE = Path(__file__).parent / "clients"
PACKAGE = "telemetry_hub_client"
PAGE, SECTION = "docs/languages.md", "A client made from the API's description"
PROGRAMS = Path(sys.prefix) / "tools"
TOOLS = ROOT / "tools" / "clients"
# Redocly would otherwise look for a newer version of itself, and report its use.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document, in a file."""
    app = make_routes(requires_tokens=True)
    api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(api.spec.to_dict()))
    return path


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """The address of a hub."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program to its end, and return what it says. Fails if the program does."""
    ended = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=100
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def run_tool(name: str, *args: str | Path, cwd: Path) -> str:
    """The same for a program of the npm packages."""
    return run(_find_node(), TOOLS / "node_modules" / ".bin" / name, *args, cwd=cwd, **QUIET)


def test_a_generated_python_client_works(document: Path, url: str, tmp_path: Path) -> None:
    args = ("--path", document, "--config", HERE / "python.yaml", "--output-path", PACKAGE)
    command = (sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", *args)
    said = run(*command, cwd=tmp_path, PYTHONPATH=str(PROGRAMS))
    # Of the two media types of a batch it knows JSON.
    assert said.count("WARNING") == said.count("Unsupported content type application/x-ndjson"), (
        said
    )
    path = os.pathsep.join([str(tmp_path), str(PROGRAMS)])
    run(sys.executable, HERE / "use.py", url, cwd=tmp_path, PYTHONPATH=path)
    (documented,) = pages.blocks(PAGE, "python", section=SECTION)
    run(sys.executable, "-c", _towards(url, documented), cwd=tmp_path, PYTHONPATH=path)


def test_a_generated_typescript_client_works(document: Path, url: str, tmp_path: Path) -> None:
    run_tool("openapi-typescript", document, "-o", "api.d.ts", cwd=tmp_path)
    (tmp_path / "use.ts").write_text((HERE / "use.ts").read_text())
    (documented,) = pages.blocks(PAGE, "typescript", section=SECTION)
    (tmp_path / "documented.ts").write_text(_towards(url, documented))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    options = ("--strict", "--skipLibCheck", "--noEmitOnError")
    target = ("--target", "es2022", "--module", "nodenext")
    run_tool("tsc", *options, *target, "use.ts", "documented.ts", cwd=tmp_path)
    run(_find_node(), "use.js", url, cwd=tmp_path)
    run(_find_node(), "documented.js", cwd=tmp_path)


def _towards(url: str, documented: str) -> str:
    """The program of a page, but for the hub's address."""
    assert "http://localhost:8082" in documented
    return documented.replace("http://localhost:8082", url)


def test_spectral_finds_nothing_wrong(document: Path) -> None:
    rules = ("--ruleset", TOOLS / "spectral.yaml", "--fail-severity", "warn")
    run_tool("spectral", "lint", document, *rules, cwd=document.parent)


def test_redocly_finds_no_error(document: Path) -> None:
    run_tool("redocly", "lint", document, cwd=document.parent)
