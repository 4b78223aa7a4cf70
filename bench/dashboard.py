"""What the dashboard costs in Debian's Chromium, against what it may cost.

    python bench/dashboard.py                 a hub of its own, 10,000 jobs; two minutes of heap
    python bench/dashboard.py --minutes 10    the heap after ten minutes of live updates

A line a figure: what was measured, its limit, and whether it holds. Ends with 1 if one fails.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, Page

from app.clock import isoformat, utc_now
from tools.browser.chromium import open_chromium
from tools.browser.demo import DAY, LIVE, LONG, PATIENT, seed
from tools.browser.measure import (
    CONTENT_AT,
    MARK_CONTENT,
    count_bytes,
    heap_bytes,
)
from tools.browser.nights import SERIES, seed_nights
from tools.browser.views import VIEWS, job_path, open_view, wait_ready
from tools.hub_process import HubProcess

RUNS = 7
PUSH_SECONDS = 1.0  # of the live job, while the heap is watched
MIB = 1024 * 1024
LARGEST_TRANSFER = 700  # KB, of 1,000 bytes
LONGEST_FIRST_VIEW = 1000  # milliseconds
LONGEST_DRAW = 200
LONGEST_NIGHTS = 500
LARGEST_HEAP = 60 * MIB
LONGEST_LIVE = 3000


class Figures:
    """Prints each figure beside its limit and remembers whether all hold."""

    def __init__(self) -> None:
        self.all_hold = True

    def add(self, name: str, value: float, limit: float | None, unit: str) -> None:
        holds = limit is None or value <= limit
        self.all_hold &= holds
        verdict = "" if limit is None else f"  limit {limit:,.0f}  {'holds' if holds else 'FAILS'}"
        print(f"{name:<52} {value:>9,.0f} {unit:<3}{verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2, help="how long the heap is watched")
    minutes = parser.parse_args().minutes
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="hub-bench-") as folder,
        HubProcess(Path(folder), **PATIENT) as hub,
        open_chromium() as browser,
    ):
        seed(hub)
        _measure(hub, browser, minutes, figures)
    return 0 if figures.all_hold else 1


def _measure(hub: HubProcess, browser: Browser, minutes: float, figures: Figures) -> None:
    base_url = f"http://127.0.0.1:{hub.port}"

    def new_page() -> Page:
        return browser.new_context(
            base_url=base_url, viewport={"width": 1280, "height": 800}
        ).new_page()

    first = [_first_view(new_page()) for _ in range(RUNS)]
    figures.add(
        "first view, 10,000 jobs, nothing cached: median",
        statistics.median(first),
        LONGEST_FIRST_VIEW,
        "ms",
    )
    figures.add("the same: slowest", max(first), None, "ms")
    page = new_page()
    received = count_bytes(page)
    open_view(page, "overview")
    figures.add("received for the first view", sum(received.values()) / 1000, None, "KB")
    for name in VIEWS:
        open_view(page, name)
    everything = sum(received.values())
    files = sum(size for url, size in received.items() if "/api/" not in url)
    figures.add("received for all views", everything / 1000, LARGEST_TRANSFER, "KB")
    figures.add("of that page, modules and library", files / 1000, None, "KB")
    figures.add("of that answers of the API", (everything - files) / 1000, None, "KB")
    page.context.close()
    for name, job_id in (("5,000 points", LONG), ("3,333 points with their band", DAY)):
        drawn = [_draw(new_page(), job_id) for _ in range(RUNS)]
        figures.add(f"drawing {name}: median", statistics.median(drawn), LONGEST_DRAW, "ms")
    seed_nights(hub)
    drawn = [_nights(new_page()) for _ in range(RUNS)]
    name = f"matrix of {SERIES:,} series by 30 nights, first rows: median"
    figures.add(name, statistics.median(drawn), LONGEST_NIGHTS, "ms")
    drawn = [_nights(new_page(), rows=SERIES) for _ in range(RUNS)]
    figures.add("the same, all rows known: median", statistics.median(drawn), None, "ms")
    seen = [_live(new_page(), hub, number) for number in range(RUNS)]
    figures.add("from a push to the page: slowest", max(seen), LONGEST_LIVE, "ms")
    _watch_heaps({name: new_page() for name in ("overview", "performance")}, hub, minutes, figures)


def _closing(measure: Callable[..., float]) -> Callable[..., float]:
    def run(page: Page, *rest: object) -> float:
        try:
            return measure(page, *rest)
        finally:
            page.context.close()

    return run


@_closing
def _first_view(page: Page) -> float:
    page.add_init_script(MARK_CONTENT)
    page.goto("/")
    return float(page.wait_for_function(CONTENT_AT).json_value())


@_closing
def _nights(page: Page, rows: int = 0) -> float:
    """From the choice of the view in an open page until it has this many rows, or its first."""
    open_view(page, "overview")
    page.wait_for_load_state("networkidle")
    return float(page.evaluate(_NIGHTS_DRAWN, rows))


_NIGHTS_DRAWN = """async (rows) => {
    const began = performance.now();
    document.querySelector('[data-nav=nights]').click();
    const isDrawn = () => document.querySelector(".matrix-row .night") &&
        document.querySelector(".matrix-grid").getAttribute("aria-rowcount") > rows;
    while (!isDrawn()) await new Promise((then) => requestAnimationFrame(then));
    return performance.now() - began;
}"""


@_closing
def _draw(page: Page, job_id: str) -> float:
    page.goto(job_path(job_id, "?tab=performance&points=5000"))
    wait_ready(page, 2)
    return float(
        page.locator(".chart-tall .chart-canvas").get_attribute("data-draw-milliseconds") or "nan"
    )


@_closing
def _live(page: Page, hub: HubProcess, number: int) -> float:
    open_view(page, "overview")
    time.sleep(number * 0.3)  # at another moment between two refreshes each time
    speed = 300 + number
    began = time.monotonic()
    _push(hub, speed * MIB)
    page.get_by_text(f"{speed} MiB/s", exact=True).first.wait_for()
    return (time.monotonic() - began) * 1000


def _watch_heaps(pages: dict[str, Page], hub: HubProcess, minutes: float, figures: Figures) -> None:
    """The heaps of views on which a job runs, open at once, at first and after so many minutes."""
    sessions = {}
    for name, page in pages.items():
        if name == "overview":
            open_view(page, name)
        else:
            page.goto(job_path(LIVE, "?tab=performance"))
            wait_ready(page, 2)
        sessions[name] = page.context.new_cdp_session(page)
    time.sleep(5)
    before = {name: heap_bytes(cdp) for name, cdp in sessions.items()}
    until = time.monotonic() + minutes * 60
    pushed = 0
    while time.monotonic() < until:
        _push(hub, (100 + pushed % 300) * MIB)
        pushed += 1
        next(iter(pages.values())).wait_for_timeout(PUSH_SECONDS * 1000)
    for name, cdp in sessions.items():
        figures.add(f"heap of {name} at first", before[name] / MIB, None, "MiB")
        figures.add(
            f"heap of {name} after {minutes:g} minutes, {pushed} pushes",
            heap_bytes(cdp) / MIB,
            LARGEST_HEAP / MIB,
            "MiB",
        )
        pages[name].context.close()


def _push(hub: HubProcess, speed: int) -> None:
    body = {"status": "running", "timestamp": isoformat(utc_now()), "transfer_speed_bps": speed}
    hub.request("POST", f"/api/v1/telemetry/backup/{LIVE}", body)


if __name__ == "__main__":
    sys.exit(main())
