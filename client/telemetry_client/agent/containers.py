"""The memory of a container: its limit and use, which /proc/meminfo does not know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ContainerMemory:
    """In bytes. `used`: without pages of files that can be dropped at once, as tools show it."""

    total: int
    used: int


def container_memory(cgroups: Path = CGROUPS) -> ContainerMemory | None:
    """The memory of the container that this process is in; None outside, or without a limit.

    Only a container sees a limit at the root of the file system: on a host the root has none
    (version 2) or one beyond any memory (version 1). So the limit of a service, such as the
    agent's own, does not count.
    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.
    """
    old = cgroups / "memory"
    names = ("memory.max", "memory.current", "inactive_file")
    old_names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    try:
        if (cgroups / names[0]).exists():
            return _read(cgroups, *names)
        return _read(old, *old_names) if (old / old_names[0]).exists() else None
    except (OSError, ValueError):  # hidden from us, or in another form
        return None


def _read(folder: Path, limit: str, usage: str, droppable: str) -> ContainerMemory | None:
    text = (folder / limit).read_text().strip()
    if text == "max":
        return None
    used = int((folder / usage).read_text())
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == droppable:
            used -= int(value)
    return ContainerMemory(int(text), max(used, 0))
