"""Every view, in both themes and in every width: what axe-core says, what can be read, what each
shows while it waits and when it fails.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.clock import isoformat
from tests.browser.conftest import NewPage, origin_of, watched_pages
from tools.browser.demo import (
    DAY,
    HOSTILE_IDS,
    IMAGE,
    OFFLINE_NODE,
    PENDING,
    STALLED,
    Demo,
    push,
    push_snapshots,
)
from tools.browser.views import CHARTS, VIEWS, job_path, open_view, wait_ready
from tools.browser.watch import Watch, visible_text
from tools.hub_process import HubProcess

# "null" and the like as words; "0 s" where it is not the end of "10 s".
NONSENSE = re.compile(
    r"\bNaN\b|\bundefined\b|\bnull\b|\bInfinity\b|\[object|(?<![\d.,])0(\.0)? s\b"
)
# What sticks out of the window where no box around it can be scrolled.
CUT_OFF = """() => [...document.querySelectorAll("body *")].filter((node) => {
    if (!node.checkVisibility() || node.getBoundingClientRect().right <= 321) return false;
    for (let box = node.parentElement; box; box = box.parentElement) {
        if (box.matches(".scroll-box") || getComputedStyle(box).clipPath !== "none") return false;
        if (getComputedStyle(box).clip !== "auto") return false;
    }
    return true;
}).map((node) => node.outerHTML.slice(0, 200))"""
FIRST_ASKED = {
    "overview": "**/api/v1/jobs**",
    "machines": "**/api/v1/machines*",
    "machine": "**/api/v1/jobs*",
    "job": "**/api/v1/jobs/*",
    "compare": "**/api/v1/jobs/*",
    "nights": "**/api/v1/series/nights*",
    "nodes": "**/api/v1/nodes*",
    "node": "**/api/v1/nodes/*",
}


def nonsense(page: Page) -> list[str]:
    text = visible_text(page)
    return [
        text[max(found.start() - 40, 0) : found.end() + 20] for found in NONSENSE.finditer(text)
    ]


@pytest.fixture(scope="module", params=VIEWS)
def view(
    request: pytest.FixtureRequest, browser: Browser, hub: HubProcess, demo: Demo
) -> Iterator[Page]:
    """A view, opened once for several tests."""
    with watched_pages(browser, Watch(origin_of(hub))) as new_page:
        page = new_page()
        open_view(page, request.param)
        yield page


def test_a_view_shows_no_invalid_value(view: Page) -> None:
    for summary in view.locator("main summary").all():
        if summary.is_visible():
            summary.click()
    assert not nonsense(view)


# A theme changes the colours and nothing else.
RULES = {
    "light": {},
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
}


@pytest.mark.parametrize("theme", RULES)
def test_axe_finds_no_violation(view: Page, axe: str, theme: str) -> None:
    view.evaluate(axe)
    view.locator("#theme").select_option(theme)
    options = {"resultTypes": ["violations"], **RULES[theme]}
    found = view.evaluate("(options) => axe.run(document, options)", options)
    assert not [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found["violations"]
    ]


def test_a_view_fits_into_320_pixels(view: Page) -> None:
    view.set_viewport_size({"width": 320, "height": 640})
    view.wait_for_timeout(100)  # a frame, for the charts
    assert view.evaluate("document.documentElement.scrollWidth") == 320
    assert not view.evaluate(CUT_OFF)


@pytest.mark.parametrize("job_id", [PENDING, STALLED, DAY, "bulk-00017", HOSTILE_IDS[0]])
def test_no_job_shows_an_invalid_value(page: Page, job_id: str) -> None:
    page.goto(job_path(job_id))
    wait_ready(page)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_load_state("networkidle")
        wait_ready(page)
        assert not nonsense(page), tab.inner_text()


def test_a_job_that_has_not_started_has_no_start(page: Page) -> None:
    page.goto(job_path(PENDING))
    wait_ready(page)
    facts = page.locator(".summary-facts")
    expect(facts).to_contain_text(re.compile(r"Phase\s*–.*Registered\s*\d{4}-", re.S))
    expect(facts).not_to_contain_text("Started")
    page.goto("/machines/winad01")
    wait_ready(page, 1)
    expect(page.locator(".run-kind")).to_contain_text(re.compile(r"^registered \d{4}-"))
    expect(page.get_by_text("No runs yet")).to_have_count(2)  # in the trends


@pytest.mark.parametrize("name", FIRST_ASKED)
def test_a_view_shows_that_it_loads(page: Page, name: str) -> None:
    held: list[Route] = []
    is_holding = True

    def hold(route: Route) -> None:
        if is_holding:
            held.append(route)
        else:
            route.continue_()

    page.route(FIRST_ASKED[name], hold)  # not unrouted below: that would release what is held
    page.goto(VIEWS[name])
    expect(page.locator("main .state-loading").first).to_be_visible()
    is_holding = False
    for route in held:
        route.continue_()
    wait_ready(page)


@pytest.mark.parametrize("name", FIRST_ASKED)
def test_a_view_that_fails_shows_why_and_can_be_retried(
    page: Page, watch: Watch, name: str
) -> None:
    watch.expect("status of 500")
    problem = {"type": "about:blank", "title": "It broke", "status": 500, "detail": "For a test."}
    page.route(FIRST_ASKED[name], lambda route: route.fulfill(status=500, json=problem))
    page.goto(VIEWS[name])
    expect(page.get_by_role("alert").first).to_contain_text("For a test.")
    page.unroute(FIRST_ASKED[name])
    page.get_by_role("button", name="Try again").first.click()
    wait_ready(page)
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/jobs/none-of-this-id", "Job not found"),
        ("/compare/none-of-this-id", "Job not found"),
        ("/machines/none-of-this-name", "No jobs for this machine"),
        ("/nodes/none-of-this-id", "Node not found"),
        ("/?machine=none-of-this-name", "No job matches these filters"),
        ("/machines?q=none-of-this-name", "No machine matches"),
        ("/nodes/" + IMAGE.replace("<", "%3C").replace(">", "%3E") + "?range=1h", "3.0 %"),
    ],
)
def test_a_view_without_data_explains_it(
    page: Page, watch: Watch, path: str, sentence: str
) -> None:
    watch.expect("status of 404")
    page.goto(path)
    expect(page.get_by_text(sentence).first).to_be_visible()


@pytest.mark.parametrize("name", ["overview", "compare"])
def test_an_unknown_choice_in_the_address_is_ignored(page: Page, name: str) -> None:
    """Also one that is a property of every object."""
    page.goto(VIEWS[name] + "?since=constructor&measure=constructor")
    wait_ready(page, CHARTS.get(name, 0))
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("path", ["/nothing", "/compare", "/a/b/c", "/jobs/a/b"])
def test_an_unknown_address_links_to_all_jobs(
    page: Page, watch: Watch, axe: str, path: str
) -> None:
    watch.expect("status of 404")
    page.goto(path)
    expect(page.get_by_text("There is no page at this address")).to_be_visible()
    expect(page).to_have_title("Not found – Telemetry Hub")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert not found["violations"]
    page.get_by_role("link", name="All jobs").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".job-row").first).to_be_visible()
    assert urlsplit(page.url).path == "/"


def test_jobs_without_an_id_is_the_overview(page: Page) -> None:
    page.goto("/jobs?status=failed")
    wait_ready(page)
    expect(page.locator("main h1")).to_have_text("Jobs")
    expect(page.locator(".job-row .badge").first).to_have_text("failed")
    expect(page.get_by_role("navigation").get_by_role("link", name="Jobs")).to_have_attribute(
        "aria-current", "page"
    )


def test_reduced_motion_is_respected(new_page: NewPage) -> None:
    page = new_page(reduced_motion="reduce")
    open_view(page, "overview")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((node) => {
            const style = getComputedStyle(node);
            return parseFloat(style.transitionDuration) > 0.01
                || (style.animationName !== "none" && parseFloat(style.animationDuration) > 0.01);
        }).length"""
    )
    assert moving == 0


# What a page of A4 shows of a view that has been drawn for a wide screen.
ON_PAPER = """() => {
    const paper = document.documentElement.clientWidth;
    const inside = (node) => {
        const [box, card] = [node, node.closest(".card")].map((it) => it.getBoundingClientRect());
        return box.height > 50 && box.right <= paper && box.bottom <= card.bottom;
    };
    return {
        charts: [...document.querySelectorAll("canvas")].map(inside),
        splits: [...document.querySelectorAll(".job-table, .run-list")]
            .every((it) => getComputedStyle(it).breakInside === "auto"),
        blank: [...document.querySelectorAll(".page-of-rows:empty")]
            .filter((it) => it.offsetHeight).length,
    };
}"""


@pytest.mark.parametrize(("name", "charts"), [("machine", 3), ("node", 6), ("overview", 0)])
def test_a_view_is_printed_without_cut_charts_or_empty_pages(
    page: Page, name: str, charts: int
) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    open_view(page, name)
    if name == "overview":
        page.evaluate("scrollTo(0, 1e6)")  # the pages of rows above become empty boxes
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = page.evaluate(ON_PAPER)
    page.emulate_media(media="screen")
    assert shown == {"charts": [True] * charts, "splits": True, "blank": 0}


def test_a_window_of_1024_pixels_has_room_for_the_jobs(page: Page) -> None:
    page.set_viewport_size({"width": 1024, "height": 800})
    page.goto("/?from=2026-01-01T00:00:00Z")
    wait_ready(page)
    boxes = {
        name: page.locator(name).first.bounding_box()
        for name in (".job-name", ".filter-custom label:first-child",
                     ".filter-custom label:nth-child(2)", ".filter-custom input")
    }  # fmt: skip
    name, start, end, field = (box for box in boxes.values() if box is not None)
    assert name["width"] >= 200
    assert start["x"] + start["width"] <= end["x"]
    assert field["width"] <= start["width"]
    # No cell is wider than its column.
    assert not page.evaluate(
        """() => [...document.querySelectorAll(".job-cell")]
            .filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.textContent)"""
    )


def test_the_time_zone_is_named(page: Page) -> None:
    page.goto("/?from=2026-01-01T00:00:00Z")
    wait_ready(page)
    zone = re.compile(r"Asia/(Kolkata|Calcutta) \(UTC\+05:30\)")  # browsers know either name
    for place in (".site-header .zone", ".filter-custom", ".site-footer"):
        expect(page.locator(place)).to_contain_text(zone)


def test_limits_and_missing_data_of_nodes_are_seen(page: Page, hub: HubProcess) -> None:
    now = time.time()
    items = [
        {"node_id": "node-limits", "timestamp": isoformat(datetime.fromtimestamp(now - age, UTC)),
         "cpu_percent": 99.0, "disk_percent": 97.0, "memory_percent": 95.5}
        for age in (120, 60, 0)
    ]  # fmt: skip
    push_snapshots(hub, items)
    page.goto("/nodes/node-limits")
    wait_ready(page, 3)
    cards = page.locator(".kpi-value")
    expect(cards.nth(0)).to_have_text("99.0 %")
    expect(cards.nth(1)).to_have_text("warning: 95.5 %")
    expect(cards.nth(2)).to_have_text("critical: 97.0 %")
    expect(page.locator("figure", has_text="Load average")).to_contain_text(
        "The node reported no values in the last hour."
    )
    page.goto("/nodes")
    row = page.locator(".node-row", has_text="node-limits")
    expect(row.locator(".node-metric").nth(2)).to_contain_text("critical: 97.0 %")
    offline = page.locator(".node-row", has_text=OFFLINE_NODE)
    colours = []
    for each in (row, offline):
        expect(each.locator(".spark-line").first).to_be_attached()
        colours.append(
            each.locator(".node-metric").first.evaluate(
                """(cell) => [".num", ".spark-line"].map((it) => {
                    const style = getComputedStyle(cell.querySelector(it));
                    return it === ".num" ? style.color : style.stroke; })"""
            )
        )
    assert colours[0][0] != colours[1][0]
    assert colours[0][1] != colours[1][1]


def test_a_machine_with_a_slash_in_its_name_has_a_page(page: Page) -> None:
    for path in ("/machines/no/such machine", "/machines/no%2Fsuch%20machine"):
        page.goto(path)
        expect(page.locator("main h1")).to_have_text("no/such machine")
        expect(page.get_by_text("No jobs for this machine")).to_be_visible()


def test_a_slow_line_shows_at_once_that_the_page_loads(page: Page) -> None:
    held: list[Route] = []
    is_slow = True

    def hold(route: Route) -> None:
        if is_slow:
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile(r"/(?!theme)[^/]+\.js$"), hold)  # the theme is set before all else
    page.goto("/", wait_until="commit")
    expect(page.get_by_text("Loading …")).to_be_visible()
    is_slow = False
    for route in held:
        route.continue_()
    wait_ready(page)


def test_all_machines_are_listed(page: Page) -> None:
    """Those beyond the first page of the API, and drawn when their place comes near."""
    names = [f"machine-{number:04}" for number in range(1200)]
    job = {"job_id": "j", "run": 1, "runs": 1, "job_type": "backup", "status": "completed",
           "result": "good", "started_at": "2026-11-01T00:00:00Z", "completed_at": None,
           "bytes_transferred": 1, "duration_seconds": 1.0, "error_message": None}  # fmt: skip
    counts = {"by_status": {"completed": 1}, "by_result": {"good": 1, "warning": 0}}

    def answer(route: Route) -> None:
        start = int(parse_qs(urlsplit(route.request.url).query).get("cursor", ["0"])[0])
        items = [{"vm_name": name, "jobs": 1, "last_job": job, **counts}
                 for name in names[start : start + 500]]  # fmt: skip
        following = str(start + 500) if start + 500 < len(names) else None
        route.fulfill(json={"items": items, "next_cursor": following})

    page.route("**/api/v1/machines?*", answer)
    page.goto("/machines")
    expect(page.get_by_text("1,200 machines")).to_be_visible()
    assert page.locator(".machine").count() < 1200
    last = page.get_by_role("link", name=names[-1])
    for _ in range(10):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(100)
        if last.count():
            break
    expect(last).to_be_visible()


def test_a_name_of_blanks_can_be_read_and_clicked(page: Page, hub: HubProcess) -> None:
    blanks = "\u3164\u3164"  # a letter without a shape
    push(hub, [{"job_id": blanks, "job_type": "backup", "status": "completed", "vm_name": "   ",
                "timestamp": isoformat(datetime.now(UTC))}])  # fmt: skip
    page.goto("/?machine=%20%20%20")
    page.get_by_role("link", name="␣␣", exact=True).click()
    expect(page.locator("main h1")).to_have_text("␣␣")
    page.locator(".job-facts").get_by_role("link", name="␣␣␣", exact=True).click()
    expect(page.locator("main h1")).to_have_text("␣␣␣")
    expect(page.locator(".run-name a")).to_have_text("␣␣")


def test_times_are_in_the_users_zone_with_utc_on_hover(page: Page) -> None:
    open_view(page, "details")
    shown = page.locator(".field-group time[datetime]").first
    instant = shown.get_attribute("datetime")
    assert instant is not None
    local = page.evaluate(
        """(text) => new Intl.DateTimeFormat("sv", {timeZone: "Asia/Kolkata",
            dateStyle: "short", timeStyle: "medium"}).format(new Date(text))""",
        instant,
    )
    assert shown.inner_text() == local
    assert shown.get_attribute("title") == instant[:19].replace("T", " ") + " UTC"


def test_the_theme_is_stored_and_follows_the_system(new_page: NewPage) -> None:
    page = new_page(color_scheme="dark")
    page.goto("/")
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.locator("#theme").select_option("light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    page.locator("#theme").select_option("auto")
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")


def test_a_whole_run_is_printed_in_light_colours(new_page: NewPage) -> None:
    page = new_page(color_scheme="dark")
    page.add_init_script("window.print = () => { window.isPrinted = true; }")
    open_view(page, "performance")
    page.get_by_role("button", name="Print").click()
    page.wait_for_function("() => window.isPrinted")
    page.emulate_media(media="print")
    shown = {
        name: page.locator(name).first.is_visible()
        for name in (".summary", ".performance", ".details")
    }
    assert all(shown.values()), shown
    for gone in (".site-header", ".tab-list", ".chart-controls", ".site-footer a"):
        expect(page.locator(gone).first).not_to_be_visible()
    expect(page.locator(".site-footer")).to_contain_text("Times are in Asia/")
    colours = page.evaluate(
        """["html", "h1"].map((name) => getComputedStyle(document.querySelector(name)))
            .map((style, index) => (index ? style.color : style.backgroundColor))"""
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(26, 31, 39)"]
    assert len(page.pdf(format="A4")) > 20_000
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator(".summary")).not_to_be_visible()


def test_navigation_without_a_reload_sets_title_and_focus(page: Page) -> None:
    open_view(page, "overview")
    page.evaluate("window.isSame = true")
    for name in ("Machines", "Nodes", "Jobs"):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        wait_ready(page)
        heading = page.locator("main h1")
        expect(heading).to_have_text(name)
        expect(heading).to_be_focused()
        expect(page).to_have_title(re.compile(rf"(\(\d+\) )?{name} – Telemetry Hub"))
    page.go_back()
    expect(page.locator("main h1")).to_have_text("Nodes")
    page.go_forward()
    expect(page.locator("main h1")).to_have_text("Jobs")
    assert page.evaluate("window.isSame")


def test_the_page_links_are_the_same_in_every_view(page: Page) -> None:
    """They are relative in the HTML, and a view can be one level deeper."""
    open_view(page, "overview")
    links = """() => [...document.querySelectorAll("header a, header form, footer a")]
        .map((node) => node.href ?? node.action)"""
    before = page.evaluate(links)
    assert any(address.endswith("/machines") for address in before)
    page.locator(".job-link").first.click()
    expect(page.get_by_role("tablist")).to_be_visible()
    assert page.evaluate(links) == before
    page.get_by_role("navigation").get_by_role("link", name="Machines").click()
    expect(page.locator("main h1")).to_have_text("Machines")


def test_the_browsers_clock_is_not_used(new_page: NewPage) -> None:
    """The age of an update is by the hub's clock, also in a browser that is a day ahead."""
    page = new_page()
    page.clock.install(time=time.time() + 86_400)
    open_view(page, "job")
    page.clock.run_for(1500)
    age = page.locator(".summary time[data-tick=age]").first
    assert re.fullmatch(r"< 1 s ago|(\d+ min )?\d+ (s|min) ago", age.inner_text())
