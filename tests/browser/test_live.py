"""Live updates without a reload, hidden pages, and a hub that does not respond."""

from __future__ import annotations

import re
import socket
import time
from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, Request, Response, expect

from app.clock import isoformat, utc_now
from tests.browser.conftest import NewPage
from tools.browser.demo import LIVE
from tools.browser.measure import heap_bytes
from tools.browser.views import CHARTS, open_view, wait_ready
from tools.browser.watch import Watch
from tools.hub_process import HubProcess, wait_until

# As if the user had switched to another tab, or back.
SET_HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
GIB = 1024**3
SEEN_WITHIN_MS = 30_000


def is_listening(hub: HubProcess) -> bool:
    """Whether the hub responds: the web worker of a killed hub ends a moment later."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", hub.port)) == 0


def row_of(page: Page, job_id: str) -> Any:
    return page.locator(".job-row", has=page.get_by_role("link", name=job_id, exact=True))


def requests_of(page: Page) -> list[str]:
    """The requests to the API from now on; the list is updated."""
    found: list[str] = []

    def note(request: Request) -> None:
        if "/api/" in request.url:
            found.append(request.url)

    page.on("request", note)
    return found


def test_a_push_is_seen_without_a_reload(page: Page, hub: HubProcess) -> None:
    open_view(page, "overview")
    page.evaluate("window.isSame = true")
    assert hub.push(LIVE, current_phase="verifying", transfer_speed_bps=777 * 1024**2) == 200
    row = row_of(page, LIVE)
    expect(row).to_contain_text("777 MiB/s", timeout=SEEN_WITHIN_MS)
    expect(row).to_contain_text("verifying")
    assert (
        hub.push("fresh-1", vm_name="new-machine", bytes_transferred=3 * GIB, total_bytes=4 * GIB)
        == 200
    )
    fresh = row_of(page, "fresh-1")
    expect(fresh).to_contain_text("3.0 GiB of 4.0 GiB", timeout=SEEN_WITHIN_MS)
    expect(fresh.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "75")
    assert hub.push("fresh-1", status="failed", error="the disk is gone") == 200
    expect(fresh.get_by_text("failed")).to_be_visible(timeout=SEEN_WITHIN_MS)
    expect(fresh).to_contain_text("the disk is gone")
    assert page.evaluate("window.isSame")


def test_a_running_job_is_updated_live(page: Page, hub: HubProcess) -> None:
    open_view(page, "job")
    assert hub.push(LIVE, current_phase="finalizing", transfer_speed_bps=55 * 1024**2) == 200
    summary = page.locator(".summary")
    expect(summary).to_contain_text("55.0 MiB/s", timeout=SEEN_WITHIN_MS)
    expect(summary).to_contain_text("finalizing")
    age = summary.locator("time[data-tick=age]").first
    first = age.inner_text()
    expect(age).not_to_have_text(first, timeout=SEEN_WITHIN_MS)  # updated without a request


def test_the_time_left_says_what_it_is_made_from(page: Page, hub: HubProcess) -> None:
    start = utc_now() - timedelta(seconds=60)
    for number in range(12):
        at = isoformat(start + timedelta(seconds=5 * number))
        assert hub.push("left-1", timestamp=at, bytes_transferred=number, total_bytes=611) == 200
    page.goto("/jobs/left-1")
    wait_ready(page)
    card = page.locator(".kpi", has_text="Time left")
    expect(card).to_contain_text("50 min 00 s")
    expect(card).to_contain_text("at the present pace; 45 min 00 s to 55 min")
    assert hub.push("left-2") == 200
    page.goto("/jobs/left-2")
    wait_ready(page)
    expect(card).to_contain_text("Neither a total nor a percent is known.")
    assert hub.push("left-1", status="completed") == 200
    assert hub.push("left-2", status="completed") == 200


def test_a_refresh_keeps_focus_selection_and_input(page: Page, hub: HubProcess) -> None:
    """They survive updates of the same row."""
    open_view(page, "overview")
    link = row_of(page, LIVE).locator(".job-link")
    link.focus()
    link.evaluate("(node) => getSelection().selectAllChildren(node)")
    page.get_by_role("textbox", name="Type").evaluate("(node) => { node.value = 'back'; }")
    assert hub.push(LIVE, transfer_speed_bps=123 * 1024**2) == 200
    expect(row_of(page, LIVE)).to_contain_text("123 MiB/s", timeout=SEEN_WITHIN_MS)
    expect(link).to_be_focused()
    assert page.evaluate("String(getSelection())") == LIVE
    assert page.get_by_role("textbox", name="Type").input_value() == "back"


def test_unchanged_data_is_not_sent_again(page: Page) -> None:
    statuses: list[int] = []
    page.goto("/?machine=vm-001")
    wait_ready(page)

    def note(response: Response) -> None:
        if "/api/v1/jobs" in response.url:
            statuses.append(response.status)

    page.on("response", note)
    deadline = time.monotonic() + 60
    while len(statuses) < 6 and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert len(statuses) >= 6
    assert set(statuses) == {304}


def test_a_view_polls_at_most_every_two_seconds(page: Page) -> None:
    open_view(page, "job")
    requests = requests_of(page)
    began = time.monotonic()
    page.wait_for_timeout(5000)
    assert 1 <= len(requests) <= (time.monotonic() - began) / 2 + 1, requests


def test_a_hidden_page_pauses_and_catches_up(page: Page, hub: HubProcess) -> None:
    with page.expect_response("**/api/v1/session"):  # requested once, a second after the start
        open_view(page, "overview")
    page.evaluate(SET_HIDDEN, True)
    page.wait_for_timeout(300)  # what was under way
    requests = requests_of(page)
    assert hub.push(LIVE, transfer_speed_bps=88 * 1024**2) == 200
    page.wait_for_timeout(3000)
    assert not requests
    page.evaluate(SET_HIDDEN, False)
    expect(row_of(page, LIVE)).to_contain_text("88.0 MiB/s", timeout=SEEN_WITHIN_MS)


def test_only_visible_data_is_requested(page: Page) -> None:
    """The Summary tab requests no chart, and no view polls after it was left."""
    open_view(page, "job")
    requests = requests_of(page)
    page.wait_for_timeout(2500)
    assert requests
    assert not [url for url in requests if "/history/" in url or "/events" in url]
    page.get_by_role("link", name="Nodes").click()
    wait_ready(page)
    requests.clear()
    page.wait_for_timeout(2500)
    assert not [url for url in requests if "/jobs" in url]


def test_the_page_reports_a_lost_connection_and_recovers(
    page: Page, hub: HubProcess, watch: Watch
) -> None:
    open_view(page, "machine")
    open_view(page, "overview")
    page.evaluate("window.isSame = true")
    watch.expect("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "ERR_SOCKET", "status of 503")
    hub.kill()
    banner = page.locator("#connection")
    expect(banner).to_contain_text(
        re.compile(r"Not updated since \d\d:\d\d:\d\d\."), timeout=SEEN_WITHIN_MS
    )
    expect(row_of(page, LIVE)).to_be_visible()  # what is known stays
    wait_until(lambda: not is_listening(hub))
    hub.start()
    expect(banner).to_have_text("", timeout=SEEN_WITHIN_MS)
    assert hub.push(LIVE, transfer_speed_bps=99 * 1024**2) == 200
    expect(row_of(page, LIVE)).to_contain_text("99.0 MiB/s", timeout=SEEN_WITHIN_MS)
    assert page.evaluate("window.isSame")


def test_a_view_opened_without_a_connection_appears_later(page: Page, watch: Watch) -> None:
    open_view(page, "overview")
    page.wait_for_timeout(1500)  # the other views' modules are here
    watch.expect("ERR_FAILED", "failed: ")
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("link", name="Machines").click()
    expect(page.get_by_role("alert")).to_contain_text("does not respond")
    expect(page.locator("#connection")).to_contain_text("Not updated since")
    page.unroute("**/*")
    expect(page.locator(".machine").first).to_be_visible(timeout=SEEN_WITHIN_MS)
    expect(page.locator("#connection")).to_have_text("")


def test_the_heap_does_not_grow_while_jobs_run(new_page: NewPage, hub: HubProcess) -> None:
    """Two minutes by the page's clock, with an update before each refresh. `bench/dashboard.py`
    takes ten real ones.
    """
    page = new_page()
    page.clock.install()
    open_view(page, "overview")
    cdp = page.context.new_cdp_session(page)

    def watch_for(refreshes: int) -> int:
        for number in range(refreshes):
            assert hub.push(LIVE, transfer_speed_bps=(100 + number) * 1024**2) == 200
            with page.expect_response(lambda answer: "status=running" in answer.url):
                page.clock.run_for(2000)
        return heap_bytes(cdp)

    before = watch_for(15)
    after = watch_for(45)
    assert after < 60 * 1024**2
    assert after - before < 1024**2


def test_charts_of_left_views_are_freed(new_page: NewPage) -> None:
    """Navigating between views keeps none of them."""
    page = new_page()
    cdp = page.context.new_cdp_session(page)

    def go_round(times: int) -> int:
        for _ in range(times):
            for name in ("node", "machine", "nodes"):
                page.evaluate(
                    """(path) => { history.pushState(null, "", path);
                        dispatchEvent(new PopStateEvent("popstate")); }""",
                    {"node": "/nodes/node-fra-1", "machine": "/machines/fileserver"}.get(
                        name, "/nodes"
                    ),
                )
                wait_ready(page, CHARTS.get(name, 0))
        return heap_bytes(cdp)

    open_view(page, "overview")
    before = go_round(2)
    assert go_round(5) - before < 2 * 1024**2
