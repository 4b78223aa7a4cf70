"""The files of the container: what its start does, and that the image gets what it copies."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app.config import ROOT

START = ROOT / "tools" / "container" / "start"
# In place of the hub: notes what it is asked for, and prints a token.
HUB = """#!/bin/sh
shift 2
echo "$@" >>calls
case "$*" in
"token key "*) echo key >"$3" ;;
"token create "*) [ -z "${FAILS:-}" ] && echo a-token ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the image, with something in place of the hub."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(HUB)
    python.chmod(0o755)
    (tmp_path / "data").mkdir()
    return tmp_path


def start(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    data = folder / "data"
    env = {"HUB_DATA_DIR": str(data), "HUB_TOKEN_KEY_FILE": str(data / "token.key"), **env}
    return subprocess.run([START, *args], cwd=folder, env=env, capture_output=True, text=True)


def calls(folder: Path) -> list[str]:
    """The first two words of each command since the last call."""
    made = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return [" ".join(call.split()[:2]) for call in made]


def test_only_the_first_start_makes_a_key_and_a_token(folder: Path) -> None:
    said = start(folder, "serve")
    assert said.returncode == 0, said.stderr
    token = folder / "data" / "operator.token"
    assert str(token) in said.stdout
    assert "a-token" not in said.stdout  # it would be in the container's log
    assert token.read_text() == "a-token\n"
    assert token.stat().st_mode & 0o077 == 0
    assert calls(folder) == ["token key", "migrate", "token create", "serve"]
    start(folder, "serve")
    assert calls(folder) == ["serve"]


def test_a_first_start_that_failed_is_repeated_and_keeps_the_key(folder: Path) -> None:
    assert start(folder, "serve", FAILS="1").returncode != 0
    assert not (folder / "data" / "operator.token").exists()
    assert "serve" not in calls(folder)
    start(folder, "serve")
    assert calls(folder) == ["migrate", "token create", "serve"]


def test_other_commands_make_nothing(folder: Path) -> None:
    start(folder, "token", "list")
    assert calls(folder) == ["token list"]
    assert list((folder / "data").iterdir()) == []


def test_the_image_gets_what_it_copies() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Containerfile").read_text(), re.M)
    copied = {name for line in lines for name in line.split()}
    kept = {
        line[1:]
        for line in (ROOT / ".containerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {"app", "jobs", "migrations", "embedded"} < copied
    assert all((ROOT / name).exists() for name in copied)
    assert all(any(name.startswith(each) for each in kept) for name in copied)
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()
