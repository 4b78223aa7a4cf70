"""Everything works by keyboard, and the focus is visible."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tools.browser.demo import GAPS, LIVE
from tools.browser.views import CHARTS, VIEWS, open_view, wait_ready

# What can be acted on, in the order of the page. Of radio-like groups (tabs) only one is a stop.
STOPS = """() => [...document.querySelectorAll(
        "a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((node) => node.checkVisibility({visibilityProperty: true}) && !node.disabled
        && node.tabIndex >= 0)
    .map((node, index) => { node.dataset.stop = index; return node.outerHTML.slice(0, 120); })"""
FOCUSED = """() => {
    const node = document.activeElement;
    const style = getComputedStyle(node);
    return [Number(node.dataset.stop ?? -1),
        style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}"""


def press_until(page: Page, target: Locator, key: str = "Tab", most: int = 60) -> None:
    """Press the key until the target has the focus."""
    handle = target.element_handle()
    for _ in range(most):
        page.keyboard.press(key)
        if handle.evaluate("(node) => node === document.activeElement"):
            return
    raise AssertionError(f"{key} never leads to {target}")


@pytest.mark.parametrize("name", ["machine", "disks", "details", "compare", "nodes", "node"])
def test_tab_reaches_every_control(page: Page, name: str) -> None:
    page.route("**/events?*", lambda route: route.continue_())
    open_view(page, name)
    stops = page.evaluate(STOPS)
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in stops:
        page.keyboard.press("Tab")
        number, is_visible = page.evaluate(FOCUSED)
        seen.append(number)
        assert is_visible, stops[number]
    missed = [stop for number, stop in enumerate(stops) if number not in seen]
    assert not missed


def test_the_first_stop_skips_to_the_content(page: Page) -> None:
    open_view(page, "overview")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_overview_by_keyboard(new_page: NewPage) -> None:
    page = new_page()
    open_view(page, "overview")
    press_until(page, page.locator("#theme"))
    page.keyboard.press("End")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press_until(page, page.get_by_role("button", name=re.compile("^failed")))
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("status=failed"))
    press_until(page, page.get_by_role("textbox", name="Type"))
    page.keyboard.type("restore")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("type=restore"))
    press_until(page, page.get_by_role("combobox", name="Started"))
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile("since=1h"))
    press_until(page, page.get_by_role("button", name="Clear filters").first)
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile(r"\?"))
    expect(page.locator(".job-row").first).to_be_visible()
    press_until(page, page.locator(".job-link").first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("tablist")).to_be_visible()
    expect(page.locator("main h1")).to_be_focused()


def test_more_is_loaded_by_keyboard(page: Page) -> None:
    page.add_init_script(
        "window.IntersectionObserver = class { observe() {} unobserve() {} disconnect() {} };"
    )
    open_view(page, "overview")
    button = page.get_by_role("button", name="Show more jobs").last
    count = page.locator(".job-row").count()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".job-row")).to_have_count(count + 50)
    assert page.evaluate("document.activeElement.closest('.job-row') !== null")


def test_the_tabs_of_a_job_by_arrow_keys(page: Page) -> None:
    page.goto(VIEWS["job"])
    wait_ready(page)
    press_until(page, page.get_by_role("tab", name="Summary"))
    for key, tab in (
        ("ArrowRight", "Performance"),
        ("ArrowRight", "Details"),
        ("ArrowRight", "Summary"),
        ("End", "Details"),
        ("ArrowLeft", "Performance"),
        ("Home", "Summary"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=tab)).to_be_focused()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel")).to_have_count(1)
        expect(page.get_by_role("tabpanel", name=tab)).to_be_visible()


def test_a_chart_is_zoomed_by_keyboard(page: Page) -> None:
    open_view(page, "performance")
    zoom_in = page.get_by_role("button", name="Zoom in")
    press_until(page, zoom_in)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=.*to="))
    expect(page.get_by_role("button", name="Earlier")).to_be_enabled()
    before = page.url
    press_until(page, page.get_by_role("button", name="Earlier"))
    page.keyboard.press("Space")
    expect(page).not_to_have_url(before)
    press_until(page, page.get_by_role("button", name="Whole run"))
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile("from="))


def test_the_chart_of_the_disks_by_keyboard(page: Page) -> None:
    open_view(page, "performance")
    press_until(page, page.locator("summary", has_text="each of the 2 disks"))
    page.keyboard.press("Enter")
    wait_ready(page, 3)
    disk = page.get_by_role("group", name="Disks shown").get_by_role("button", name="Disk 1")
    press_until(page, disk)
    page.keyboard.press("Space")
    expect(disk).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("img", name=re.compile("^Speed of 1 disk over"))).to_be_visible()


def test_another_machine_is_selected_by_keyboard(page: Page) -> None:
    open_view(page, "machine")
    field = page.get_by_role("combobox", name="Machine")
    press_until(page, field)
    page.keyboard.press("Control+A")
    page.keyboard.type("mail")
    expect(page.get_by_role("option", name=re.compile("mail01"))).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("mail01")
    wait_ready(page, CHARTS["machine"])
    job = page.get_by_role("combobox", name="Job")
    job.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", name=re.compile(GAPS))).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".combobox-option:visible")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text(GAPS)


def test_tables_and_ranges_by_keyboard(page: Page) -> None:
    open_view(page, "node")
    press_until(page, page.get_by_role("button", name="24 h"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("range=24h"))
    summary = page.locator("summary", has_text="Show as table").first
    press_until(page, summary)
    page.keyboard.press("Enter")
    expect(page.get_by_role("table").first).to_be_visible()


def test_the_job_is_found_by_its_id(page: Page) -> None:
    page.goto("/")
    press_until(page, page.get_by_role("searchbox", name="Job id"))
    page.keyboard.type(LIVE)
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text(LIVE)
