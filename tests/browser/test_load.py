"""What the first view loads, and how many bytes all views transfer.

`bench/dashboard.py` measures times, which depend on the load of the machine.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.browser.conftest import NewPage, make_context
from tools.browser.demo import Demo
from tools.browser.measure import CONTENT_AT, MARK_CONTENT, count_bytes
from tools.browser.views import VIEWS, open_view
from tools.browser.watch import Watch
from tools.hub_process import HubProcess

LARGEST = 720_000  # of all views with their data
LARGEST_FIRST = 190_000
OTHER_VIEWS = re.compile(r"/views/(?!overview)[^/]+\.js$")  # loaded a second after the first one


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """Of a browser that has loaded nothing yet."""
    return new_page()


def test_the_first_view_preloads_its_modules_and_nothing_else(page: Page, watch: Watch) -> None:
    watch.expect("ERR_FAILED")
    page.route(OTHER_VIEWS, lambda route: route.abort())
    open_view(page, "overview")
    listed, loaded = page.evaluate(
        """() => [
            [...document.querySelectorAll("link[rel=modulepreload], script")]
                .map((node) => node.href || node.src),
            performance.getEntriesByType("resource")
                .map(({name}) => name).filter((name) => name.endsWith(".js")),
        ]"""
    )
    assert {url for url in loaded if not OTHER_VIEWS.search(url)} == set(listed)


def test_the_first_view_appears_quickly(new_page: NewPage) -> None:
    times = []
    for _ in range(3):
        page = new_page()
        page.add_init_script(MARK_CONTENT)
        page.goto("/")
        times.append(page.wait_for_function(CONTENT_AT).json_value())
    assert min(times) < 10_000, times  # bench/dashboard.py has the limit of one second


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

    def note(response: Response) -> None:
        if "/static/" in response.url:
            answers.append(response)

    page.on("response", note)
    open_view(page, "machine")
    assert answers
    for answer in answers:
        is_small = int(answer.headers["content-length"]) < 2048  # sent as it is
        assert is_small or answer.headers["content-encoding"] == "gzip", answer.url
        assert "immutable" in answer.headers["cache-control"]
    first = Counter(answer.url for answer in answers)
    assert max(first.values()) == 1
    received = count_bytes(page)
    page.goto("/machines/fileserver")
    expect(page.locator(".run").first).to_be_visible()
    assert not [url for url, size in received.items() if url in first and size]
    context.close()
