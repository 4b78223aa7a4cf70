"""A hub that requires tokens: signing in and out by keyboard; and the views of an empty hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import origin_of, watched_pages
from tests.tokens import KEYS, make_token
from tools.browser.demo import PATIENT
from tools.browser.views import wait_ready
from tools.browser.watch import Watch
from tools.hub_process import HubProcess


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Requires tokens and has no data."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    key_file = folder / "token.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(b"\n".join(KEYS))
    with HubProcess(folder / "var", HUB_TOKEN_KEY_FILE=str(key_file), **PATIENT) as hub:
        yield hub


@pytest.fixture
def watch(guarded: HubProcess) -> Watch:
    return Watch(origin_of(guarded))


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    with watched_pages(browser, watch) as new_page:
        yield new_page()


def sign_in(page: Page, path: str = "/") -> None:
    page.goto(path)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.insert_text(make_token("read"))
    page.keyboard.press("Enter")


def test_sign_in_and_out_by_keyboard(page: Page) -> None:
    sign_in(page, "/machines?q=web")
    expect(page).to_have_url(re.compile(r"/machines\?q=web$"))
    wait_ready(page)
    button = page.get_by_role("button", name="Sign out")
    expect(button).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if button.evaluate("(node) => node === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_be_focused()
    page.goto("/nodes")
    expect(page.get_by_label("Token")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_form_reports_errors_and_is_accessible(
    page: Page, watch: Watch, axe: str, theme: str
) -> None:
    watch.expect("status of 401")
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto("/")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.insert_text("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert not found["violations"]
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_an_expired_session_leads_to_the_sign_in_page(page: Page, watch: Watch) -> None:
    sign_in(page)
    wait_ready(page)
    watch.expect("status of 401")
    page.context.clear_cookies()
    expect(
        page.get_by_label("Token").or_(page.get_by_text(re.compile("sign in", re.I))).first
    ).to_be_visible()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/", "No job has reported yet"),
        ("/machines", "No machines yet"),
        ("/nodes", "No node has reported yet"),
    ],
)
def test_views_of_an_empty_hub_explain_it(page: Page, path: str, sentence: str) -> None:
    sign_in(page, path)
    expect(page.get_by_text(sentence)).to_be_visible()
