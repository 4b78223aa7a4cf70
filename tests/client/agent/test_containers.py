"""The memory of a container, as the files of both versions of control groups name it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from telemetry_client.agent import collector as collector_module
from telemetry_client.agent.collector import Collector
from telemetry_client.agent.containers import ContainerMemory, container_memory

GIGABYTE = 1024**3
UNLIMITED = 9223372036854771712  # what version 1 says of a group without a limit


def make_groups(folder: Path, limit: object, *, version: int = 2, used: int = 800) -> Path:
    inner = folder if version == 2 else folder / "memory"
    inner.mkdir(exist_ok=True)
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (inner / names[0]).write_text(f"{limit}\n")
    (inner / names[1]).write_text(f"{used}\n")
    (inner / "memory.stat").write_text(f"anon 500\n{names[2]} 300\nactive_file 0\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_and_what_is_used_of_it(tmp_path: Path, version: int) -> None:
    groups = make_groups(tmp_path, 1000, version=version)
    assert container_memory(groups) == ContainerMemory(1000, 500)


def test_a_container_without_a_limit_has_the_memory_of_the_machine(tmp_path: Path) -> None:
    assert container_memory(make_groups(tmp_path, "max")) is None


def test_the_root_of_a_host_has_no_limit(tmp_path: Path) -> None:
    """So the limit that systemd sets for the agent itself does not count."""
    service = tmp_path / "system.slice" / "telemetry-agent.service"
    service.mkdir(parents=True)
    make_groups(service, 1000)
    assert container_memory(tmp_path) is None


@pytest.mark.parametrize("text", ["", "many"])
def test_files_in_another_form_are_ignored(tmp_path: Path, text: str) -> None:
    assert container_memory(make_groups(tmp_path, text)) is None


@pytest.mark.parametrize(
    ("limit", "total"), [(2 * GIGABYTE, 2.0), (UNLIMITED, 16.0), (64 * GIGABYTE, 16.0)]
)
def test_the_smaller_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, total: float
) -> None:
    machine = SimpleNamespace(
        total=16 * GIGABYTE, used=8 * GIGABYTE, available=8 * GIGABYTE, percent=50.0
    )
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    groups = make_groups(tmp_path, limit, version=1, used=GIGABYTE + 300)
    monkeypatch.setattr(collector_module, "container_memory", lambda: container_memory(groups))
    memory = Collector("node-1").collect()["metrics"]["memory"]
    assert memory["memory_total_gb"] == total
    assert memory["memory_usage_percent"] == 50.0  # of either
    assert memory["memory_used_gb"] + memory["memory_available_gb"] == total
