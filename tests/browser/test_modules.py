"""Single modules in the browser: numbers as text, and the data of charts.

Each row is a call and its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import origin_of, watched_pages
from tools.browser.watch import Watch
from tools.hub_process import HubProcess

KIB = 1024
DAY = 86_400


@pytest.fixture(scope="module")
def blank(browser: Browser, hub: HubProcess) -> Iterator[Page]:
    """A page of the hub, whose content security policy applies."""
    with watched_pages(browser, Watch(origin_of(hub))) as new_page:
        page = new_page()
        page.goto("/nodes")
        yield page


def call(page: Page, module: str, name: str, *arguments: Any) -> Any:
    return page.evaluate(
        """async ([module, name, args]) => {
            const found = (await import(`/static/dashboard/${module}`))[name];
            return found(...args.map((one) => (one === "NaN" ? NaN : one)));
        }""",
        [module, name, arguments],
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("bytes", 0, "0 B"),
        ("bytes", 1023, "1023 B"),
        ("bytes", KIB, "1.0 KiB"),
        ("bytes", 1023.96 * KIB, "1.0 MiB"),
        ("bytes", 1.5 * KIB**3, "1.5 GiB"),
        ("bytes", 99.96 * KIB, "100 KiB"),
        ("bytes", 2**63 - 1, "8.0 EiB"),
        ("bytes", -2048, "−2.0 KiB"),
        ("bytes", None, "–"),
        ("bytes", "NaN", "–"),
        ("bytes", "12", "–"),
        ("speed", 320 * KIB**2, "320 MiB/s"),
        ("speed", None, "–"),
        ("megabytesPerSecond", 1.5, "1.5 MiB/s"),
        ("megabytes", 1024, "1.0 GiB"),
        ("gigabytes", 1.5, "1.5 GiB"),
        ("duration", 0, "< 1 s"),
        ("duration", 0.999, "< 1 s"),
        ("duration", 4.24, "4.2 s"),
        ("duration", 9.96, "10 s"),
        ("duration", 59.99, "1 min 00 s"),
        ("duration", 60, "1 min 00 s"),
        ("duration", 725, "12 min 05 s"),
        ("duration", 3599.4, "59 min 59 s"),
        ("duration", 3599.9, "1 h 00 min"),
        ("duration", 3720, "1 h 02 min"),
        ("duration", 3 * DAY + 4 * 3600, "3 d 04 h"),
        ("duration", 3 * DAY - 1, "3 d 00 h"),
        ("duration", DAY - 31, "23 h 59 min"),
        ("duration", DAY - 29, "1 d 00 h"),
        ("duration", -1, "–"),
        ("duration", "NaN", "–"),
        ("duration", None, "–"),
        ("percent", 0, "0 %"),
        ("percent", 42.55, "42.6 %"),
        ("percent", 0.04, "0 %"),
        ("percent", 99.99, "100 %"),
        ("percent", 100, "100 %"),
        ("percent", None, "–"),
        ("progressPercent", 42.59, "42.5 %"),
        ("progressPercent", 99.99, "99.9 %"),
        ("progressPercent", 100, "100 %"),
        ("progressPercent", None, "–"),
        ("visible", "nightly run", "nightly run"),
        ("visible", "   ", "␣␣␣"),
        ("visible", " a\u00a0", "␣a␣"),
        ("visible", "\u3164\u2800", "␣␣"),
        ("count", 10_000, "10,000"),
        ("count", "NaN", "–"),
        ("decimal", 1.257, "1.26"),
        ("time", "2026-11-22T05:22:10Z", "2026-11-22 10:52:10"),
        ("time", "2026-11-22T20:00:00Z", "2026-11-23 01:30:00"),
        ("time", "nonsense", "–"),
        ("time", None, "–"),
        ("day", "2026-11-22T20:00:00Z", "2026-11-23"),
        ("clock", "2026-11-22T05:22:10Z", "10:52:10"),
        ("utc", "2026-11-22T05:22:10.9Z", "2026-11-22 05:22:10 UTC"),
        ("utc", "", "–"),
    ],
)
def test_a_value_as_text(blank: Page, name: str, value: Any, text: str) -> None:
    assert call(blank, "lib/format.js", name, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "< 1 s ago"),
        (-3, "< 1 s ago"),
        (-30, "in 30 s"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (65, "1 min 05 s ago"),
        (119, "1 min 59 s ago"),
        (659, "10 min ago"),
        (7_199, "1 h 59 min ago"),
        (DAY - 1, "23 h ago"),
        (2 * DAY - 1, "1 d 23 h ago"),
        (3 * DAY - 1, "2 d 23 h ago"),
        (10 * DAY, "10 d ago"),
    ],
)
def test_an_age_as_text(blank: Page, seconds: float, text: str) -> None:
    result = blank.evaluate(
        """async (seconds) => {
            const {age} = await import("/static/dashboard/lib/format.js");
            const now = new Date("2026-01-01T00:00:00Z");
            return age(new Date(now.getTime() - seconds * 1000), now);
        }""",
        seconds,
    )
    assert result == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (2, 3, "66.7 %"),
        (1, 3, "33.3 %"),
        (0, 3, "0 %"),
        (3, 3, "100 %"),
        (9_999, 10_000, "99.9 %"),
        (1, 10_000, "0.1 %"),
        (0, 0, "–"),
    ],
)
def test_a_share_is_rounded(blank: Page, part: int, whole: int, text: str) -> None:
    assert call(blank, "lib/format.js", "share", part, whole) == text


@pytest.mark.parametrize(
    ("status", "result", "look"),
    [
        ("completed", "warning", "warning"),
        ("completed", "good", "completed"),
        ("completed", None, "completed"),
        ("running", "warning", "running"),  # of the time before it was revived
        ("failed", None, "failed"),
        ("transferring", None, "transferring"),
    ],
)
def test_how_a_run_looks(blank: Page, status: str, result: str | None, look: str) -> None:
    assert call(blank, "lib/looks.js", "lookOf", {"status": status, "result": result}) == look


@pytest.mark.parametrize(
    ("query", "look", "filters"),
    [
        ("result=warning", "warning", {"status": None, "result": "warning"}),
        ("status=completed&result=good", "completed", {"status": "completed", "result": "good"}),
        ("status=completed", "completed", {"status": "completed", "result": "good"}),
        ("status=failed", "failed", {"status": "failed", "result": None}),
        ("status=warning&result=bad", "warning", {"status": None, "result": "warning"}),
        ("status=constructor", None, {"status": None, "result": None}),
        ("", None, {"status": None, "result": None}),
    ],
)
def test_a_look_in_the_address(
    blank: Page, query: str, look: str | None, filters: dict[str, Any]
) -> None:
    found = blank.evaluate(
        """async (query) => {
            const {lookFilter, readLook} = await import("/static/dashboard/lib/looks.js");
            const look = readLook(new URLSearchParams(query));
            return [look, lookFilter(look)];
        }""",
        query,
    )
    assert found == [look, filters]


def test_only_completed_runs_have_a_result(blank: Page) -> None:
    statuses = ["running", "completed", "failed"]
    for chosen, result, selected in [
        ([], "", statuses),
        ([], "warning", ["completed"]),
        (["failed"], "", ["failed"]),
        (["failed"], "warning", []),
    ]:
        filters = {"status": chosen, "result": result}
        found = call(blank, "views/overview/requests.js", "selectedStatuses", filters, statuses)
        assert found == selected


NOTHING = dict.fromkeys(("job_id", "run", "node_id", "vm_name", "job_type", "repository_id"))


@pytest.mark.parametrize(
    ("item", "text", "href"),
    [
        ({"job_id": "a/b", "run": 1, "vm_name": "m"}, "a/b", "/jobs/a%2Fb?run=1"),
        ({"job_id": "nightly", "run": 3}, "nightly · run 3", "/jobs/nightly?run=3"),
        ({"node_id": "n"}, "n", "/nodes/n"),
        ({"vm_name": "m", "job_type": "backup"}, "m", "/machines/m"),
        ({"kind": "hub"}, "This hub", None),
    ],
)
def test_what_an_item_is_about(
    blank: Page, item: dict[str, Any], text: str, href: str | None
) -> None:
    given = {"kind": "failed", **NOTHING, **item}
    found = call(blank, "views/overview/attention.js", "subjectOf", given)
    assert found == {"text": text, "href": href}


@pytest.mark.parametrize(
    ("session", "may"),
    [
        ({"required": False, "by_cookie": False, "scope": None}, True),
        ({"required": True, "by_cookie": True, "scope": "read"}, False),
        ({"required": True, "by_cookie": True, "scope": "admin"}, False),
        ({"required": True, "by_cookie": False, "scope": "admin"}, True),
        ({"required": True, "by_cookie": False, "scope": "read"}, False),
    ],
)
def test_what_a_session_may_do(blank: Page, session: dict[str, Any], may: bool) -> None:
    assert call(blank, "lib/session.js", "mayChange", session) is may


def test_looks_differ_without_their_colours(blank: Page) -> None:
    """Each bar but a good one has the mark of its badge; each piece of the ring has a pattern."""
    marks, patterns = blank.evaluate(
        """async (runs) => {
            const {trendOption} = await import("/static/dashboard/charts/trend.js");
            const {donutOption} = await import("/static/dashboard/charts/donut.js");
            const {RUN_LOOKS} = await import("/static/dashboard/lib/looks.js");
            const theme = {look: {}, surface: "rgb(0, 0, 0)"};
            const [, looks] = trendOption(runs, {measure: "duration"}, theme).series;
            const byLook = Object.fromEntries(RUN_LOOKS.map((look) => [look, 1]));
            const [{data}] = donutOption(byLook, {selected: null}, theme).series;
            return [looks.data.map(({value, symbol}) => [value[0], symbol]),
                data.map(({itemStyle}) => JSON.stringify(itemStyle.decal ?? null))];
        }""",
        [
            a_run(1, status=status, result=result)
            for status, result in (("completed", "good"), ("completed", "warning"),
                                   ("failed", None), ("stalled", None), ("cancelled", None))
        ],
    )  # fmt: skip
    assert [index for index, _ in marks] == [1, 2, 3, 4]
    assert len({symbol for _, symbol in marks}) == 4
    assert len(set(patterns)) == len(patterns) == 7


STUCK = {
    "last_telemetry_at": "2026-11-21T01:20:00Z",
    "last_progress_at": "2026-11-21T01:10:00Z",
    "hub_eta": {"seconds": None, "basis": None, "reason": "Nothing has moved for 10 minutes."},
}


@pytest.mark.parametrize(
    ("changes", "cards"),
    [
        ({"status": "running"},
         [["1.0 KiB/s", "mean 17 B/s"], ["1 min 30 s", "at the present pace; 1 min 00 s to "
          "2 min 00 s; sender's estimate: 1 h 23 min"], ["1 min 00 s", "so far"]]),
        ({"status": "running", **STUCK},
         [["1.0 KiB/s", "mean 17 B/s"], ["–", "Nothing has moved for 10 minutes."],
          ["1 min 00 s", "so far"]]),
        ({"status": "stalled", "hub_eta": {"seconds": None, "basis": None, "reason": "Stalled."}},
         [["–", "last 1.0 KiB/s, mean 17 B/s"], ["–", "Stalled."],
          ["1 min 00 s", "until its last update"]]),
        ({"status": "pending", "duration_seconds": None, "hub_eta": None, "bytes_transferred": 0},
         [["–", ""], ["–", "not started"], ["–", "not started"]]),
    ],
)  # fmt: skip
def test_only_a_running_job_has_a_speed_and_a_time_left(
    blank: Page, changes: dict[str, Any], cards: list[list[str]]
) -> None:
    left = {"seconds": 90, "low": 60, "high": 120, "basis": "rate", "reason": None}
    given: dict[str, Any] = {"bytes_transferred": KIB, "total_bytes": 9 * KIB}
    given |= {"transfer_speed_bps": KIB, "eta_seconds": 5000, "hub_eta": left}
    found = call(blank, "views/job/summary.js", "summaryFigures", a_run(1, **{**given, **changes}))
    assert [list(card.values()) for card in found[1:]] == cards


@pytest.mark.parametrize(
    ("ends", "value", "note"),
    [
        (["good"] * 8 + ["warning", "failed"], "80.0 %",
         "8 good, 1 with a warning, of the last 10 runs that ended"),
        (["good", None, "failed"], "66.7 %", "2 good of the last 3 runs that ended"),
        (["good", "running"], "100 %", "1 good of one run that ended; 1 not ended"),
        (["running"], "–", "no run has ended yet; 1 not ended"),
    ],
)  # fmt: skip
def test_the_success_rate_counts_good_runs(
    blank: Page, ends: list[str | None], value: str, note: str
) -> None:
    runs = [
        a_run(1, status=end) if end in ("failed", "running") else a_run(1, result=end)
        for end in ends
    ]
    assert call(blank, "views/machine.js", "machineFigures", runs)[3] == {
        "value": value,
        "note": note,
    }


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("niceScale", [0], {"max": 1, "interval": 1}),
        ("niceScale", ["NaN"], {"max": 1, "interval": 1}),
        ("niceScale", [340], {"max": 400, "interval": 100}),
        ("niceScale", [99, 4], {"max": 100, "interval": 25}),
        ("byteUnit", [1023], {"factor": 1, "name": "B"}),
        ("byteUnit", [KIB**2], {"factor": KIB**2, "name": "MiB"}),
        ("secondsStep", [600, 5], 120),
        ("secondsStep", [7 * DAY, 7], DAY),
        ("multiples", [5, 25, 10], [10, 20]),
        ("multiples", [0, 20, 10], [0, 10, 20]),
        ("elapsed", [0], "0:00 min"),
        ("elapsed", [4.24], "4.2 s"),
        ("elapsed", [125], "2:05 min"),
        ("elapsed", [3723], "1:02:03 h"),
        ("elapsed", ["NaN"], "–"),
    ],
)
def test_an_axis_has_round_numbers(
    blank: Page, name: str, arguments: list[Any], result: Any
) -> None:
    assert call(blank, "charts/scale.js", name, *arguments) == result


def history(**changes: Any) -> dict[str, Any]:
    """A response of the hub in columns: a point every ten seconds, one gap, two phases."""
    t = [0, 10, 20, 110, 120, 130]
    given = {
        "started_at": "2026-01-01T00:00:00Z",
        "duration_seconds": 135,
        "resolution_seconds": 0,
        "last_point_unfinished": False,
        "gap_seconds": 60,
        "chart_data": {
            "t": t,
            "s": [100, None, 300, 200, 200, 0],
            "s_min": [50, None, 300, 200, 200, 0],
            "s_max": [900, None, 300, 200, 200, 0],
            "p": [0, 1, 2, 50, 51, 52],
            "b": [0, 10, 20, 30, 40, 50],
        },
        "gaps": [
            {"from": "2026-01-01T00:00:20Z", "to": "2026-01-01T00:01:50Z", "reason": "silence"}
        ],
        "phases": [
            {"phase": "copy", "from_t": 0, "to_t": 110, "seconds": 110, "bytes": 30},
            {"phase": "verify", "from_t": 110, "to_t": 135, "seconds": 25, "bytes": 20},
        ],
    }
    return {**given, **changes}


def series_of(page: Page, answer: dict[str, Any], **shown: bool) -> dict[str, Any]:
    """The data of each series of the speed chart, and the ends of its axes."""
    return dict(
        page.evaluate(
            """async ([answer, shown]) => {
                const {makeRun} = await import("/static/dashboard/charts/run.js");
                const {speedOption} = await import("/static/dashboard/charts/speed.js");
                const run = makeRun(answer);
                const layers = {band: true, mean: true, progress: true, phases: true, ...shown};
                const option = speedOption(
                    {run, window: {from: 0, to: run.end}, mean: 200, shown: layers},
                    {}, {width: 800});
                return {...Object.fromEntries(option.series.map(({name, data}) => [name, data])),
                    x: [option.xAxis.min, option.xAxis.max], top: option.yAxis[0].max};
            }""",
            [answer, shown],
        )
    )


def test_a_line_is_broken_at_gaps_and_missing_values(blank: Page) -> None:
    drawn = series_of(blank, history())
    assert drawn["speed"] == [
        [0, 100], [10, None], [20, 300], [110, None], [110, 200], [120, 200], [130, 0],
    ]  # fmt: skip
    assert drawn["gaps"] == [[20, 110]]
    assert drawn["phases"] == [[0, 110], [110, 135]]
    assert drawn["x"] == [0, 135]
    assert "band" not in drawn  # each update is a point


def test_points_without_neighbours_have_a_symbol(blank: Page) -> None:
    """No line is drawn to them: those beside a missing value, and those between two gaps."""
    assert series_of(blank, history())["isolated"] == [[0, 100], [20, 300]]
    lone = {"from": "2026-01-01T00:01:50Z", "to": "2026-01-01T00:02:00Z", "reason": "silence"}
    gaps = [*history()["gaps"], lone]
    assert [110, 200] in series_of(blank, history(gaps=gaps))["isolated"]


def test_a_line_is_broken_where_rows_are_further_apart_than_a_gap_is_long(blank: Page) -> None:
    slow: dict[str, Any] = {"gaps": [], "phases": []}
    assert [110, None] in series_of(blank, history(**slow))["speed"]
    assert [110, None] not in series_of(blank, history(gap_seconds=360, **slow))["speed"]


def test_a_run_ends_with_the_silence_of_its_job(blank: Page) -> None:
    silence = {"from": "2026-01-01T00:02:10Z", "to": "2026-01-01T00:05:00Z", "reason": "silence"}
    drawn = series_of(blank, history(gaps=[silence]))
    assert drawn["x"] == [0, 300]
    assert drawn["gaps"] == [[130, 300]]


def test_lone_points_are_seen_in_a_comparison(blank: Page) -> None:
    answer = history(gap_seconds=5, gaps=[], phases=[])
    series = blank.evaluate(
        """async (answer) => {
            const {makeRun} = await import("/static/dashboard/charts/run.js");
            const {compareOption} = await import("/static/dashboard/charts/compare.js");
            const runs = [{run: makeRun(answer), style: 0, job: {started_at: answer.started_at}}];
            const theme = {series: ["red"]};
            const option = compareOption(runs, "progress", theme, {width: 800});
            return option.series.map(({type, data}) => [type, data]);
        }""",
        answer,
    )
    assert ["scatter", [[0, 0], [10, 1], [20, 2], [110, 50], [120, 51], [130, 52]]] in series


def test_a_peak_within_a_step_is_in_band_and_axis(blank: Page) -> None:
    drawn = series_of(blank, history(resolution_seconds=10))
    assert drawn["band"] == [[115, 135]]
    assert drawn["top"] >= 900
    assert "band" not in series_of(blank, history(resolution_seconds=10), band=False)


def test_an_incomplete_step_is_not_part_of_the_line(blank: Page) -> None:
    drawn = series_of(blank, history(last_point_unfinished=True))
    assert drawn["incomplete"] == [[130, 0]]
    assert drawn["speed"][-1] == [120, 200]


def test_an_empty_run_draws_nothing(blank: Page) -> None:
    columns: dict[str, list[float]] = {name: [] for name in ("t", "s", "s_min", "s_max", "p", "b")}
    drawn = series_of(blank, history(chart_data=columns, gaps=[], phases=[], duration_seconds=None))
    assert drawn["speed"] == []
    assert drawn["top"] > 0


@pytest.mark.parametrize(
    ("window", "share", "end", "result"),
    [
        ({"from": 0, "to": 100}, 0.5, 100, {"from": 25, "to": 75}),
        ({"from": 25, "to": 75}, 2, 100, {"from": 0, "to": 100}),
        ({"from": 90, "to": 100}, 0.5, 100, {"from": 90, "to": 100}),  # at least ten seconds
        ({"from": 0, "to": 100}, 8, 100, {"from": 0, "to": 100}),
    ],
)
def test_a_zoom_stays_within_the_run(
    blank: Page, window: Any, share: float, end: float, result: Any
) -> None:
    assert call(blank, "views/job/window.js", "zoomed", window, share, end) == result


@pytest.mark.parametrize(
    ("from_", "to", "result"),
    [
        ("10", "20.5", {"from": 10, "to": 20.5}),
        ("20", "10", None),
        ("-5", "10", None),
        ("x", "10", None),
        ("0", "1e999", None),
    ],
)
def test_a_window_in_the_address_is_read_or_ignored(
    blank: Page, from_: str, to: str, result: Any
) -> None:
    assert call(blank, "views/job/window.js", "parseWindow", from_, to) == result


def test_speeds_are_counted_in_even_steps(blank: Page) -> None:
    bins = call(
        blank, "charts/run.js", "speedBins", [0, 5, 10, None, 40], {"max": 40, "interval": 20}
    )
    assert sum(bin["count"] for bin in bins) == 4
    assert bins[0]["from"] == 0
    assert bins[-1]["to"] == 40
    assert bins[-1]["count"] == 1


def a_run(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "job_id": "nightly",
        "run": number,
        "runs": 3,
        "job_type": "backup",
        "status": "completed",
        "started_at": f"2026-11-2{number}T01:00:00Z",
        "duration_seconds": 60,
        **changes,
    }


def test_a_trend_highlights_one_run_and_names_each(blank: Page) -> None:
    runs = [a_run(1), a_run(2), a_run(3), a_run(1, job_id="once", runs=1)]
    widths, names = blank.evaluate(
        """async (runs) => {
            const {trendOption} = await import("/static/dashboard/charts/trend.js");
            const options = {measure: "duration", current: runs[1]};
            const {series, tooltip} = trendOption(runs, options, {look: {}});
            return [
                series[0].data.map(({itemStyle}) => itemStyle.borderWidth),
                runs.map((_, dataIndex) => tooltip.formatter([{dataIndex}]).split("\\n").at(-1)),
            ];
        }""",
        runs,
    )
    assert widths == [0, 2, 0, 0]
    nightly = "\u2068nightly\u2069"  # isolated, as an id may be written from right to left
    assert names == [*(f"{nightly} · run {number}" for number in (1, 2, 3)), "\u2068once\u2069"]


def test_earlier_runs_of_the_same_job_are_predecessors(blank: Page) -> None:
    runs = [a_run(number) for number in (3, 2, 1)]
    found = call(blank, "views/job/runs.js", "predecessors", runs[1], runs, 5)
    assert [run["run"] for run in found] == [1]


def test_a_donut_has_a_part_for_each_status(blank: Page) -> None:
    parts = blank.evaluate(
        """async () => {
            const {donutOption} = await import("/static/dashboard/charts/donut.js");
            const theme = {look: {completed: "green", failed: "red"}};
            const parts = (counts) => donutOption(counts, {selected: "failed"}, theme)
                .series[0].data.map(({name, value, itemStyle}) => [name, value, itemStyle.opacity]);
            return [parts({completed: 3, warning: 2, failed: 1, running: 0}), parts({})];
        }"""
    )
    with_runs = [["completed", 3, 0.3], ["warning", 2, 0.3], ["failed", 1, 1]]
    assert parts == [with_runs, [["no runs", 0, None]]]


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("javascript:alert(1)", None),
        (" java\tscript:alert(1)", None),
        ("data:text/html,x", None),
        ("vbscript:x", None),
        ("/jobs/javascript%3Aalert(1)", "/jobs/javascript%3Aalert(1)"),
        ("https://example.test/", "https://example.test/"),
    ],
)
def test_script_addresses_are_removed(blank: Page, href: str, kept: str | None) -> None:
    assert (
        blank.evaluate(
            """async (href) => {
            const {h} = await import("/static/dashboard/lib/dom.js");
            return h("a", {href}, "x").getAttribute("href");
        }""",
            href,
        )
        == kept
    )
