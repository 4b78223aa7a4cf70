"""Jobs whose id is used again: which run a row or a page is about."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Request, Route, expect

from app.clock import isoformat, utc_now
from tests.browser.conftest import NewPage
from tools.browser.demo import LIVE, NIGHTLY, NIGHTLY_RUNS, NIGHTS
from tools.browser.views import job_path, wait_ready
from tools.browser.watch import Watch
from tools.hub_process import HubProcess

FOLLOWED_WITHIN_MS = 30_000
SECOND = f"{NIGHTLY} · run 2"
IS_WITHIN_LINK = """(node) => {
    const [inner, outer] = [node, node.closest("a")].map((one) => one.getBoundingClientRect());
    return inner.width > 0 && inner.right <= outer.right + 1 && inner.bottom <= outer.bottom + 1;
}"""


def open_path(page: Page, path: str, charts: int = 0) -> None:
    page.goto(path)
    wait_ready(page, charts)


def begin_run(hub: HubProcess, job_id: str, minutes_ago: float, **fields: object) -> None:
    at = isoformat(utc_now() - timedelta(minutes=minutes_ago))
    assert hub.push(job_id, timestamp=at, new_run=True, **fields) == 200


@pytest.fixture
def runs_asked_for(page: Page) -> list[tuple[str, list[str]]]:
    """Path and `run` of the requests about the nightly job, as they are made."""
    asked: list[tuple[str, list[str]]] = []

    def note(request: Request) -> None:
        url = urlsplit(request.url)
        if f"/{NIGHTLY}" in url.path and "/api/" in url.path:
            path = url.path.removeprefix("/api/v1").replace(f"/{NIGHTLY}", "")
            asked.append((path, parse_qs(url.query).get("run", [])))

    page.on("request", note)
    return asked


@pytest.mark.parametrize("path", ["/?machine=web02", "/machines/web02"])
def test_a_list_leads_to_the_run_of_each_row(page: Page, path: str) -> None:
    open_path(page, path)
    names = [f"{NIGHTLY} · run {number}" for number in range(NIGHTLY_RUNS, 0, -1)]
    links = page.locator(".job-link, .run-name > a")
    expect(links).to_have_text(names)
    for name, status in zip(names, ("completed", "failed", "completed"), strict=True):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_url(re.compile(rf"/jobs/{NIGHTLY}\?run={name[-1]}$"))
        wait_ready(page)
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page).to_have_title(f"{name} – Telemetry Hub")
        expect(page.locator(".job-title .badge")).to_have_text(status)
        page.go_back()
        wait_ready(page)


def test_the_only_run_of_a_job_has_the_plain_address(page: Page) -> None:
    open_path(page, "/machines/fileserver")
    link = page.get_by_role("link", name=NIGHTS[-1], exact=True)
    expect(link).to_have_attribute("href", f"/jobs/{NIGHTS[-1]}")
    compare = page.get_by_role("link", name=f"Compare {NIGHTS[-1]} with earlier runs")
    expect(compare).to_have_attribute("href", f"/compare/{NIGHTS[-1]}")
    link.click()
    wait_ready(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(NIGHTS[-1])
    expect(page.get_by_role("combobox", name="Run", exact=True)).to_have_count(0)


def test_a_long_id_does_not_hide_the_run(page: Page, hub: HubProcess) -> None:
    long_id = "nightly-backup-of-" + "a-cluster-" * 20
    begin_run(hub, long_id, 60, status="completed", vm_name="machine-of-long")
    begin_run(hub, long_id, 30, status="completed")
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 640})
        open_path(page, "/?machine=machine-of-long")
        for number in (1, 2):
            text = page.locator(".job-link .run-number", has_text=f"run {number}")
            assert text.evaluate(IS_WITHIN_LINK)


def test_a_machine_counts_its_runs(page: Page) -> None:
    open_path(page, "/machines/web02", 3)
    expect(
        page.get_by_role("img", name=re.compile("Runs by status: 2 completed, 1 failed"))
    ).to_be_visible()
    open_path(page, "/machines?q=web02")
    expect(page.locator(".machine-counts")).to_have_text("3 runs: 2 completed, 1 failed")


def test_rows_name_their_run_to_screen_readers(page: Page) -> None:
    open_path(page, "/machines/web02")
    compare = page.get_by_role("link", name=f"Compare {SECOND} with earlier runs")
    expect(compare).to_have_attribute("href", f"/compare/{NIGHTLY}?run=2")
    open_path(page, "/?machine=web02&status=failed")
    expect(page.get_by_role("progressbar", name=f"Progress of {SECOND}")).to_be_visible()


def test_the_jobs_own_address_shows_the_newest_run(page: Page) -> None:
    open_path(page, "/")
    page.get_by_role("searchbox", name="Job id").fill(NIGHTLY)
    page.get_by_role("button", name="Find job").click()
    expect(page).to_have_url(re.compile(f"/jobs/{NIGHTLY}$"))
    wait_ready(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NIGHTLY} · run {NIGHTLY_RUNS}")
    expect(page.locator(".job-facts")).to_contain_text(f"newest of {NIGHTLY_RUNS} runs")


def test_another_run_is_selected_by_keyboard(page: Page) -> None:
    open_path(page, job_path(NIGHTLY, "?tab=performance"), 2)
    field = page.get_by_role("combobox", name="Run", exact=True)
    expect(field).to_have_value(f"run {NIGHTLY_RUNS}")
    field.focus()
    field.press("ArrowDown")
    options = page.get_by_role("listbox", name="Run").get_by_role("option")
    expect(options).to_have_text(
        [
            re.compile(rf"run {number}{status} · .* · .*iB")
            for number, status in ((3, "completed"), (2, "failed"), (1, "completed"))
        ]
    )
    field.press("ArrowDown")
    field.press("Enter")
    expect(page).to_have_url(re.compile(rf"/jobs/{NIGHTLY}\?run=2&tab=performance$"))
    wait_ready(page, 2)
    expect(page.get_by_role("heading", level=1)).to_have_text(SECOND)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NIGHTLY} · run {NIGHTLY_RUNS}")
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text(SECOND)
    page.get_by_role("link", name="show the newest").click()
    expect(page).to_have_url(re.compile(f"/jobs/{NIGHTLY}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NIGHTLY} · run {NIGHTLY_RUNS}")


def test_a_job_is_offered_once_among_those_of_its_machine(page: Page) -> None:
    open_path(page, job_path(NIGHTLY, "?run=2"))
    field = page.get_by_role("combobox", name="Job", exact=True)
    expect(field).to_have_value(NIGHTLY)
    field.focus()
    field.press("ArrowDown")
    expect(page.get_by_role("listbox", name="Job").get_by_role("option")).to_have_count(1)


def test_a_page_requests_and_links_the_run_that_it_shows(
    page: Page, runs_asked_for: list[tuple[str, list[str]]]
) -> None:
    open_path(page, job_path(NIGHTLY, "?run=2&tab=performance&disks=all"), 3)
    csv = page.get_by_role("link", name="Save as CSV").get_attribute("href")
    assert csv is not None
    assert parse_qs(urlsplit(csv).query)["run"] == ["2"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == f"speed-{NIGHTLY}-run_2.png"
    page.get_by_role("tab", name="Details").click()
    wait_ready(page)
    expect(page.locator(".event-list")).to_contain_text("failed")
    links = page.locator(".raw-links a")
    expect(links).to_have_count(3)
    for link in links.all():
        assert parse_qs(urlsplit(str(link.get_attribute("href"))).query)["run"] == ["2"]
    expect(page.get_by_role("link", name="Compare")).to_have_attribute(
        "href", f"/compare/{NIGHTLY}?run=2"
    )
    assert {path for path, _ in runs_asked_for} == {"/jobs", "/jobs/events", "/telemetry/history"}
    assert {tuple(run) for _, run in runs_asked_for} == {("2",)}


def test_the_newest_run_is_named_in_requests_of_its_data(
    page: Page, runs_asked_for: list[tuple[str, list[str]]]
) -> None:
    """Otherwise a chart could be of a run that began since the job was read."""
    open_path(page, job_path(NIGHTLY, "?tab=performance"), 2)
    assert {tuple(run) for path, run in runs_asked_for if path == "/jobs"} == {()}
    assert {tuple(run) for path, run in runs_asked_for if path != "/jobs"} == {("3",)}


def test_a_newer_run_is_followed_at_the_jobs_own_address_only(
    new_page: NewPage, hub: HubProcess
) -> None:
    begin_run(hub, "again", 90, bytes_transferred=1)
    begin_run(hub, "again", 60, bytes_transferred=2)
    newest, second = new_page(), new_page()
    open_path(newest, "/jobs/again?tab=performance&from=10&to=20")
    open_path(second, "/jobs/again?run=2")
    begin_run(hub, "again", 30, bytes_transferred=3)
    heading = newest.get_by_role("heading", level=1)
    expect(heading).to_have_text("again · run 3", timeout=FOLLOWED_WITHIN_MS)
    expect(newest).to_have_title("again · run 3 – Telemetry Hub")
    expect(newest).to_have_url(re.compile(r"/jobs/again\?tab=performance$"))
    expect(newest.locator(".job-facts")).to_contain_text("newest of 3 runs")
    expect(second.locator(".job-facts")).to_contain_text(
        "one of 3 runs, show the newest", timeout=FOLLOWED_WITHIN_MS
    )
    expect(second.get_by_role("heading", level=1)).to_have_text("again · run 2")
    assert hub.push("again", status="completed") == 200


def test_the_page_of_an_only_run_stays_with_it(page: Page, hub: HubProcess) -> None:
    begin_run(hub, "reused", 60, vm_name="machine-of-reused", error="of the first run")
    open_path(page, "/machines/machine-of-reused")
    page.get_by_role("link", name="reused", exact=True).click()
    wait_ready(page)
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("reused")
    expect(page.get_by_text("of the first run")).to_be_visible()  # it has been read
    begin_run(hub, "reused", 30)
    expect(heading).to_have_text("reused · run 1", timeout=FOLLOWED_WITHIN_MS)
    expect(page).to_have_title("reused · run 1 – Telemetry Hub")
    expect(page).to_have_url(re.compile(r"/jobs/reused\?run=1$"))
    expect(page.get_by_text("of the first run")).to_be_visible()
    expect(page.get_by_role("combobox", name="Run", exact=True)).to_have_value("run 1")
    open_path(page, "/machines/machine-of-reused")
    assert hub.push("reused", status="completed") == 200


def test_a_row_learns_that_its_job_has_another_run(page: Page, hub: HubProcess) -> None:
    begin_run(hub, "listed", 60, vm_name="machine-of-listed")
    open_path(page, "/machines/machine-of-listed")
    link = page.locator(".run-name > a").last
    expect(link).to_have_attribute("href", "/jobs/listed")
    begin_run(hub, "listed", 30)
    expect(link).to_have_text("listed · run 1", timeout=FOLLOWED_WITHIN_MS)
    expect(link).to_have_attribute("href", "/jobs/listed?run=1")
    assert hub.push("listed", status="completed") == 200


def test_a_run_is_compared_with_the_earlier_runs_of_its_job(page: Page) -> None:
    open_path(page, f"/compare/{NIGHTLY}?run=2", 3)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Compare {SECOND}")
    expect(page).to_have_title(f"Compare {SECOND} – Telemetry Hub")
    table = page.get_by_role("table", name="This run and earlier runs")
    links = table.get_by_role("link")
    expect(links).to_have_text([SECOND, f"{NIGHTLY} · run 1"])
    expect(links.last).to_have_attribute("href", f"/jobs/{NIGHTLY}?run=1")
    expect(page.locator(".compare-legend li")).to_have_count(2)
    page.get_by_role("link", name="This run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(SECOND)


def test_runs_without_a_machine_are_compared(page: Page, hub: HubProcess) -> None:
    begin_run(hub, "nameless", 60, status="completed", bytes_transferred=10)
    begin_run(hub, "nameless", 30, status="completed", bytes_transferred=20)
    open_path(page, "/compare/nameless")
    table = page.get_by_role("table", name="This run and earlier runs")
    expect(table.get_by_role("link")).to_have_text(["nameless · run 2", "nameless · run 1"])


@pytest.mark.parametrize("view", ["jobs", "compare"])
def test_an_invalid_run_in_the_address_is_ignored(page: Page, view: str) -> None:
    for run in ("", "0", "-1", "x", "1.5", "9" * 30):
        open_path(page, f"/{view}/{NIGHTLY}?run={run}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"run {NIGHTLY_RUNS}")


@pytest.mark.parametrize("view", ["jobs", "compare"])
def test_an_unknown_run_links_to_the_newest(page: Page, watch: Watch, view: str) -> None:
    watch.expect("status of 404")
    open_path(page, f"/{view}/{NIGHTLY}?run=99")
    expect(page.locator(".state-empty")).to_contain_text(f"The job '{NIGHTLY}' has no run 99.")
    page.get_by_role("link", name="Newest run").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{NIGHTLY} · run 3")


def test_an_unknown_total_is_not_shown_as_a_number(page: Page) -> None:
    def without_totals(route: Route) -> None:
        answer = route.fetch()
        text = re.sub(r'"total_bytes": ?\d+', '"total_bytes":null', answer.text())
        text = re.sub(r'"size_bytes": ?\d+', '"size_bytes":null', text)
        json.loads(text)
        route.fulfill(response=answer, body=text)

    page.route("**/api/v1/jobs**", without_totals)
    page.route("**/api/v1/jobs/**", without_totals)
    open_path(page, "/?machine=fileserver")
    row = page.locator(".job-row", has=page.get_by_role("link", name=LIVE, exact=True))
    expect(row.locator(".job-moved")).to_have_text(re.compile(r"^\w+ · [\d.]+ [KMGT]iB$"))
    open_path(page, job_path(LIVE))
    expect(page.locator(".kpi", has_text="Moved")).to_contain_text("total unknown")
    expect(page.locator(".disk-figures").first).to_have_text(
        re.compile(r"^[\d.]+ [KMGT]iB( · [\d.]+ [KMGT]iB/s)?$")
    )
    page.get_by_role("tab", name="Details").click()
    expect(page.locator(".field-groups")).to_contain_text("total_bytes")
    fields = page.locator(".field-groups div", has=page.get_by_text("total_bytes", exact=True))
    expect(fields.last).to_have_text("total_bytes–")
    page.unroute_all(behavior="ignoreErrors")
