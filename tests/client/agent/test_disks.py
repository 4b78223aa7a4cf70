"""Which mounts count as disks, and that one which does not answer holds nothing up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from telemetry_client.agent.collector import Collector
from telemetry_client.agent.disks import MountReader

SetMounts = Callable[..., None]


@pytest.fixture
def set_mounts(monkeypatch: pytest.MonkeyPatch) -> SetMounts:
    """Mounts as (device, mount, type); network and overlay are in the list of all only."""

    def set_to(*mounts: tuple[str, str, str]) -> None:
        found = [SimpleNamespace(device=d, mountpoint=m, fstype=t) for d, m, t in mounts]
        local = [mount for mount in found if mount.fstype in ("ext4", "xfs", "squashfs", "iso9660")]
        monkeypatch.setattr(psutil, "disk_partitions", lambda *, all: found if all else local)

    return set_to


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Places to mount something."""
    paths = [tmp_path / name for name in ("a", "bb", "ccc")]
    for path in paths:
        path.mkdir()
    return [str(path) for path in paths]


def measured(collector: Collector | None = None) -> list[str]:
    return list((collector or Collector("node-1"))._disks()["disk_usage"])


def test_loop_devices_images_and_overlays_are_not_disks(
    set_mounts: SetMounts, folders: list[str]
) -> None:
    set_mounts(
        ("/dev/vda1", "/", "ext4"),
        ("/dev/loop3", folders[0], "squashfs"),
        ("/dev/loop4", folders[0], "ext4"),
        ("/dev/sr0", folders[1], "iso9660"),
        ("overlay", folders[2], "overlay"),
    )
    assert measured() == ["/"]


def test_a_device_counts_once_with_its_first_mount(
    set_mounts: SetMounts, folders: list[str]
) -> None:
    set_mounts(("/dev/vdb", folders[1], "xfs"), ("/dev/vdb", folders[0], "xfs"))
    assert measured() == [folders[0]]


def test_in_a_container_volumes_are_disks_and_files_are_not(
    set_mounts: SetMounts, folders: list[str], tmp_path: Path
) -> None:
    (tmp_path / "f").touch()
    set_mounts(
        ("overlay", "/", "overlay"),
        ("/dev/vda1", str(tmp_path / "f"), "ext4"),  # as /etc/hosts
        ("/dev/vda1", folders[1], "ext4"),
    )
    assert measured() == [folders[1]]


def test_a_container_without_a_volume_knows_the_disk_below_it(set_mounts: SetMounts) -> None:
    set_mounts(("overlay", "/", "overlay"))
    assert measured() == ["/"]


def test_file_servers_come_after_disks(set_mounts: SetMounts, folders: list[str]) -> None:
    set_mounts(("nas:/export", folders[0], "nfs4"), ("/dev/vdb", folders[2], "xfs"))
    assert measured() == [folders[2], folders[0]]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, the mounts of `nas` do not answer."""
    answers = threading.Event()
    isdir = os.path.isdir

    def wait_for_server(path: str) -> bool:
        if path.endswith("bb"):
            answers.wait()
        return isdir(path)

    monkeypatch.setattr(os.path, "isdir", wait_for_server)
    yield answers
    answers.set()


def test_a_mount_that_does_not_answer_is_skipped_with_a_note(
    set_mounts: SetMounts,
    folders: list[str],
    away: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    set_mounts(("/dev/vdb", folders[0], "xfs"), ("nas:/x", folders[1], "nfs"))
    collector = Collector("node-1")
    collector._mounts = MountReader(answer_seconds=0.05)
    for _ in range(3):
        found: dict[str, Any] = collector._disks()
        assert list(found["disk_usage"]) == [folders[0]]
        assert found["skipped"] == [folders[1]]
    waiting = [thread for thread in threading.enumerate() if thread.name == "telemetry-disk"]
    assert len(waiting) == 1, "it was asked once"
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "does not answer and is skipped" in warnings[0]
    away.set()
    waiting[0].join(60)
    assert measured(collector) == [folders[0], folders[1]]
    assert "skipped" not in collector._disks()
    assert "works again" in caplog.text


def test_a_mount_that_cannot_be_read_raises_what_psutil_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(path)

    assert MountReader().usage("/no/such/mount") is None
    monkeypatch.setattr(psutil, "disk_usage", refuse)
    with pytest.raises(PermissionError):
        MountReader().usage(str(tmp_path))
