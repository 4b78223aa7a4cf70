"""What a hub's processes hold and use, as Linux tells it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """A process at a moment: resident bytes, shared ones in full and by its part of them."""

    resident_bytes: int
    proportional_bytes: int
    files: int
    threads: int


def process_tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:  # grows while it is walked
        tasks = Path(f"/proc/{parent}/task").glob("*/children")
        found += [int(child) for task in tasks for child in read(task).split()]
    return found


def part_of(pid: int) -> str:
    """Which part of a hub the process is: database, tasks, or web, the supervisor included."""
    command = read(Path(f"/proc/{pid}/cmdline"))
    if "node" in command.split("\0")[0]:
        return "database"
    return "tasks" if "\0jobs" in command else "web"


def name_parts(root: int) -> dict[int, str]:
    """The processes of a hub by what they are, its helpers left out."""
    names = {}
    for pid in process_tree(root):
        command = read(Path(f"/proc/{pid}/cmdline"))
        if pid == root:
            names[pid] = "supervisor"
        elif command and "resource_tracker" not in command:
            names[pid] = part_of(pid)
    return names


def usage_of(pid: int) -> Usage | None:
    """None when it has ended."""
    shares = dict(re.findall(r"(\w+): +(\d+) kB", read(Path(f"/proc/{pid}/smaps_rollup"))))
    threads = re.search(r"Threads:\s+(\d+)", read(Path(f"/proc/{pid}/status")))
    if not shares or threads is None:
        return None
    try:
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return Usage(int(shares["Rss"]) * 1024, int(shares["Pss"]) * 1024, files, int(threads.group(1)))


def resident_bytes(pid: int) -> int:
    """0 when it has ended."""
    found = re.search(r"VmRSS:\s+(\d+) kB", read(Path(f"/proc/{pid}/status")))
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(pid: int) -> float:
    """What it has used so far; 0 when it has ended."""
    fields = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended meanwhile
