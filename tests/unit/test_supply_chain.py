"""What is installed is what was reviewed: pinned by hash, and nothing of it runs at that."""

from __future__ import annotations

import json
import re

import pytest

from app.config import ROOT

PINNED = re.compile(r"([a-z0-9.-]+)==([^ ;\\]+)[^\\]*\\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)")
NPM_FOLDERS = ("embedded", "app/static", "tools/javascript", "tools/clients")


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file with their versions; fails at one without hashes."""
    text = (ROOT / name).read_text()
    found = {package: version for package, version, _ in PINNED.findall(text)}
    others = [
        line
        for line in PINNED.sub("", text).splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    assert not others, f"not pinned by version and hash: {others[:3]}"
    return found


def requested(name: str) -> dict[str, str]:
    """The versions that were requested, as `package: version`."""
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    pins = [line for line in lines if line and not line.startswith(("#", "-r "))]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.!]+", pin) for pin in pins), pins
    return {
        re.sub(r"\[.*", "", package).lower().replace("_", "-"): version
        for package, _, version in (pin.partition("==") for pin in pins)
    }


@pytest.mark.parametrize("kind", ["requirements", "requirements-dev", "requirements-tools"])
def test_every_package_is_pinned_by_hash(kind: str) -> None:
    wanted, have = requested(f"{kind}.in"), locked(f"{kind}.txt")
    assert len(have) > len(wanted)
    assert {name: have.get(name) for name in wanted} == wanted, "run `make lock`"


def test_development_runs_what_production_runs() -> None:
    development = locked("requirements-dev.txt")
    for name, version in locked("requirements.txt").items():
        assert development[name] == version


@pytest.mark.parametrize("folder", NPM_FOLDERS)
def test_every_npm_package_has_its_integrity(folder: str) -> None:
    asked_for = json.loads((ROOT / folder / "package.json").read_text())
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    own = packages.pop("")
    for kind in ("dependencies", "devDependencies"):
        assert own.get(kind) == asked_for.get(kind)
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name  # it would name a registry
    for kind in ("dependencies", "devDependencies"):
        versions = asked_for.get(kind, {})
        assert all(re.fullmatch(r"[0-9][\w.-]*", version) for version in versions.values())


def test_running_the_hub_installs_no_javascript_tools() -> None:
    makefile = (ROOT / "Makefile").read_text()
    needs = re.search(r"^install: (.+?) ##", makefile, re.M)
    modules = re.search(r"^NODE_MODULES := (.+)", makefile, re.M)
    assert needs
    assert "TOOLS" not in needs[1]
    assert modules
    assert "tools/" not in modules[1]


def test_nothing_of_a_package_runs_as_it_is_installed() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert len(installs) == 2
    for line in installs:
        options = set(line.split())
        ours = {"--no-index", "--no-deps", "-e", "./client"}  # our own, from its folder
        assert {"--require-hashes", "--only-binary"} <= options or ours <= options, line
    assert "ci  --ignore-scripts" in re.sub(r"\s+", "  ", makefile)
