"""The clock of a hub and its database, set by hand: libfaketime (the Debian package `faketime`)."""

from __future__ import annotations

from pathlib import Path

# Where Debian puts it, by architecture. Of its two, the one for programs with threads.
_LIBRARIES = "usr/lib/*/faketime/libfaketimeMT.so.1"
# Version 0.9.10 refuses to sleep until a moment of the monotonic clock, as Python does.
_SLEEP = """\
import select, time

time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


class SettableClock:
    """The wall clock of the processes that are started with `env`; they follow it within a second.

    What counts seconds since the machine was started (the monotonic clock) stays true, as it does
    when the clock of a machine is set.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._folder = folder
        (folder / "sitecustomize.py").write_text(_SLEEP)  # every Python runs it as it starts
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        """The settings that put a process on this clock."""
        (library,) = Path("/").glob(_LIBRARIES)
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; reading the file every time takes too long
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",  # else a process that is killed leaves files behind
            "PYTHONPATH": str(self._folder),
        }

    def set(self, ahead_seconds: int) -> None:
        """Let it be so far ahead of the real time, or behind it."""
        changed = self._folder / "clock.new"
        changed.write_text(f"{ahead_seconds:+d}\n")
        changed.replace(self._file)  # in one step: it is read again and again
