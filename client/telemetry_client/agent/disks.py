"""Which mounts are disks, and how full they are. A mount that does not answer holds nothing up."""

from __future__ import annotations

import os
import threading
from typing import Any

import psutil

ROOT = os.path.abspath(os.sep)  # "/", and the system's drive on Windows
ANSWER_SECONDS = 2.0  # a local disk takes microseconds; a file server, milliseconds

# Not disks but files, always full: snaps, CDs, images of systems.
_IMAGES = frozenset({"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"})
_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone"),
        *("fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"),
        "virtiofs",
    }
)


def partitions() -> list[Any]:
    """The mounts that may be disks: local ones first, then those of file servers, each kind by the
    length of its path. Not loop devices, images and overlays: their space is another disk's.
    """
    local = [
        partition
        for partition in psutil.disk_partitions(all=False)
        if not partition.device.startswith("/dev/loop") and partition.fstype not in _IMAGES
    ]
    remote = [
        partition for partition in psutil.disk_partitions(all=True) if partition.fstype in _NETWORK
    ]
    return [*_by_path(local), *_by_path(remote)]


def _by_path(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda partition: len(partition.mountpoint))


class MountReader:
    """Reads how full a mount is, in bounded time. For one thread.

    The system call for a file server that is away may never return. Its thread then stays, and
    until it ends the mount is not asked again.
    """

    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._answer_seconds = answer_seconds
        self._hanging: dict[str, threading.Thread] = {}

    @property
    def hanging(self) -> list[str]:
        """The mounts that do not answer."""
        return sorted(mount for mount, thread in self._hanging.items() if thread.is_alive())

    def usage(self, mount: str) -> Any:
        """What psutil says of it; None if it is a file, as containers mount them. Raises
        TimeoutError, and what psutil raises.
        """
        hanging = self._hanging.get(mount)
        if hanging is None or not hanging.is_alive():
            found: list[Any] = []
            reader = threading.Thread(
                target=_read, args=(mount, found), name="telemetry-disk", daemon=True
            )
            reader.start()
            reader.join(self._answer_seconds)
            if not reader.is_alive():
                self._hanging.pop(mount, None)
                if isinstance(found[0], BaseException):
                    raise found[0]
                return found[0]
            self._hanging[mount] = reader
        raise TimeoutError("it does not answer and is skipped until it does")


def _read(mount: str, found: list[Any]) -> None:
    try:
        found.append(psutil.disk_usage(mount) if os.path.isdir(mount) else None)
    except BaseException as exc:
        found.append(exc)
