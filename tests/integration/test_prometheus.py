"""A real Prometheus scrapes a hub and fires alerts of docs/deploy; promtool checks the files."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.serving import make_server

from app.api.context import hub_of
from app.config import ROOT, Config
from app.database.pool import Database
from jobs import find_attention, fold_job_counts
from tests.client.tools import need
from tests.conftest import empty_tables
from tests.integration.test_attention import Fleet
from tools.hub_process import free_port, wait_until

DEPLOY = ROOT / "docs" / "deploy"
ALERTS_TEST = Path(__file__).parent / "alerts_test.yml"
TOOLS = ("prometheus", "promtool")


def promtool(*args: str | Path, stdin: bytes = b"") -> str:
    """What promtool prints; fails if it finds something wrong."""
    need(*TOOLS)
    done = subprocess.run(["promtool", *args], input=stdin, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_configuration_and_the_alerts() -> None:
    promtool("check", "config", DEPLOY / "prometheus.yml")
    assert "FAILED" not in promtool("test", "rules", ALERTS_TEST)


def test_every_alert_is_tested_and_on_the_page() -> None:
    alerts = {
        line.split(":")[1].strip()
        for line in (DEPLOY / "alerts.yml").read_text().splitlines()
        if line.strip().startswith("- alert:")
    }
    page, tests = (ROOT / "docs" / "metrics.md").read_text(), ALERTS_TEST.read_text()
    assert len(alerts) == 11
    for alert in alerts:
        assert f"`{alert}`" in page
        assert alert in tests


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The application over HTTP; its address without a scheme."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus with the files of docs/deploy that scrapes every second; its address."""
    text = (DEPLOY / "prometheus.yml").read_text()
    assert "127.0.0.1:8082" in text
    (folder / "prometheus.yml").write_text(
        text.replace("127.0.0.1:8082", target).replace("15s", "1s")
    )
    (folder / "alerts.yml").write_bytes((DEPLOY / "alerts.yml").read_bytes())
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, path: str, **params: str) -> Any:
    """The data of an answer of Prometheus; None while it does not listen."""
    with suppress(URLError):
        address = f"{url}/api/v1/{path}?{urlencode(params)}"
        with urllib.request.urlopen(address, timeout=15) as answer:
            return json.load(answer)["data"]
    return None


@pytest.fixture(scope="module")
def hub(running_app: Flask, open_owner: Database, config: Config) -> Iterator[str]:
    """A hub over HTTP: db1's last backup failed, db2's is two days old, db3 is well."""
    empty_tables(open_owner)
    find_attention._thresholds.clear()
    fleet = Fleet(open_owner, config)
    fleet.run(0.9, vm_name="db1", job_id="db1-good")
    fleet.run(0.2, vm_name="db1", job_id="db1-bad", status="failed")
    fleet.run(2, vm_name="db2", job_id="db2-old")
    fleet.run(0.5, vm_name="db3", job_id="db3-good")
    fleet.update("live", 60, vm_name="db3")
    fleet.find()
    fold_job_counts.run_once(open_owner, config)
    with open_owner.transaction() as conn:
        conn.execute(
            "INSERT INTO nodes (node_id, newest_snapshot_at) VALUES ('node-1', now());"
            "INSERT INTO tasks (task_id, interval_seconds, last_finished_at,"
            " last_duration_seconds) VALUES ('judge_runs', 5, now(), 0.1)"
        )
    hub_of(running_app).state_metrics._kept_at -= 10  # other tests' tables
    with served(running_app) as address:
        yield address
    hub_of(running_app).state_metrics._kept_at -= 10
    empty_tables(open_owner)


@pytest.fixture(scope="module")
def scraper(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped the hub; its address."""
    need(*TOOLS)
    with prometheus(tmp_path_factory.mktemp("prometheus"), hub) as url:
        wait_until(lambda: bool(firing(url)))
        yield url


def firing(url: str) -> dict[str, list[str]]:
    """The names of series and machines by the alert that fires for them."""
    found: dict[str, list[str]] = {}
    for alert in (ask(url, "alerts") or {"alerts": []})["alerts"]:
        if alert["state"] == "firing":
            name = alert["labels"].get("name", "")
            found.setdefault(alert["labels"]["alertname"], []).append(name)
    return found


def test_it_fires_for_the_failed_and_the_missing_backup(scraper: str) -> None:
    wait_until(lambda: {"BackupFailed", "NoBackupForADay"} <= firing(scraper).keys())
    alerts = firing(scraper)
    assert alerts["BackupFailed"] == ["db1"]
    assert alerts["NoBackupForADay"] == ["db2"]
    assert alerts.keys() <= {"BackupFailed", "NoBackupForADay", "CriticalAttention"}


DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "fleet-prometheus.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
VARIABLES = {
    variable["name"]: re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
    for variable in DASHBOARD["templating"]["list"]
}


def as_grafana_sends_it(expr: str) -> str:
    """A query of the dashboard with All chosen, whose value is `.*`."""
    assert {variable["allValue"] for variable in DASHBOARD["templating"]["list"]} == {".*"}
    expr = expr.replace("$__rate_interval", "1m")
    return re.sub(r"\$(\w+)", lambda found: ".*" if found[1] in VARIABLES else found[0], expr)


@pytest.mark.parametrize("title", QUERIES)
def test_every_query_of_the_dashboard_has_an_answer(scraper: str, title: str) -> None:
    query = as_grafana_sends_it(QUERIES[title])
    assert "$" not in query
    wait_until(lambda: bool(ask(scraper, "query", query=query)["result"]))  # some need two scrapes


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_of_the_dashboard_has_values(scraper: str, name: str) -> None:
    found = VARIABLES[name]
    assert found is not None
    series = ask(scraper, "series", **{"match[]": as_grafana_sends_it(found[1])})
    assert {each[found[2]] for each in series} == {
        "job_type": {"backup"},
        "name": {"db1", "db2", "db3"},
    }[name]


def test_it_takes_every_sample_in_openmetrics(scraper: str, hub: str) -> None:
    [target] = ask(scraper, "targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    [scraped] = ask(scraper, "query", query="scrape_samples_scraped")["result"]
    [kept] = ask(scraper, "query", query="scrape_samples_post_metric_relabeling")["result"]
    assert int(scraped["value"][1]) == int(kept["value"][1]) > 50
    [build] = ask(scraper, "query", query="hub_build_info")["result"]
    assert build["metric"]["version"]


OF_A_SERIES = {"series_id", "name", "job_type", "repository_id", "backup_type"}


def test_the_page_lists_every_metric_with_its_labels(hub: str) -> None:
    with urllib.request.urlopen(f"http://{hub}/metrics", timeout=15) as answer:
        text = answer.read().decode()
    listed = {}
    page = (ROOT / "docs" / "metrics.md").read_text()
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE):
        of_series = OF_A_SERIES if "of a series" in labels else set()
        listed[name] = (kind, set(re.findall(r"`(\w+)`", labels)) | of_series)
    exposed = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert {name: kind for name, (kind, _) in listed.items()} == exposed
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            name = name if name in listed else sample.name
            assert sample.labels.keys() - {"le"} == listed[name][1], sample.name


def test_promtool_finds_nothing_wrong_with_the_metrics(hub: str) -> None:
    with urllib.request.urlopen(f"http://{hub}/metrics", timeout=15) as answer:
        body = answer.read()
    assert b"hub_series_last_bytes" in body
    assert promtool("check", "metrics", stdin=body) == ""
