"""The packages `telemetry-hub` and `telemetry-client`, as `python -m build` makes them."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from app import __version__
from app.commands import install
from app.config import ROOT, Config
from app.errors import ConfigError

PROGRAMS = Path(sys.prefix) / "tools"
FOLDERS = ("app", "embedded", "jobs", "migrations")
FETCHED = {"node_modules", "__pycache__"}


def run(*args: str | Path, cwd: Path, path: Path) -> str:
    """Run Python to its end, with a folder of modules; what it prints. Fails if it fails."""
    env = {**os.environ, "PYTHONPATH": str(path)}
    ended = subprocess.run(
        [sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distributions and wheels of both."""
    folder = tmp_path_factory.mktemp("packages")
    for project in (ROOT, ROOT / "client"):
        options = ("--no-isolation", "--outdir", folder)
        run("-m", "build", *options, project, cwd=folder, path=PROGRAMS)
    return folder


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the hub's wheel is unpacked."""
    folder = tmp_path_factory.mktemp("site-packages")
    (wheel,) = packages.glob("telemetry_hub-*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_twine_finds_nothing_wrong(packages: Path) -> None:
    files = sorted(packages.iterdir())
    assert len(files) == 4
    run("-m", "twine", "check", "--strict", *files, cwd=packages, path=PROGRAMS)


def test_the_wheel_has_every_file_of_the_hub_and_nothing_that_is_fetched(installed: Path) -> None:
    ours = {
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not FETCHED & set(path.parts)
    }
    package = installed / "telemetry_hub"
    packed = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    assert packed == ours | {Path("__init__.py")}
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"telemetry_hub"}
    assert len(list(installed.glob("*.dist-info/licenses/*"))) == 2


def test_the_installed_command_is_the_hub(installed: Path, tmp_path: Path) -> None:
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert entry.read_text().split() == [
        *("[console_scripts]", "telemetry-hub", "=", "telemetry_hub:main")
    ]
    start = "import sys; from telemetry_hub import main; sys.exit(main())"
    assert run("-c", start, "--version", cwd=tmp_path, path=installed).strip() == __version__
    said = run("-c", start, "--help", cwd=tmp_path, path=installed)
    assert said.startswith("usage: telemetry-hub ")


def test_install_fetches_the_packages_of_both_lock_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all((folder / "package-lock.json").is_file() for folder in install.FOLDERS)
    (tmp_path / "package.json").write_text('{"name": "x", "version": "1.0.0"}')
    monkeypatch.setattr(install, "FOLDERS", (tmp_path,))
    with pytest.raises(ConfigError, match="npm failed"):  # without a lock file
        install.run(Config(), argparse.Namespace())
    lock = {"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {}}}
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    assert install.run(Config(), argparse.Namespace()) == 0


def test_the_package_asks_for_what_the_hub_is_tested_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.in").read_text().splitlines()
    assert project["dependencies"] == [line for line in lines if re.match(r"\w", line)]
