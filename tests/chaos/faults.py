"""What is done to a database: stopped, slowed down, its disk filled. It ends with its block."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.hub_process import wait_until

STOPPED_SECONDS, RUNNING_SECONDS = 2.0, 0.05


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still, its connections open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def slowed(pid: int) -> Iterator[None]:
    """A process that does a little every two seconds: each statement takes as long."""
    ending = threading.Event()

    def slow_down() -> None:
        while not ending.is_set():
            with stopped(pid):
                ending.wait(STOPPED_SECONDS)
            ending.wait(RUNNING_SECONDS)

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own. `command` goes before what is to see it, under `mounted_at`."""

    path: Path  # as seen from here
    mounted_at: Path
    command: tuple[str, ...] = ()

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Not a byte more can be written to it."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """As root it is mounted for all to see, else in a namespace of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hub-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
            yield from _in_namespace(mount, folder)
            return
        try:
            yield SmallDisk(folder, folder)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        folder.rmdir()


def _in_namespace(mount: list[str], folder: Path) -> Iterator[SmallDisk]:
    script = 'set -e; "$@"; echo ready; exec sleep 10000'
    holder = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script, "sh", *mount],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        is_ready = holder.stdout.readline() == "ready\n"
        assert is_ready, (
            "this test needs a small disk, and may neither mount one nor make a namespace in which "
            f"it might (run it as root): {holder.stderr.read().strip()}"
        )
        enter = ("nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials", "--")
        outside = Path(f"/proc/{holder.pid}/root{folder}")
        wait_until(outside.exists)
        yield SmallDisk(outside, folder, enter)
    finally:
        holder.kill()
        holder.communicate()
