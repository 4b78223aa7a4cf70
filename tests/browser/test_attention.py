"""What needs attention, and runs that completed with a warning."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tools.browser.demo import ARCHIVE, EMPTY, Demo
from tools.browser.views import wait_ready
from tools.browser.watch import Watch
from tools.hub_process import HubProcess, wait_until

SUMMARY = "It completed with 0 of 48.4 GiB."
READ_ONLY = {"required": True, "by_cookie": True, "scope": "read", "name": "ann"}


@pytest.fixture(scope="module", autouse=True)
def item(hub: HubProcess, demo: Demo) -> dict[str, Any]:
    """The item of the run that moved nothing: a task finds it."""
    found: list[dict[str, Any]] = []

    def is_found() -> bool:
        _, _, answer = hub.request("GET", f"/api/v1/attention?job_id={EMPTY}&kind=suspicious")
        found[:] = answer["items"]
        return bool(found)

    wait_until(is_found)
    return found[0]


def panel(page: Page) -> Locator:
    return page.locator(".attention")


def row(page: Page) -> Locator:
    """The row of that item."""
    name = re.compile(f"^{EMPTY}$")
    return page.locator(".attention-item", has=page.get_by_role("link", name=name)).filter(
        has_text="suspicious"
    )


def open_overview(page: Page, path: str = "/") -> None:
    page.goto(path)
    wait_ready(page)
    expect(panel(page).locator(".attention-item").first).to_be_visible()


def show_all(page: Page) -> None:
    button = panel(page).get_by_role("button", name=re.compile("^Show all"))
    expect(button).to_be_visible()  # the demo has more than ten
    button.click()


def number(page: Page) -> int:
    """The number of items in the heading."""
    found = re.search(r"\((\d+)\)", panel(page).locator("h2").inner_text())
    assert found
    return int(found[1])


def test_the_worst_is_listed_first_and_counted_in_the_title(page: Page) -> None:
    open_overview(page)
    rows = panel(page).locator(".attention-list").first.locator(".attention-item")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text(re.compile("critical"))
    assert page.title() == f"({number(page)}) Jobs – Telemetry Hub"
    assert number(page) > 10
    show_all(page)
    expect(rows).to_have_count(number(page))
    expect(row(page)).to_contain_text(SUMMARY)
    expect(row(page)).to_contain_text(f"{ARCHIVE} · backup · repo-main")
    expect(row(page)).to_contain_text("Check that the copy is complete")
    expect(row(page).locator("time")).to_have_attribute("title", re.compile("UTC$"))
    row(page).get_by_role("link", name=EMPTY).click()
    expect(page.locator("main h1")).to_have_text(EMPTY)
    expect(page).to_have_title(f"{EMPTY} – Telemetry Hub")


def test_a_browser_that_may_only_read_says_how_to_acknowledge(new_page: NewPage, axe: str) -> None:
    page = new_page(viewport={"width": 390, "height": 800})
    page.route("**/api/v1/session", lambda route: route.fulfill(json=READ_ONLY))
    open_overview(page)
    first = panel(page).locator(".attention-item").first
    first.get_by_text(re.compile("^Acknowledge …")).click()
    expect(first).to_contain_text(re.compile(r"curl -X POST http.*/attention/\d+/acknowledge"))
    expect(panel(page).get_by_role("button", name=re.compile("^Acknowledge"))).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate(axe)
    assert not page.evaluate("axe.run('.attention').then(({violations}) => violations)")


def test_an_item_is_acknowledged_by_keyboard(page: Page, item: dict[str, Any], axe: str) -> None:
    open_overview(page)
    show_all(page)
    before = number(page)
    button = row(page).get_by_role("button", name=f"Acknowledge suspicious of {EMPTY}")
    button.focus()
    page.keyboard.press("Enter")
    expect(panel(page).locator("h2")).to_have_text(f"Needs attention ({before - 1})")
    expect(panel(page).get_by_role("status")).to_have_text(f"Acknowledged: {EMPTY}")
    focused = page.evaluate("document.activeElement.matches('.attention-act button, h2')")
    assert focused
    page.get_by_text("Acknowledged (1)").click()
    expect(row(page)).to_contain_text("Acknowledged by operator")
    assert page.title().startswith(f"({before - 1}) ")
    page.evaluate(axe)
    assert not page.evaluate("axe.run('.attention').then(({violations}) => violations)")


def test_a_refused_acknowledgement_says_why(page: Page, watch: Watch) -> None:
    watch.expect("status of 403")
    problem = {"title": "Forbidden", "detail": "This requires scope admin.", "status": 403}
    page.route(
        "**/acknowledge",
        lambda route: route.fulfill(
            status=403, body=json.dumps(problem), content_type="application/problem+json"
        ),
    )
    open_overview(page)
    first = panel(page).locator(".attention-item").first
    first.get_by_role("button").click()
    expect(first.get_by_role("alert")).to_have_text("Not acknowledged: This requires scope admin.")


def test_nothing_is_one_calm_line(page: Page) -> None:
    page.route(
        "**/api/v1/attention*", lambda route: route.fulfill(json={"items": [], "next_cursor": None})
    )
    page.goto("/")
    wait_ready(page)
    expect(panel(page).get_by_text("Nothing needs attention.")).to_be_visible()
    assert page.title() == "Jobs – Telemetry Hub"


def test_a_list_that_fails_leaves_the_jobs_as_they_are(page: Page, watch: Watch) -> None:
    watch.expect("status of 500")
    page.route(
        "**/api/v1/attention*",
        lambda route: route.fulfill(status=500, json={"detail": "It broke."}),
    )
    page.goto("/")
    wait_ready(page)
    expect(panel(page)).to_contain_text("It broke.")
    expect(page.locator(".job-row").first).to_be_visible()


def test_runs_with_a_warning_are_selected_by_a_chip(page: Page) -> None:
    open_overview(page)
    chip = page.get_by_role("button", name=re.compile("With a warning"))
    chip.click()
    expect(page).to_have_url(re.compile(r"\?result=warning$"))
    expect(chip).to_have_attribute("aria-pressed", "true")
    heading = page.get_by_role("heading", name=re.compile("^Completed with a warning"))
    expect(heading).to_be_visible()
    shown = page.locator(".job-row", has=page.get_by_role("link", name=EMPTY, exact=True))
    expect(shown.locator(".badge")).to_have_attribute("data-look", "warning")
    expect(shown.get_by_role("cell", name="completed with a warning")).to_be_visible()
    expect(page.locator(".badge[data-look=completed]:visible")).to_have_count(0)
    page.reload()
    expect(shown).to_be_visible()
    page.get_by_role("button", name=re.compile("^failed")).click()
    expect(page).to_have_url(re.compile(r"\?status=failed$"))
    expect(chip).to_have_attribute("aria-pressed", "false")


def test_a_machine_counts_warnings_apart(page: Page) -> None:
    page.goto(f"/machines?q={ARCHIVE}")
    wait_ready(page)
    expect(page.locator(".machine .badge")).to_have_attribute("data-look", "warning")
    expect(page.locator(".machine-counts")).to_have_text("4 runs: 3 completed, 1 with a warning")
    page.get_by_role("link", name=ARCHIVE, exact=True).click()
    wait_ready(page, 3)
    expect(page.locator(".kpis")).to_contain_text(
        re.compile("75.0 %.*3 good, 1 with a warning, of the last 4 runs that ended", re.S)
    )
    legend = page.locator(".donut-legend")
    legend.get_by_role("button", name="completed with a warning").click()
    expect(page).to_have_url(re.compile(r"\?result=warning$"))
    expect(page.locator(".run")).to_have_count(1)
    legend.get_by_role("button", name=re.compile("^completed 3")).click()
    expect(page.locator(".run")).to_have_count(3)


def test_a_job_shows_why_it_has_a_warning(page: Page) -> None:
    page.goto(f"/jobs/{EMPTY}")
    wait_ready(page)
    expect(page.locator(".job-title .badge")).to_have_attribute("data-look", "warning")
    expect(page.locator(".error-block:visible")).to_contain_text(SUMMARY)
