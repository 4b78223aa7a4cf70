"""Requests by the OpenAPI document, good ones and bad ones, to a whole hub that asks for tokens.

All checks of schemathesis are on. Two of them have nothing to find here: `use_after_free`, as
nothing can be deleted, and `object_level_authorization`, as nobody owns anything (what a token may
do is up to its scope and job types, which `tests/api/test_auth_matrix.py` goes through).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.config import ROOT
from app.schemas.fields import LENIENT, LENIENT_ITEMS
from tests.fuzz.sizes import CASES
from tests.tokens import KEYS, bearer, make_token
from tools.hub_process import HubProcess

CONFIG = ROOT / "tests" / "fuzz" / "schemathesis.toml"
EXAMPLES = 200 if CASES else 1  # of each operation in a round, beside those of every boundary
MOST_GROWTH = 1.10


@pytest.fixture(scope="module")
def token() -> str:
    return make_token("admin")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    key_file = tmp_path_factory.mktemp("keys") / "token.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(b"\n".join(KEYS))
    data_dir = tmp_path_factory.mktemp("fuzzed_hub")
    with HubProcess(data_dir, HUB_TOKEN_KEY_FILE=str(key_file)) as hub:
        yield hub


@pytest.fixture(scope="module")
def document(hub: HubProcess, token: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's own description of its API, in a file; see `_widen`."""
    url = f"http://127.0.0.1:{hub.port}/api/v1/openapi.json"
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    with urllib.request.urlopen(urllib.request.Request(url, headers=bearer(token))) as answer:
        described = json.load(answer)
    path.write_text(json.dumps(_widen(described)))
    return path


def _widen(node: Any) -> Any:
    """The document with a schema that anything fits for what does not spoil the whole request."""
    if isinstance(node, list):
        return [_widen(each) for each in node]
    if not isinstance(node, dict):
        return node
    widened = {name: _widen(value) for name, value in node.items()}
    if LENIENT_ITEMS in node:
        widened["items"] = {"anyOf": [widened["items"], {}]}
    return {"anyOf": [widened, {}]} if LENIENT in node else widened


@pytest.mark.timeout(3600 if CASES else 600)
def test_no_request_gets_an_answer_that_is_not_described(
    hub: HubProcess, document: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, memory = fuzz(hub, document, token, "--seed", "1"), [resident_bytes(hub)]
    report(capsys, cases, memory)
    while cases < CASES:
        # Every boundary has been tried once; what comes now is random.
        more = ("--phases", "fuzzing,stateful", "--seed", str(1 + len(memory)))
        cases += fuzz(hub, document, token, *more)
        memory.append(resident_bytes(hub))
        report(capsys, cases, memory)
    assert cases > 500, "hardly anything was tried"
    # The state machine's hub is no process of its own, and hypothesis remembers all it has tried:
    # the memory is measured here.
    assert memory[-1] <= MOST_GROWTH * memory[0]


def test_a_door_that_stands_open_is_found(hub: HubProcess, document: Path, token: str) -> None:
    """The fuzzing sees what it should: here an answer without a token where one is asked for."""
    openapi = json.loads(document.read_text())
    openapi["paths"] = {"/api/v1/health": openapi["paths"]["/api/v1/health"]}
    del openapi["paths"]["/api/v1/health"]["get"]["security"]
    wrong = document.with_name("wrong.json")
    wrong.write_text(json.dumps(openapi))
    run = schemathesis(hub, wrong, token, "--phases", "fuzzing", "-n", "2")
    assert run.returncode == 1, run.stdout
    assert "authentication" in run.stdout.lower()


def report(capsys: pytest.CaptureFixture[str], cases: int, memory: list[int]) -> None:
    with capsys.disabled():
        megabytes = [size >> 20 for size in memory]
        print(f"\n{cases} requests; the hub's memory in MB: {megabytes}", flush=True)


def fuzz(hub: HubProcess, document: Path, token: str, *more: str) -> int:
    """One round; how many requests it made."""
    size = ("-n", str(EXAMPLES), "--workers", "1")
    run = schemathesis(hub, document, token, *size, *more)
    assert run.returncode == 0, run.stdout + run.stderr
    made = re.search(r"([\d,]+) generated", run.stdout)
    assert made, run.stdout
    return int(made[1].replace(",", ""))


def schemathesis(
    hub: HubProcess, document: Path, token: str, *more: str
) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", document)
    address = ("--url", f"http://127.0.0.1:{hub.port}", "--no-color")
    env = {**os.environ, "FUZZ_TOKEN": token, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *address, *more], cwd=document.parent, env=env, capture_output=True, text=True
    )


def resident_bytes(hub: HubProcess) -> int:
    return int(psutil.Process(hub.web_worker()).memory_info().rss)
