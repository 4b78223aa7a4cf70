"""What the first view loads, and how many bytes all views transfer.

`bench/dashboard.py` measures times, which depend on the load of the machine.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import make_context
from tests.browser.demo import Demo
from tests.browser.measure import CONTENT_AT, MARK_CONTENT, count_bytes
from tests.browser.views import VIEWS, open_view
from tests.hub_process import HubProcess

LARGEST = 700_000  # of all views with their data
LARGEST_FIRST = 150_000


def test_the_first_view_preloads_its_modules_and_nothing_else(page: Page) -> None:
    page.add_init_script(MARK_CONTENT)
    page.goto("/")
    page.wait_for_function(CONTENT_AT)
    listed, loaded = page.evaluate(
        """() => [
            [...document.querySelectorAll("link[rel=modulepreload], script")]
                .map((node) => node.href || node.src),
            performance.getEntriesByType("resource")
                .filter(({name, startTime}) => name.endsWith(".js") && startTime < contentAt)
                .map(({name}) => name),
        ]"""
    )
    assert sorted(set(loaded)) == sorted(listed)


def test_all_views_together_are_small(page: Page) -> None:
    received = count_bytes(page)
    open_view(page, "overview")
    page.wait_for_timeout(1500)  # and the modules of the other views
    assert sum(received.values()) <= LARGEST_FIRST, received
    for name in VIEWS:
        open_view(page, name)
    assert any("echarts" in url for url in received)
    assert any("/telemetry/history/" in url for url in received)
    assert sum(received.values()) <= LARGEST, received


def test_the_lists_need_no_chart_library(page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name in ("overview", "nodes"):
        open_view(page, name)
    page.wait_for_timeout(1500)
    assert not [url for url in requests if "echarts" in url]


def test_files_are_compressed_and_cached(browser: Browser, hub: HubProcess, demo: Demo) -> None:
    context = make_context(browser, f"http://127.0.0.1:{hub.port}")
    page = context.new_page()
    answers: list[Any] = []
    page.on("response", lambda response: "/static/" in response.url and answers.append(response))
    open_view(page, "machine")
    assert answers
    for answer in answers:
        assert answer.headers["content-encoding"] == "gzip", answer.url
        assert "immutable" in answer.headers["cache-control"]
    first = Counter(answer.url for answer in answers)
    assert max(first.values()) == 1
    answers.clear()
    page.goto("/machines/fileserver")
    expect(page.locator(".run").first).to_be_visible()
    assert all(
        answer.from_service_worker or answer.request.timing["responseStart"] < 50
        for answer in answers
    )
    context.close()
