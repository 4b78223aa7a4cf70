"""A hub with demo data in its own process, and its pages in Debian's Chromium.

Every page is watched: an unexpected message on its console fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.config import ROOT
from tests.client.tools import need
from tests.conftest import ORDINARY_PATH
from tools.browser.chromium import find_chromium, open_chromium
from tools.browser.demo import PATIENT, Demo, seed
from tools.browser.watch import Watch
from tools.hub_process import HubProcess

ZONE = "Asia/Kolkata"  # UTC+05:30, without daylight saving time
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

NewPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        need("chromium")
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Has the data of `tools.browser.demo`. Tests may add to it."""
    with HubProcess(tmp_path_factory.mktemp("hub"), **PATIENT, PATH=ORDINARY_PATH) as hub:
        yield hub


@pytest.fixture(scope="session")
def demo(hub: HubProcess) -> Demo:
    return seed(hub)


def origin_of(hub: HubProcess) -> str:
    return f"http://127.0.0.1:{hub.port}"


def make_context(browser: Browser, origin: str, **options: object) -> BrowserContext:
    given = {"timezone_id": ZONE, "locale": "en-GB", "viewport": {"width": 1280, "height": 800}}
    context = browser.new_context(base_url=origin, **{**given, **options})  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    return context


@contextmanager
def watched_pages(browser: Browser, watch: Watch) -> Iterator[NewPage]:
    """Makes pages, each in its own browser profile, with the options of Playwright."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Page:
        context = make_context(browser, watch.origin, **options)
        contexts.append(context)
        watch.follow(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
    watch.check()


@pytest.fixture
def watch(hub: HubProcess) -> Watch:
    return Watch(origin_of(hub))


@pytest.fixture
def new_page(browser: Browser, demo: Demo, watch: Watch) -> Iterator[NewPage]:
    with watched_pages(browser, watch) as make:
        yield make


@pytest.fixture(scope="session")
def profile(browser: Browser, hub: HubProcess) -> Iterator[BrowserContext]:
    """What `page` opens pages in: with the files loaded by earlier tests, and nothing else."""
    context = make_context(browser, origin_of(hub))
    yield context
    left = context.storage_state()
    context.close()
    assert not left["cookies"] + left["origins"]


@pytest.fixture
def page(profile: BrowserContext, demo: Demo, watch: Watch) -> Iterator[Page]:
    """A page in a profile that other tests use as well.

    Loading all files takes longer than most tests. A test of that, or one that leaves something in
    its profile (a theme, a clock), uses `new_page`.
    """
    watch.follow(profile)
    page = profile.new_page()
    yield page
    page.close()
    watch.leave(profile)
    watch.check()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return (ROOT / "app/static/node_modules/axe-core/axe.min.js").read_text()
