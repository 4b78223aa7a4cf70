"""The overview: order, filters in the address, and the infinite list."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tools.browser.demo import BULK, LIVE, NIGHTS, PENDING, STALLED
from tools.browser.views import open_view, wait_ready
from tools.hub_process import HubProcess


def table(page: Page, title: str) -> Locator:
    """One of the lists, by its first title."""
    return page.get_by_role("table", name=title, exact=True)


def rows(page: Page, title: str) -> list[str]:
    """The ids of the jobs in one of the lists."""
    return table(page, title).locator(".job-link").all_inner_texts()


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_what_is_stalled_comes_first_then_what_runs(page: Page) -> None:
    open_view(page, "overview")
    titles = page.locator("section:has(.job-table):visible h2").all_inner_texts()
    assert [re.sub(r" \([\d,]+\)", "", title) for title in titles] == [
        "Stalled",
        "Running",
        "Pending",
        "Ended",
    ]
    assert rows(page, "Stalled") == [STALLED]
    assert LIVE in rows(page, "Running")
    assert rows(page, "Pending") == [PENDING]
    stalled, pending = (page.locator(".job-row").filter(has_text=it) for it in (STALLED, PENDING))
    expect(stalled).to_contain_text(re.compile(r"was [\d.]+ MiB/s"))
    expect(stalled).not_to_contain_text("left")
    expect(pending).to_contain_text(re.compile("registered .* ago"))
    shown = page.locator(".job-row").filter(has_text=LIVE)
    expect(shown.get_by_role("progressbar")).to_be_visible()
    expect(shown).to_contain_text(re.compile(r"GiB of [\d.]+ GiB.*MiB/s.*left.* ago", re.S))
    counts = page.get_by_role("group", name="Filter by status")
    expect(counts.get_by_role("button", name=re.compile("^All"))).to_contain_text(
        re.compile(r"10,0\d\d")
    )


def test_filters_in_the_address_survive_reload_and_back(page: Page) -> None:
    open_view(page, "overview")
    page.get_by_role("button", name=re.compile("^failed")).click()
    page.get_by_role("textbox", name="Type").fill("restore")
    page.keyboard.press("Enter")
    page.get_by_role("combobox", name="Machine").fill("vm-006")
    page.get_by_role("textbox", name="Repository").fill("repo-2")
    page.get_by_role("combobox", name="Started").select_option("30d")
    expected = {
        "status": ["failed"],
        "type": ["restore"],
        "machine": ["vm-006"],
        "repository": ["repo-2"],
        "since": ["30d"],
    }
    expect(table(page, "Ended").locator(".job-about").first).to_contain_text("vm-006")
    assert query(page) == expected
    found = rows(page, "Ended")
    assert found
    assert all(name.startswith("bulk-") for name in found)
    page.reload()
    wait_ready(page)
    expect(page.locator(".job-link")).to_have_text(found)
    expect(page.get_by_role("textbox", name="Type")).to_have_value("restore")
    page.locator(".job-link").first.click()
    expect(page.locator("main h1")).to_have_text(found[0])
    page.go_back()
    expect(page.locator(".job-link")).to_have_text(found)
    assert query(page) == expected
    page.get_by_role("button", name="Clear filters").click()
    expect(table(page, "Running")).to_be_visible()
    assert not query(page)


def test_a_text_is_found_in_id_machine_repository_and_error(page: Page) -> None:
    open_view(page, "overview")
    page.get_by_role("textbox", name="Contains").fill("FILESERVER-night")
    page.keyboard.press("Enter")
    links = page.locator(".job-link")
    expect(links).to_have_count(len(NIGHTS))
    assert set(links.all_inner_texts()) == set(NIGHTS)
    assert query(page) == {"q": ["FILESERVER-night"]}
    expect(page.get_by_role("heading", name="Ended")).to_have_text("Ended")  # not counted
    page.reload()
    expect(links).to_have_count(len(NIGHTS))
    page.get_by_role("textbox", name="Contains").fill("no such text")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No job matches these filters")).to_be_visible()


def test_a_search_goes_on_through_pages_without_a_match(page: Page, hub: HubProcess) -> None:
    """The hub looks at 5,000 jobs a page, and the oldest one comes later."""
    path = "/api/v1/jobs?status=completed,failed,cancelled&order=asc&limit=1"
    _, _, answer = hub.request("GET", path)
    oldest = answer["items"][0]["job_id"]
    page.goto(f"/?q={oldest}")
    expect(page.locator(".job-link")).to_have_text([oldest])
    expect(page.get_by_text("No job matches these filters")).to_be_hidden()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/?status=cancelled", "cancelled"),
        ("/?status=failed,cancelled", "failed"),
        ("/?status=nonsense&since=never&from=x", "completed"),
    ],
)
def test_filters_are_read_from_the_address(page: Page, address: str, shown: str) -> None:
    page.goto(address)
    wait_ready(page)
    expect(page.locator(".job-row .badge", has_text=shown).first).to_be_visible()
    if "nonsense" not in address:
        assert set(page.locator(".job-row .badge").all_inner_texts()) <= set(
            address.split("=")[1].split(",")
        )


def test_a_time_range_is_in_the_users_time_zone(page: Page) -> None:
    page.goto("/")
    wait_ready(page)
    page.get_by_role("combobox", name="Started").select_option("custom")
    page.get_by_label("From", exact=True).fill("2026-01-01T00:00")
    with page.expect_request(lambda request: "/api/v1/jobs?" in request.url) as request:
        page.get_by_label("Until", exact=True).fill("2026-01-01T12:30")
        page.keyboard.press("Tab")
    assert parse_qs(urlsplit(request.value.url).query)["from"] == ["2025-12-31T18:30:00.000Z"]
    expect(page.get_by_text("No job matches these filters")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Until", exact=True)).to_have_value("2026-01-01T12:30")


def test_presets_are_filters_with_a_history(new_page: NewPage) -> None:
    """And the rows are dense by choice, the CSV is that of the filters, a wide screen is used."""
    page = new_page(viewport={"width": 2560, "height": 1000})
    open_view(page, "overview")
    page.get_by_role("button", name="Failed in the last 24 hours").click()
    expect(page.get_by_role("heading", name=re.compile("^Failed"))).to_be_visible()
    assert query(page) == {"status": ["failed"], "since": ["24h"]}
    asked = re.compile(r"/api/v1/jobs/summary\?active_from=([^&]+)&active_to=([^&]+)")
    with page.expect_request(asked) as request:
        page.get_by_role("button", name="Last night").click()
    found = asked.search(request.value.url)
    assert found is not None
    assert [unquote(text)[10:] for text in found.groups()] == ["T12:30:00.000Z", "T00:30:00.000Z"]
    expect(page.locator(".filter-form")).to_contain_text(
        re.compile(r"Ran between \S+ 18:00 and \S+ 06:00, Asia/\w+ \(UTC\+05:30\)")
    )
    link = page.get_by_role("link", name="Save as CSV")
    expect(link).to_have_attribute("href", re.compile(r"/jobs\?active_from=.*format=csv"))
    page.go_back()
    expect(page.get_by_role("combobox", name="Started")).to_have_value("24h")
    expect(link).to_have_attribute("href", re.compile(r"/jobs\?status=failed&from=.*format=csv"))
    with page.expect_download() as download:
        link.click()
    with Path(download.value.path()).open(newline="") as file:
        jobs = list(csv.DictReader(file))
    assert jobs[0]["job_id"] == rows(page, "Ended")[0]
    assert {job["status"] for job in jobs} == {"failed"}
    page.go_back()
    expect(table(page, "Running")).to_be_visible()
    main, row = page.locator("main"), table(page, "Ended").locator(".job-row").first
    box, before = main.bounding_box(), row.bounding_box()
    page.get_by_role("button", name="Dense rows").click()
    after = row.bounding_box()
    assert box is not None
    assert box["width"] > 2000
    assert before is not None
    assert after is not None
    assert after["height"] < 0.7 * before["height"]
    page.reload()
    wait_ready(page)
    expect(page.get_by_role("button", name="Dense rows")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".is-dense")).to_be_visible()


def test_the_list_loads_all_pages_by_cursor(page: Page) -> None:
    """All pages of a third of 10,000 jobs, of which only those near the viewport are drawn."""
    cursors: set[str] = set()
    page.on(
        "request",
        lambda request: cursors.update(parse_qs(urlsplit(request.url).query).get("cursor", [])),
    )
    page.goto("/?type=replication")
    wait_ready(page)
    most = page.evaluate(
        """async (last) => {
            let most = 0;
            const until = performance.now() + 60_000;
            while (performance.now() < until) {
                scrollTo(0, document.documentElement.scrollHeight);
                await new Promise((done) => requestAnimationFrame(done));
                const rows = document.querySelectorAll(".job-row");
                most = Math.max(most, rows.length);
                const button = [...document.querySelectorAll(".more")].at(-1);
                if (rows.length && button.hidden
                    && [...rows].at(-1).textContent.includes(last)) return most;
            }
            return -1;
        }""",
        f"bulk-{BULK:05}",
    )
    assert 0 < most <= 500
    assert len(cursors) >= BULK // 3 // 50
    expect(page.get_by_role("link", name=f"bulk-{BULK:05}")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("link", name="bulk-00001")).to_be_visible()
    expect(page.get_by_role("link", name=f"bulk-{BULK:05}")).to_have_count(0)


def test_back_restores_the_position(page: Page) -> None:
    open_view(page, "overview")
    link = page.get_by_role("link", name="bulk-00120")
    for _ in range(10):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
        if link.count():
            break
    link.scroll_into_view_if_needed()
    link.click()
    expect(page.locator("main h1")).to_have_text("bulk-00120")
    page.go_back()
    expect(link).to_be_in_viewport()
