"""Which fields of the disks an update has to contain, so that it stays small."""

from __future__ import annotations

from collections.abc import Iterable

from telemetry_client.wire.body import Body, size_of


class DiskChanges:
    """What has changed of the disks since it was last sent: to the hub, absent is unchanged.

    An update stays small with any number of disks: those that waited longest go first, and the
    others go with the next update.
    """

    def __init__(self) -> None:
        self._sent: dict[int, Body] = {}
        self._waiting: dict[int, int] = {}  # disk: since which call
        self._calls = 0

    def take(self, disks: Iterable[Body], room: int) -> tuple[list[Body], int]:
        """The changes that fit into `room` bytes, by index; and how many disks must wait."""
        self._calls += 1
        changes = {disk["disk_index"]: self._changes_of(disk) for disk in disks}
        changed = [index for index, fields in changes.items() if len(fields) > 1]
        for index in changed:
            self._waiting.setdefault(index, self._calls)
        chosen: list[int] = []
        for index in sorted(changed, key=lambda index: (self._waiting[index], index)):
            size = size_of(changes[index]) + 1
            if size > room and chosen:
                break
            room -= size
            chosen.append(index)
        for index in chosen:
            del self._waiting[index]
            self._sent[index] = {**self._sent.get(index, {}), **changes[index]}
        return [changes[index] for index in sorted(chosen)], len(changed) - len(chosen)

    def resend(self) -> None:
        """Send everything again: an update did not arrive."""
        self._sent.clear()

    def _changes_of(self, disk: Body) -> Body:
        sent = self._sent.get(disk["disk_index"], {})
        return {
            name: value
            for name, value in disk.items()
            if name == "disk_index" or sent.get(name) != value
        }
