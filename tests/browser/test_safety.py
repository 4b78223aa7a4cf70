"""Names from senders are text without effect; nothing is loaded from other origins."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import make_context
from tools.browser.demo import HOSTILE_IDS, IMAGE, Demo
from tools.browser.views import job_path, wait_ready
from tools.browser.watch import Watch
from tools.hub_process import HubProcess

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Anything that markup in a name could have become.
INJECTED = """() => {
    const markup = "img, iframe, object, embed, base, math, form[action], script";
    const runs = ({name, value}) => name.startsWith("on") || (name === "style" && /url/.test(value))
        || (/^(href|src|action|formaction)$/.test(name) && /^\\s*(javascript|data):/i.test(value));
    return [...document.querySelectorAll("main, main *, #connection *")]
        .filter((node) => node.matches(markup) || [...node.attributes].some(runs))
        .map((node) => node.outerHTML.slice(0, 200));
}"""


def test_the_policy_is_exactly_this_one(hub: HubProcess, browser: Browser, demo: Demo) -> None:
    context = make_context(browser, f"http://127.0.0.1:{hub.port}")
    for path in ("/", "/jobs/x", "/machines", "/nodes/x", "/compare/x"):
        headers = context.request.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    context.close()


@pytest.mark.parametrize("job_id", HOSTILE_IDS)
def test_a_hostile_job_is_text_in_every_tab(page: Page, watch: Watch, job_id: str) -> None:
    page.goto(job_path(job_id))
    wait_ready(page)
    expect(page.locator("main h1")).to_have_text(job_id, use_inner_text=False)
    for tab, kind in (
        ("Summary", ".summary"),
        ("Performance", ".performance"),
        ("Details", ".details"),
    ):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(kind)).to_be_visible()
        wait_ready(page, 2 if tab == "Performance" else 0)
        assert not page.evaluate(INJECTED), tab
    text = str(page.evaluate("document.querySelector('main').textContent"))
    assert job_id in text
    assert IMAGE in text
    assert not watch.seen


def test_hostile_names_are_text_in_lists_and_fields(page: Page, watch: Watch) -> None:
    page.goto("/?type=backup&status=failed")
    expect(page.get_by_role("link", name=IMAGE, exact=True).first).to_be_visible()
    assert not page.evaluate(INJECTED)
    page.goto(f"/machines/{page.evaluate('encodeURIComponent', IMAGE)}")
    wait_ready(page, 3)
    expect(page.locator("main h1")).to_have_text(IMAGE)
    for field in ("Machine", "Job"):
        page.get_by_role("combobox", name=field).click()
        expect(page.locator(".combobox-option:visible").first).to_be_visible()
        assert not page.evaluate(INJECTED), field
    page.locator(".run-compare").first.click()
    wait_ready(page, 3)
    assert not page.evaluate(INJECTED)
    for path in ("/machines", "/nodes", "/nodes/" + page.evaluate("encodeURIComponent", IMAGE)):
        page.goto(path)
        wait_ready(page)
        expect(page.get_by_text(IMAGE, exact=True).first).to_be_visible()
        assert not page.evaluate(INJECTED), path
    assert not watch.seen


def test_a_tooltip_of_a_hostile_run_is_not_an_element(page: Page) -> None:
    page.goto(job_path(HOSTILE_IDS[0], "?tab=performance"))
    wait_ready(page, 2)
    before = page.evaluate("document.querySelectorAll('.chart-canvas *').length")
    box = page.locator(".chart-tall .chart-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelectorAll('.chart-canvas *').length") == before
    assert not page.evaluate(INJECTED)


def test_invalid_names_can_be_searched_for(page: Page) -> None:
    page.goto("/")
    page.get_by_role("searchbox", name="Job id").fill("<b>nobody</b>")
    page.get_by_role("button", name="Find job").click()
    expect(page.get_by_text("No job has the ID <b>nobody</b>.")).to_be_visible()
    page.get_by_role("searchbox", name="Job id").fill(IMAGE)
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text(IMAGE)


def test_the_policy_stops_an_injected_script(page: Page, watch: Watch) -> None:
    watch.expect("Content Security Policy", "elsewhere.invalid")
    page.goto("/")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hasRun = true";
            document.body.append(script);
            const link = document.createElement("img");
            link.setAttribute("onerror", "window.hasRun = true");
            link.src = "https://elsewhere.invalid/x.png";
            document.body.append(link);
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.hasRun") is None
    assert any("Content Security Policy" in message for message in watch.seen)
