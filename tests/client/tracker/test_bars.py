"""Progress bars of tqdm and rich as the source of a tracker."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress
from tqdm import tqdm

from telemetry_client import ProgressTracker, rich_source, tqdm_source
from telemetry_client.progress import Progress
from tools.faulty_hub import FaultyHub


def make_bar(**options: Any) -> Any:
    return tqdm(file=io.StringIO(), **options)


@pytest.fixture
def rich_bars() -> RichProgress:
    return RichProgress(console=Console(file=io.StringIO()))


def test_a_bar_of_bytes_is_the_jobs_progress(faulty_hub: FaultyHub, places: dict[str, Any]) -> None:
    bar = make_bar(total=100, unit="B", unit_scale=True)
    with ProgressTracker("backup-1", source=tqdm_source(bar), **places):
        bar.update(40)
        bar.update(60)
    bar.close()
    end = faulty_hub.accepted[-1]
    assert (end["bytes_transferred"], end["total_bytes"]) == (100, 100)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"total": 8}, Progress(percent=37.5)),
        ({}, Progress()),  # of an unknown total
        ({"total": 8, "unit": "iB"}, Progress(3, 8)),
        ({"unit": "B"}, Progress(3, None)),
        ({"total": 8, "unit": "B", "unit_scale": 1024}, Progress(3 * 1024, 8 * 1024)),
    ],
)
def test_the_unit_of_a_bar_says_what_it_counts(options: Any, expected: Progress) -> None:
    with make_bar(**options) as bar:
        bar.update(3)
        assert tqdm_source(bar)() == expected


def test_what_a_bar_counts_may_be_said() -> None:
    with make_bar(total=8, unit="octets") as bar:
        bar.update(3)
        assert tqdm_source(bar, is_bytes=True)() == Progress(3, 8)


def test_one_task_of_rich_or_all_of_them(rich_bars: RichProgress) -> None:
    assert rich_source(rich_bars)() == Progress(0, None)
    first = rich_bars.add_task("a", total=100)
    second = rich_bars.add_task("b", total=50)
    rich_bars.advance(first, 30)
    rich_bars.advance(second, 45)
    assert rich_source(rich_bars, first)() == Progress(30, 100)
    assert rich_source(rich_bars)() == Progress(75, 150)
    assert rich_source(rich_bars, is_bytes=False)() == Progress(percent=50.0)
    rich_bars.add_task("c", total=None)
    assert rich_source(rich_bars)() == Progress(75, None)
