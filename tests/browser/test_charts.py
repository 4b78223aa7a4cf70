"""The charts of a run: drawing, zooming, downloads."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Request, expect

from app.clock import isoformat, utc_now
from tools.browser.demo import DAY, GAPS, LIVE, LONG, LONG_UPDATES, NIGHTS, push
from tools.browser.views import job_path, open_view, wait_ready
from tools.hub_process import HubProcess

GESTURE_MS = 800  # longer than zooms may be apart to be one for "back"
PNG = b"\x89PNG\r\n\x1a\n"
# How many of the line's pixels there are in the columns of a chart from `from` to `to` (shares of
# the plot, which lies between the margins of charts/speed.js).
LINE_PIXELS = """([from, to]) => {
    const canvas = document.querySelector(".chart-tall canvas");
    const pen = new OffscreenCanvas(canvas.width, canvas.height)
        .getContext("2d", {willReadFrequently: true});
    pen.drawImage(canvas, 0, 0);
    const [left, right] = [52, canvas.width - 44];
    const x = (share) => Math.round(left + share * (right - left));
    const {data} = pen.getImageData(x(from), 60, x(to) - x(from), canvas.height - 110);
    const line = getComputedStyle(document.documentElement).getPropertyValue("--chart-1").trim();
    const colour = [1, 3, 5].map((at) => Number.parseInt(line.slice(at, at + 2), 16));
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        count += Math.max(...colour.map((part, of) => Math.abs(part - data[i + of]))) < 10;
    }
    return count;
}"""


def test_gaps_show_their_reason(page: Page, hub: HubProcess) -> None:
    """The line is interrupted by gaps at 20, 60 and 90 minutes."""
    open_view(page, "performance")
    table = page.get_by_role("table", name="Gaps without updates")
    expect(table.locator("tbody tr")).to_contain_text(
        ["silence", "hub unavailable", "sender lost updates"]
    )
    expect(page.locator(".chart-tall .chart-canvas")).to_have_attribute(
        "aria-label", re.compile("3 gaps")
    )
    length = hub.request("GET", f"/api/v1/jobs/{GAPS}")[2]["duration_seconds"] / 60
    for start, end in ((20, 26), (60, 68), (90, 95)):
        assert page.evaluate(LINE_PIXELS, [(start + 1) / length, (end - 1) / length]) == 0
        assert page.evaluate(LINE_PIXELS, [(start - 5) / length, (start - 1) / length]) > 50


def test_phases_are_listed_with_their_bytes(page: Page) -> None:
    open_view(page, "performance")
    table = page.get_by_role("table", name="Phases of the run")
    expect(table.locator("tbody tr").first).to_contain_text("snapshot")
    expect(table.locator("tbody tr").nth(1)).to_contain_text(re.compile(r"transferring.*TiB", re.S))


def test_the_last_point_of_a_live_run_is_marked_as_unfinished(page: Page, hub: HubProcess) -> None:
    body = {"status": "running", "timestamp": isoformat(utc_now()), "transfer_speed_bps": 10**8}
    hub.request("POST", f"/api/v1/telemetry/backup/{LIVE}", body)
    page.goto(job_path(LIVE, "?tab=performance&points=10"))
    wait_ready(page, 2)
    expect(page.locator(".chart-source")).to_contain_text("the last point (hollow) is incomplete")


def test_zooming_requests_finer_data(page: Page) -> None:
    page.goto(job_path(DAY, "?tab=performance"))
    wait_ready(page, 2)
    source = page.locator(".chart-source")
    coarse = source.inner_text()
    assert "one point per 2 min" in coarse
    box = page.locator(".chart-tall .chart-canvas").bounding_box()
    assert box is not None
    with page.expect_request(re.compile("/telemetry/history/.*from=")) as request:
        page.mouse.move(box["x"] + 400, box["y"] + 150)
        page.mouse.down()
        page.mouse.move(box["x"] + 440, box["y"] + 150, steps=4)
        page.mouse.up()
    window = parse_qs(urlsplit(request.value.url).query)
    assert window["from"] < window["to"]
    expect(source).not_to_have_text(coarse)
    expect(source).to_contain_text(re.compile("one point per update|one point per \\d+ s"))
    address = parse_qs(urlsplit(page.url).query)
    assert float(address["to"][0]) - float(address["from"][0]) < 10_000
    page.reload()
    wait_ready(page, 2)
    expect(source).to_contain_text("Source:")
    assert parse_qs(urlsplit(page.url).query) == address
    page.get_by_role("button", name="Whole run").click()
    expect(source).to_have_text(coarse)


def window(page: Page) -> list[str]:
    """The window of the chart in the address."""
    query = parse_qs(urlsplit(page.url).query)
    return [*query.get("from", []), *query.get("to", [])]


def test_back_undoes_a_zoom_and_keeps_the_view(page: Page) -> None:
    open_view(page, "overview")
    page.get_by_role("link", name=GAPS).first.click()
    page.get_by_role("tab", name="Performance").click()
    wait_ready(page, 2)
    source = page.locator(".chart-source")
    whole = source.inner_text()
    windows, texts = [window(page)], [whole]
    for name in ("Zoom in", "Earlier"):
        page.wait_for_timeout(GESTURE_MS)  # or both were one
        page.get_by_role("button", name=name).click()
        expect(source).not_to_have_text(texts[-1])
        windows.append(window(page))
        texts.append(source.inner_text())
    assert windows[0] == []
    assert windows[1] != windows[2]
    page.reload()
    wait_ready(page, 2)
    expect(source).to_have_text(texts[2])
    page.evaluate("document.querySelector('.chart-tall').isSame = true")
    for shown, text in ((windows[1], texts[1]), (windows[0], texts[0])):
        page.go_back()
        assert window(page) == shown
        expect(source).to_have_text(text)
    expect(page.get_by_role("button", name="Whole run")).to_be_disabled()
    page.go_forward()
    expect(source).to_have_text(texts[1])
    assert page.evaluate("document.querySelector('.chart-tall').isSame")
    page.go_back()
    page.go_back()
    expect(page.locator("main h1")).to_have_text("Jobs")


def test_back_undoes_a_whole_wheel_gesture(page: Page) -> None:
    open_view(page, "performance")
    box = page.locator(".chart-tall .chart-canvas").bounding_box()
    assert box is not None
    length = page.evaluate("history.length")
    page.mouse.move(box["x"] + 400, box["y"] + 150)
    page.keyboard.down("Control")
    seen = []
    for _ in range(4):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(50)
        seen.append(window(page))
    page.keyboard.up("Control")
    assert seen[0] != seen[-1] != []
    assert page.evaluate("history.length") == length + 1
    page.go_back()
    assert window(page) == []


def test_back_returns_to_the_tab_of_the_zoom(page: Page) -> None:
    open_view(page, "performance")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("tab", name="Details").click()
    expect(page.get_by_role("tabpanel", name="Details")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Performance")).to_be_visible()
    assert window(page) == []


def test_disks_are_requested_when_their_chart_is_opened(page: Page) -> None:
    requests: list[str] = []

    def note(request: Request) -> None:
        if "disk=" in request.url:
            requests.append(request.url)

    page.on("request", note)
    open_view(page, "performance")
    assert not requests
    page.locator("summary", has_text="Speed of each of the 2 disks").click()
    wait_ready(page, 3)
    assert [parse_qs(urlsplit(url).query)["disk"] for url in requests] == [["0"], ["1"]]
    expect(
        page.get_by_role(
            "img", name=re.compile("^Speed of 2 disks over .*disk 0 mean .*; disk 1 mean ")
        )
    ).to_be_visible()
    expect(page).to_have_url(re.compile("disks=all"))
    with page.expect_request(re.compile("disk=1.*from=|from=.*disk=1")):
        page.get_by_role("button", name="Zoom in").click()  # the chart follows the one above


def test_sixteen_of_many_disks_are_shown_and_others_can_be_selected(
    page: Page, hub: HubProcess
) -> None:
    now = utc_now()
    push(
        hub,
        [
            {
                "job_id": "many-disks",
                "job_type": "backup",
                "status": "running",
                "timestamp": isoformat(now - timedelta(seconds=5 * (20 - step))),
                "disks": [
                    {"disk_index": disk, "transfer_speed_bps": 10**7 * (disk + 1) + step}
                    for disk in range(18)
                ],
            }
            for step in range(20)
        ],
    )
    page.goto(job_path("many-disks", "?tab=performance&disks=all"))
    shown = page.get_by_role("group", name="Disks shown").get_by_role("button")
    expect(shown).to_have_text([f"Disk {disk}" for disk in range(16)])
    chart = page.get_by_role("img", name=re.compile("^Speed of .* disks? over"))
    expect(chart).to_have_attribute("aria-label", re.compile("disk 15 mean 153 MiB/s"))
    shown.nth(3).click()
    expect(chart).to_have_attribute("aria-label", re.compile("^Speed of 15 disks"))
    page.get_by_role("combobox", name="Another disk").select_option("Disk 17")
    expect(shown.nth(3)).to_have_text("Disk 17")
    expect(shown).to_have_count(16)
    expect(chart).to_have_attribute("aria-label", re.compile("disk 17 mean 172 MiB/s"))
    picture = "document.querySelector('.disk-speeds canvas').toDataURL()"
    before = page.evaluate(picture)
    for button in shown.all()[1:]:
        button.click()
    expect(chart).to_have_attribute("aria-label", re.compile("^Speed of 1 disk over"))
    page.wait_for_function(f"(before) => {picture} !== before", arg=before)
    shown.first.click()
    expect(page.get_by_text("All disks are hidden.")).to_be_visible()


def test_single_updates_have_no_range(page: Page) -> None:
    open_view(page, "performance")
    legend = page.get_by_role("group", name="Layers of the chart")
    expect(page.locator(".chart-source")).to_contain_text("one point per update")
    expect(legend.get_by_role("button", name="Lowest to highest")).to_have_count(0)
    page.goto(job_path(GAPS, "?tab=performance&points=10"))
    expect(legend.get_by_role("button", name="Lowest to highest")).to_be_visible()


def test_the_chart_of_one_disk(page: Page) -> None:
    open_view(page, "performance")
    with page.expect_response(re.compile("/telemetry/history/.*disk=1")) as answer:
        page.get_by_role("combobox", name="Disk").select_option("1")
    assert answer.value.ok
    expect(page).to_have_url(re.compile("disk=1"))


def test_layers_can_be_hidden(page: Page) -> None:
    page.goto(job_path(DAY, "?tab=performance"))
    wait_ready(page, 2)
    shown = page.get_by_role("group", name="Layers of the chart")
    for name in ("Lowest to highest", "Mean", "Progress", "Phases"):
        picture = page.evaluate("document.querySelector('.chart-tall canvas').toDataURL()")
        shown.get_by_role("button", name=name).click()
        expect(shown.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "false")
        page.wait_for_function(
            "(before) => document.querySelector('.chart-tall canvas').toDataURL() !== before",
            arg=picture,
        )


def test_the_chart_is_saved_as_png(page: Page, tmp_path: Path) -> None:
    open_view(page, "performance")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == f"speed-{GAPS}.png"
    download.value.save_as(tmp_path / "chart.png")
    picture = (tmp_path / "chart.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 10_000


def test_the_chart_is_saved_as_csv(page: Page, tmp_path: Path) -> None:
    open_view(page, "performance")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    download.value.save_as(tmp_path / "chart.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "chart.csv").read_text())))
    assert len(rows) > 900
    assert all(len(row) == len(rows[0]) for row in rows)


def test_every_chart_has_a_table(page: Page) -> None:
    for name in ("machine", "disks", "compare", "node"):
        open_view(page, name)
        charts = page.locator("[role=img].chart-canvas")
        disclosures = page.locator("figure summary:visible", has_text="Show as table")
        assert disclosures.count() == charts.count()
        for label in charts.evaluate_all("(all) => all.map((one) => one.ariaLabel)"):
            assert re.search(r"\d", label)
        for disclosure in disclosures.all():
            disclosure.click()
        assert page.locator("figure table tbody tr").count() >= charts.count()


def test_a_run_is_compared_with_earlier_runs(page: Page) -> None:
    open_view(page, "compare")
    expect(page.locator(".comparison")).to_contain_text(
        re.compile("After .* this run had moved .* usual")
    )
    table = page.get_by_role("table", name="This run and earlier runs")
    expect(table.locator("tbody tr")).to_have_count(len(NIGHTS) + 1)
    picture = "document.querySelector('.chart-tall canvas').toDataURL()"
    before = page.evaluate(picture)
    page.get_by_role("button", name="Progress").click()
    expect(page).to_have_url(re.compile("measure=progress"))
    page.wait_for_function(f"(before) => {picture} !== before", arg=before)


def test_a_donut_filters_the_runs_of_its_machine(page: Page) -> None:
    open_view(page, "machine")
    expect(page.locator(".kpis")).to_contain_text(re.compile("Success rate.*80.0 %", re.S))
    expect(page.locator(".run .error-block:visible").first).to_contain_text("read error at sector")
    page.locator(".donut-legend").get_by_role("button", name="failed").click()
    expect(page).to_have_url(re.compile("status=failed"))
    expect(page.locator(".run")).to_have_count(1)


def test_five_thousand_points_are_drawn_at_once(page: Page) -> None:
    """`bench/dashboard.py` has the limit of 200 ms; here the machine may be busy."""
    page.goto(job_path(LONG, "?tab=performance&points=5000"))
    wait_ready(page, 2)
    expect(page.locator(".chart-source")).to_contain_text(f"{LONG_UPDATES:,} points")
    drawn = page.locator(".chart-tall .chart-canvas").get_attribute("data-draw-milliseconds")
    assert drawn is not None
    assert float(drawn) < 10_000
