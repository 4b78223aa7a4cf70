"""Dashboards and provisioning of docs/deploy/grafana: they are valid, and every SQL query answers.

Grafana itself is in no package registry. Its published types say what a dashboard may contain, and
the queries are expanded as its PostgreSQL plugin does and run with an analyst's rights.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.runtime import Runtime
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from app.clock import utc_now
from app.config import ROOT
from tests.analyst_site import DAILY, Analyst

FOLDER = ROOT / "docs" / "deploy" / "grafana"
DASHBOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((FOLDER / "dashboards").glob("*.json"))
}
POSTGRESQL = {"type": "grafana-postgresql-datasource", "uid": "telemetry-hub"}
PROMETHEUS = {"type": "prometheus", "uid": "telemetry-hub-prometheus"}
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and name[0] != "_"}
LONGEST_SECONDS = 2.0  # on a machine that does other work; on a quiet one 0.1 s (docs/metrics.md)
each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)

plugins.register_default_plugins()


# ---- what Grafana accepts -----------------------------------------------------------------------


def test_there_are_four_dashboards_and_one_for_prometheus() -> None:
    assert DASHBOARDS.keys() == {"fleet", "series", "run", "nodes", "fleet-prometheus"}


def as_grafana_reads(value: Any, model: type) -> Any:
    """What is left of a JSON value once it went through Grafana's types, with their defaults."""
    return json.loads(json.dumps(model.from_json(value), cls=JSONEncoder))  # type: ignore[attr-defined]


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where `theirs` lacks something of `ours`, or differs from it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from differences(value, theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (left, right) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(left, right, f"{path}[{number}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


@each_dashboard
def test_grafanas_types_know_every_field(name: str) -> None:
    """A misspelt field, or one of another panel, would be lost on the way."""
    dashboard = json.loads(json.dumps(DASHBOARDS[name]))
    for annotation in dashboard["annotations"]["list"]:
        # The types know the target of Grafana's own annotations only; see `queries_of`.
        del annotation["target"]
    found = list(differences(dashboard, as_grafana_reads(dashboard, models.Dashboard)))
    assert found == []


def test_the_comparison_finds_a_misspelt_field() -> None:
    dashboard = json.loads(json.dumps(DASHBOARDS["fleet"]))
    [panel] = [each for each in dashboard["panels"] if each["title"] == "Bytes by day"]
    panel["fieldConfig"]["defaults"]["custom"]["fillOpactiy"] = 10
    [found] = differences(dashboard, as_grafana_reads(dashboard, models.Dashboard))
    assert "fillOpactiy" in found


@each_dashboard
def test_panels_are_complete(name: str) -> None:
    dashboard = DASHBOARDS[name]
    for panel in dashboard["panels"]:
        about = (name, panel["title"])
        assert Runtime().panelcfg_config(panel["type"]) is not None, about
        assert panel["description"], about
        assert panel["datasource"] == (PROMETHEUS if "prometheus" in name else POSTGRESQL), about
        assert [target["refId"] for target in panel["targets"]] == ["A", "B"][
            : len(panel["targets"])
        ]
        for unit in units_of(panel):
            assert unit in UNITS, (*about, unit)
        if panel["type"] == "timeseries":
            assert units_of(panel), about
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for one, other in combinations(dashboard["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def units_of(panel: dict[str, Any]) -> list[str]:
    """The units of a panel's fields."""
    config = panel["fieldConfig"]
    of_fields = [
        each["value"]
        for override in config["overrides"]
        for each in override["properties"]
        if each["id"] == "unit"
    ]
    return [*of_fields, *([config["defaults"]["unit"]] if "unit" in config["defaults"] else [])]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    assert one["x"] + one["w"] <= 24
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@each_dashboard
def test_links_lead_to_dashboards_that_have_their_variables(name: str) -> None:
    variables = {
        each["uid"]: {variable["name"] for variable in each["templating"]["list"]}
        for each in DASHBOARDS.values()
    }
    for uid, query in re.findall(r"/d/([\w-]+)\?([^\"]+)", json.dumps(DASHBOARDS[name])):
        assert set(re.findall(r"var-(\w+)=", query)) <= variables[uid]
        assert re.search(r"var-\w+=", query)


def test_a_run_is_reached_from_the_fleet_and_its_series() -> None:
    fleet, series = (json.dumps(DASHBOARDS[name]) for name in ("fleet", "series"))
    assert "/d/telemetry-hub-series?var-series=" in fleet
    assert "/d/telemetry-hub-run?var-run=" in fleet
    assert "/d/telemetry-hub-run?var-run=" in series


def test_provisioning_has_the_data_sources_of_the_dashboards() -> None:
    sources = yaml.safe_load(
        (FOLDER / "provisioning" / "datasources" / "telemetry-hub.yaml").read_text()
    )["datasources"]
    assert [{"type": each["type"], "uid": each["uid"]} for each in sources] == [
        POSTGRESQL,
        PROMETHEUS,
    ]
    assert sources[0]["user"] == "analyst"
    assert sources[0]["jsonData"]["timescaledb"] is True
    [provider] = yaml.safe_load(
        (FOLDER / "provisioning" / "dashboards" / "telemetry-hub.yaml").read_text()
    )["providers"]
    assert provider["type"] == "file"


# ---- queries ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """A query of a dashboard as it is written, and what its result is for."""

    dashboard: str
    title: str
    kind: str  # table, time_series, variable or annotation
    sql: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.title}"


def queries_of(name: str) -> Iterator[Query]:
    """The SQL queries of a dashboard."""
    dashboard = DASHBOARDS[name]
    for variable in dashboard["templating"]["list"]:
        if variable.get("datasource") == POSTGRESQL:
            yield Query(name, variable["name"], "variable", variable["query"])
    for annotation in dashboard["annotations"]["list"]:
        assert annotation["datasource"] == POSTGRESQL
        yield _query(name, annotation["name"], annotation["target"], "annotation")
    for panel in dashboard["panels"]:
        if panel["datasource"] == POSTGRESQL:
            for target in panel["targets"]:
                title = f"{panel['title']} {target['refId']}"
                yield _query(name, title, target, target["format"])


def _query(name: str, title: str, target: dict[str, Any], kind: str) -> Query:
    assert target.keys() == {"refId", "editorMode", "rawQuery", "format", "rawSql"}
    assert (target["editorMode"], target["rawQuery"]) == ("code", True)
    assert target["format"] in ("table", "time_series")
    return Query(name, title, kind, target["rawSql"])


QUERIES = [query for name in DASHBOARDS for query in queries_of(name)]
HOURS = {"fleet": 7 * 24, "series": 90 * 24, "run": 24 * 11, "nodes": 6}
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^\)]*)\)")  # as the plugin has it


@dataclass(frozen=True)
class Context:
    """What Grafana puts into a query. `variables`: the values chosen; None: All."""

    begin: datetime
    end: datetime
    variables: Mapping[str, list[str] | None]
    interval: str = "1m"
    timezone: str = "Europe/Berlin"


def expand(sql: str, context: Context) -> str:
    """The query that reaches the database: variables first, by the browser, then the macros."""
    sql = sql.replace("${__timezone}", context.timezone).replace("$__interval", context.interval)
    sql = re.sub(r"\$\{(\w+)(?::(\w+))?\}", lambda found: _variable(found, context), sql)
    return MACRO.sub(lambda found: _macro(found, context), sql)


def _variable(found: re.Match[str], context: Context) -> str:
    name, kind = found.groups()
    values = context.variables[name]
    if values is None:
        return "'__all'"  # allValue, which is not formatted
    if kind == "sqlstring":
        return ",".join("'" + value.replace("'", "''") + "'" for value in values)
    assert kind is None
    [value] = values
    return value


def _macro(found: re.Match[str], context: Context) -> str:
    """As evaluateMacro of the plugin, TimescaleDB switched on."""
    name, args = found[1], [arg.strip() for arg in found[2].split(",")]
    begin, end = (f"'{at.isoformat()}'" for at in (context.begin, context.end))
    match name:
        case "__timeFilter":
            return f"{args[0]} BETWEEN {begin} AND {end}"
        case "__timeFrom":
            return begin
        case "__timeTo":
            return end
        case "__timeGroupAlias":
            assert args[1] == "1m"
            return f"time_bucket('60.000s',{args[0]}) AS \"time\""
    raise ValueError(f"unknown macro {name}")


@pytest.fixture
def context(analyst: Analyst) -> Context:
    """The dashboards' own time ranges, one series and one run that is still there."""
    row = analyst.execute(
        "SELECT series_id::text AS id FROM series_state WHERE vm_name = 'pgtest1'"
        " AND job_type = 'backup' ORDER BY runs DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    everything = dict.fromkeys(("job_type", "machine", "repository", "node"))
    chosen = {"series": [row["id"]], "run": ["backup-pgtest1-1760096737"], "resolution": ["1m"]}
    now = utc_now()
    return Context(now - timedelta(days=1), now, {**everything, **chosen})


def ask(analyst: Analyst, query: Query, context: Context) -> list[dict[str, Any]]:
    """What a query answers for the time range of its dashboard."""
    begin = context.end - timedelta(hours=HOURS[query.dashboard])
    return analyst.execute(expand(query.sql, replace(context, begin=begin)).encode()).fetchall()


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_query_answers_quickly(analyst: Analyst, context: Context, query: Query) -> None:
    took = []
    for _ in range(2):
        began = time.perf_counter()
        rows = ask(analyst, query, context)
        took.append(time.perf_counter() - began)
    assert rows, "nothing of the site is shown"
    assert min(took) < LONGEST_SECONDS
    columns = list(rows[0])
    if query.kind == "time_series":
        assert columns[0] == "time"
        assert rows == sorted(rows, key=lambda row: row["time"])
        for row in rows:
            assert isinstance(row["time"], datetime)
            assert isinstance(row.get("metric", ""), str)
            values = {name: row[name] for name in columns if name not in ("time", "metric")}
            assert all(value is None or isinstance(value, int | float) for value in values.values())
    elif query.kind == "annotation":
        assert columns == ["time", "text", "tags"]
    elif query.kind == "variable":
        assert columns in (["__value", "__text"], columns[:1])


def test_the_fields_that_are_configured_exist(analyst: Analyst, context: Context) -> None:
    """An override of a field that no query has would change nothing."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            if panel["datasource"] == PROMETHEUS:
                continue
            fields = set()
            for target in panel["targets"]:
                query = Query(name, panel["title"], target["format"], target["rawSql"])
                for row in ask(analyst, query, context):
                    fields |= {row["metric"]} if "metric" in row else set(row)
            configured = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
            used = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
            assert configured | used <= fields | {"cancelled"}, (name, panel["title"])


def chosen(context: Context, **values: str) -> Context:
    return replace(
        context, variables={**context.variables, **{name: [each] for name, each in values.items()}}
    )


def query(dashboard: str, title: str) -> Query:
    [found] = [each for each in QUERIES if (each.dashboard, each.title) == (dashboard, title)]
    return found


def test_variables_restrict_the_fleet(analyst: Analyst, context: Context) -> None:
    everything = ask(analyst, query("fleet", "Series A"), context)
    for variable, column, value in (
        ("machine", "name", "pgtest1"),
        ("job_type", "type", "restore"),
        ("repository", "repository", "repo-offsite"),
    ):
        some = ask(analyst, query("fleet", "Series A"), chosen(context, **{variable: value}))
        assert 0 < len(some) < len(everything)
        assert {row[column] for row in some} == {value}
    quoted = ask(analyst, query("fleet", "Series A"), chosen(context, machine="it's"))
    assert quoted == []


def test_days_are_those_of_the_viewer(analyst: Analyst, context: Context) -> None:
    for timezone, hour in (("utc", 0), ("Asia/Kolkata", 18)):
        rows = ask(analyst, query("fleet", "Bytes by day A"), replace(context, timezone=timezone))
        assert {row["time"].astimezone(UTC).hour for row in rows} == {hour}


def test_a_link_to_a_run_covers_its_time(analyst: Analyst, context: Context) -> None:
    rows = ask(analyst, query("series", "Runs A"), context)
    assert {row["run"] for row in rows} >= {run.job_id for run in DAILY[:5]}
    for row in rows:
        assert row["from_ms"] < row["started"].timestamp() * 1000 < row["to_ms"]


def test_the_usual_range_is_drawn_over_the_whole_time(analyst: Analyst, context: Context) -> None:
    for title in ("Size of runs B", "Duration of runs B", "Mean speed of runs B"):
        first, last = ask(analyst, query("series", title), context)
        assert first["usual: from"] == last["usual: from"] < last["usual: to"]
        assert last["time"] - first["time"] == timedelta(days=90)


def test_hours_can_be_chosen_instead_of_minutes(analyst: Analyst, context: Context) -> None:
    for dashboard, title in (("run", "Speed A"), ("nodes", "CPU A")):
        for resolution in ("1m", "1h"):
            wanted = chosen(context, resolution=resolution)
            assert ask(analyst, query(dashboard, title), wanted), (title, resolution)
