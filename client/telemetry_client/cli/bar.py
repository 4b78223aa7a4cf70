"""The progress bar: one line on a terminal, redrawn a few times a second."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from functools import partial

from telemetry_client.cli.screen import STDERR, Screen
from telemetry_client.progress import Progress, percent_of
from telemetry_client.tracker.throughput import Pace

_REDRAW_SECONDS = 0.2
_NARROWEST = 20
_BAR_COLUMNS = 30


def is_wanted() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return os.isatty(STDERR) and os.environ.get("TERM", "") not in ("", "dumb")


class Bar(threading.Thread):
    """Draws the newest progress until it is stopped."""

    def __init__(self, screen: Screen, label: str, newest: Callable[[], Progress]) -> None:
        super().__init__(name="telemetry-bar", daemon=True)
        self._screen = screen
        self._label = label
        self._newest = newest
        self._stopping = threading.Event()

    def run(self) -> None:
        pace = Pace()
        try:
            while not self._stopping.wait(_REDRAW_SECONDS):
                progress = pace.add_to(self._newest(), time.monotonic())
                self._screen.draw(partial(render, progress, self._label, _columns()))
        except Exception:  # never fail because of the bar
            pass

    def stop(self) -> None:
        self._stopping.set()
        self.join(2 * _REDRAW_SECONDS)  # bounded: the terminal may be stopped
        self._screen.clear()


def _columns() -> int:
    try:
        return max(os.get_terminal_size(STDERR).columns or 80, _NARROWEST)
    except OSError:
        return 80


def render(progress: Progress, label: str, columns: int) -> str:
    """The line, with colours unless NO_COLOR is set; without a line end."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    percent = percent_of(progress.bytes_transferred, progress.total_bytes)
    percent = progress.percent if percent is None else percent
    cells = Table.grid(padding=(0, 1))
    bar = ProgressBar(100, percent or 0.0, width=_BAR_COLUMNS, pulse=percent is None)
    row = [label, bar if columns > 2 * _BAR_COLUMNS else "", *describe(progress, percent)]
    for _ in row:
        cells.add_column(no_wrap=True)
    cells.add_row(*row)
    # One column less: a full line makes some terminals scroll.
    console = Console(
        file=io.StringIO(), force_terminal=True, width=columns - 1, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(cells, end="", soft_wrap=False)
    return captured.get().split("\n")[0].rstrip()


def describe(progress: Progress, percent: float | None) -> list[str]:
    """Percent, bytes, speed and time left, as far as known."""
    cells = []
    if percent is not None:
        cells.append(f"{percent:.0f}%")
    if progress.bytes_transferred is not None:
        done = size_text(progress.bytes_transferred)
        total = f" of {size_text(progress.total_bytes)}" if progress.total_bytes else ""
        cells.append(done + total)
    if progress.speed_bps is not None:
        cells.append(f"{size_text(progress.speed_bps)}/s")
    if progress.eta_seconds is not None:
        cells.append(duration_text(progress.eta_seconds))
    return [*cells, progress.phase or "running"]


def size_text(count: int) -> str:
    """`1.5 GB`: powers of 1000, as the hub counts."""
    from rich.filesize import decimal

    return decimal(count)


def duration_text(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"
