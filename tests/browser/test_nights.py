"""Machines × nights, and one night as a timeline."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tools.browser.demo import NIGHTS
from tools.browser.views import wait_ready

NAME = "fileserver · backup · repo-main · incremental"


def open_nights(page: Page, query: str = "") -> None:
    page.goto(f"/nights{query}")
    wait_ready(page)
    expect(page.locator(".matrix-row .night").first).to_be_visible()


def test_a_cell_says_what_became_of_a_night_and_leads_to_its_run(page: Page) -> None:
    open_nights(page, "?q=fileserver&days=14&begins=0")
    row = page.get_by_role("row", name=re.compile(re.escape(NAME)))
    expect(row.get_by_role("gridcell")).to_have_count(14)
    expect(row.locator("[data-state=good]")).not_to_have_count(0)
    failed = row.locator("[data-state=failed]")
    expect(failed).to_have_attribute("href", re.compile(f"/jobs/{NIGHTS[-1]}$"))
    expect(page.get_by_text(re.compile("time zone "))).to_be_visible()
    failed.hover()
    expect(page.locator(".night-detail")).to_have_text(re.compile(rf"{NAME}: failed, .*GiB"))
    failed.click()
    expect(page.locator("main h1")).to_have_text(NIGHTS[-1])


def test_a_night_is_shown_as_a_timeline_by_keyboard(new_page: NewPage, axe: str) -> None:
    page = new_page(viewport={"width": 390, "height": 800}, timezone_id="Europe/Berlin")
    open_nights(page, "?days=14")
    expect(page.get_by_text(re.compile("time zone Europe/Berlin"))).to_be_visible()
    page.locator(".matrix [tabindex='0']").focus()
    for key in ("ArrowLeft", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    heading = page.get_by_role("heading", name=re.compile("^The night of"))
    expect(heading).to_be_focused()
    expect(page).to_have_url(re.compile(r"night=\d{4}-\d\d-\d\d"))
    expect(page.locator(".timeline-bar").first).to_be_visible()
    expect(page.locator(".timeline").get_by_text("Runs at once, by repository")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate(axe)
    assert not page.evaluate("axe.run('main').then(({violations}) => violations)")
    page.go_back()
    expect(heading).to_be_hidden()
