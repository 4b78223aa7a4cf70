"""`python -m app rules …` and `maintenance …` as an operator runs them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest

from app.config import ROOT, Config
from app.database.pool import Database
from app.domain.rules import Match
from app.store.rules import read_maintenance, read_rules
from app.store.staleness import read_clock
from tests.commands import call_app

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def env(config: Config, database: Database) -> dict[str, str]:
    """The environment that leads to the session's database."""
    if config.database_url is not None:
        return {"DATABASE_URL": config.database_url}
    return {"HUB_DATA_DIR": str(config.data_dir)}


def lines(done: Run) -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def objects(done: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(done)]


def sentence(refused: Run, status: int = 1) -> str:
    """What a failed command says last."""
    assert (refused.returncode, refused.stdout) == (status, "")
    return refused.stderr.splitlines()[-1]


def test_a_rule_is_set_replaced_listed_and_deleted(env: dict[str, str], database: Database) -> None:
    options = ("--vm-name", "pg-*", "--stall-after-seconds", "120")
    [created] = lines(call_app("rules", "set", *options, "--unusual-factor", "2.5", **env))
    [listed] = objects(call_app("rules", "list", "--json", **env))
    rule_id = listed["id"]
    about = f"rule {rule_id} (vm_name ~ pg-*): stall_after_seconds = 120"
    assert created == f"created {about}, unusual_factor = 2.5"
    assert lines(call_app("rules", "set", *options, **env)) == [f"replaced {about}"]
    with database.reading() as conn:
        [rule] = read_rules(conn).rules
    assert (rule.match, rule.settings) == (Match(vm_name="pg-*"), {"stall_after_seconds": 120})
    assert [line.split() for line in lines(call_app("rules", "list", **env))] == [
        ["ID", "MATCH", "SETTINGS"],
        [str(rule_id), "vm_name", "~", "pg-*", "stall_after_seconds", "=", "120"],
    ]
    assert lines(call_app("rules", "delete", str(rule_id), **env)) == [f"deleted {about}"]
    assert f"no rule {rule_id}" in sentence(call_app("rules", "delete", str(rule_id), **env))


def test_a_schedule_is_set_with_its_zone(env: dict[str, str]) -> None:
    schedule = ("--schedule", "0 22 * * 1-5", "--timezone", "Europe/Berlin")
    lines(call_app("rules", "set", "--job-id", "nightly", *schedule, **env))
    [rule] = objects(call_app("rules", "list", "--json", **env))
    assert rule["match"] == {"job_id": "nightly"}
    assert rule["settings"] == {"schedule": "0 22 * * 1-5", "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ((), "at least one setting"),
        (("--stall-after-seconds", "soon"), "--stall-after-seconds: Must be a whole number"),
        (("--memory-percent", "nan"), "--memory-percent: Must be a finite number"),
        (("--schedule", "0 99 * * *", "--timezone", "UTC"), "--schedule: "),
        (("--job-type", "*", "--memory-percent", "9"), "--job-type: "),
        (
            ("--stall-after-seconds", "9", "--fail-after-seconds", "9"),
            "--fail-after-seconds: Must be more than",
        ),
    ],
)
def test_a_bad_option_is_named(env: dict[str, str], options: tuple[str, ...], part: str) -> None:
    assert part in sentence(call_app("rules", "set", *options, **env))
    assert lines(call_app("rules", "list", "--json", **env)) == []


def test_maintenance_is_begun_listed_and_ended(env: dict[str, str], database: Database) -> None:
    options = ("--for", "2h", "--reason", "deploy", "--job-type", "backup")
    [begun] = lines(call_app("maintenance", "start", *options, **env))
    [listed] = objects(call_app("maintenance", "list", "--json", **env))
    assert begun.startswith(f"open window {listed['id']} (job_type = backup): ")
    assert begun.endswith(", deploy")
    with database.reading() as conn:
        [window] = read_maintenance(conn, read_clock(conn)).windows
    assert (window.to_at - window.from_at).total_seconds() == 7200
    heads, line = lines(call_app("maintenance", "list", **env))
    assert (heads.split()[0], line.split()[:2]) == ("ID", [str(window.id), "open"])
    [ended] = lines(call_app("maintenance", "end", str(window.id), **env))
    assert ended.startswith(f"ended window {window.id} (job_type = backup): ")
    assert objects(call_app("maintenance", "list", "--json", **env)) == []
    [past] = objects(call_app("maintenance", "list", "--json", "--all", **env))
    assert past["state"] == "ended"
    unknown = call_app("maintenance", "end", str(window.id + 1), **env)
    assert "no maintenance window" in sentence(unknown)


def test_the_commands_of_the_operations_guide_work(env: dict[str, str]) -> None:
    """All but the ids, which are those of the guide's reader."""
    page = (ROOT / "docs" / "operations.md").read_text()
    commands = re.findall(r"^# hub ((?:rules|maintenance) .+)$", page, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        done = call_app(*shlex.split(command), **env)
        if command.split()[1] in ("delete", "end"):
            assert "There is no" in sentence(done)
        elif "--from" in command:  # a planned time, which will be in the past
            assert done.stderr == "" or "--to: Must be in the future" in done.stderr
        else:
            assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.parametrize(
    ("options", "status", "part"),
    [
        (("--for", "31d"), 2, "longer than 30d"),
        (("--for", "1h", "--to", "2030-01-01T00:00:00Z"), 2, "not allowed"),
        ((), 2, "required"),
        (("--to", "2020-01-01T00:00:00Z"), 1, "--to: Must be later than from"),
        (("--for", "1h", "--from", "2020-01-01T00:00:00Z"), 1, "--to: Must be in the future"),
        (("--to", "2999-01-01T00:00:00Z"), 1, "--to: Must be at most 30 days"),
        (("--for", "1h", "--from", "noon"), 2, "RFC 3339"),
    ],
)
def test_a_bad_time_is_refused(
    env: dict[str, str], options: tuple[str, ...], status: int, part: str
) -> None:
    refused = call_app("maintenance", "start", "--reason", "deploy", *options, **env)
    assert part in sentence(refused, status)
    assert lines(call_app("maintenance", "list", "--json", "--all", **env)) == []
