"""The views of the dashboard, and when each of them is ready."""

from __future__ import annotations

from urllib.parse import quote

from playwright.sync_api import Page

from tools.browser.demo import EMPTY, GAPS, LIVE, NIGHTLY, NIGHTS

VIEWS = {
    "overview": "/",
    "machines": "/machines",
    "machine": "/machines/fileserver",
    "job": f"/jobs/{LIVE}",
    "failed": f"/jobs/{NIGHTS[-1]}",
    "warning": f"/jobs/{EMPTY}",
    "run": f"/jobs/{NIGHTLY}?run=2",
    "performance": f"/jobs/{GAPS}?tab=performance",
    "disks": f"/jobs/{GAPS}?tab=performance&disks=all",
    "details": f"/jobs/{GAPS}?tab=details",
    "compare": f"/compare/{LIVE}",
    "nights": "/nights",
    "nodes": "/nodes",
    "node": "/nodes/node-fra-1",
}
# The number of canvases of each view.
CHARTS = {"machine": 3, "performance": 2, "disks": 3, "compare": 3, "node": 6}


def job_path(job_id: str, query: str = "") -> str:
    return f"/jobs/{quote(job_id, safe='')}{query}"


def open_view(page: Page, name: str) -> None:
    """Open the view and wait until it is drawn."""
    page.goto(VIEWS[name])
    wait_ready(page, CHARTS.get(name, 0))


def wait_ready(page: Page, charts: int = 0) -> None:
    """Wait until nothing visible is still loading."""
    page.wait_for_function(
        """(charts) => document.querySelector("main h1")
            && document.querySelectorAll("[data-draw-milliseconds]").length >= charts
            && ![...document.querySelectorAll(".state-loading")].some((it) => it.checkVisibility())
        """,
        arg=charts,
    )
