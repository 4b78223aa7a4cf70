"""`telemetry doctor`: a line for each thing that sending needs, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from telemetry_client import HealthReport, Refused, TelemetryQueue, Unreachable
from telemetry_client.cli.doctor import (
    judge_backlog,
    judge_clock,
    judge_hub,
    judge_token,
    judge_token_end,
)
from tests.client.cli.conftest import Shell
from tests.tokens import FOREIGN_KEYS, KEYS, make_token
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess, wait_until


def outcomes(shell: Shell) -> tuple[int, dict[str, str], str]:
    """Exit code, outcome by what was checked, and everything it printed."""
    done = shell.telemetry("doctor")
    text = done.stdout.decode()
    lines = [line for line in text.splitlines() if not line.startswith("      ")]
    return done.returncode, {line[5:].split(":")[0]: line[:4].strip() for line in lines}, text


def outcomes_once_well(shell: Shell, hub: HubProcess) -> tuple[int, dict[str, str], str]:
    """The same, at a moment at which the hub takes updates: on a slow machine it may not, for a
    moment, and the doctor then says so.
    """
    for _ in range(5):
        wait_until(hub.is_healthy)
        found = outcomes(shell)
        if found[0] == 0:
            break
    return found


def test_all_is_well_with_a_real_hub(shell: Shell, real_hub: HubProcess) -> None:
    shell.env["SHA_API_URL"] = f"http://127.0.0.1:{real_hub.port}"
    shell.spool.parent.mkdir()
    TelemetryQueue(shell.spool).close()
    status, found, text = outcomes_once_well(shell, real_hub)
    assert status == 0, text
    assert found["hub"] in ("ok", "warn")  # a hub that just began may be degraded
    del found["hub"]
    assert found == {"token": "ok", "clock": "ok", "spool": "ok", "spool losses": "ok"}


def test_a_missing_hub_fails_with_what_to_try(lonely_shell: Shell) -> None:
    status, found, text = outcomes(lonely_shell)
    assert (status, found["hub"]) == (1, "fail")
    assert "token" not in found
    assert found["spool"] == "ok"
    assert f"curl {lonely_shell.env['SHA_API_URL']}/api/v1/health" in text


def test_something_else_at_the_address_is_not_taken_for_a_hub(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    shell.env["SHA_API_URL"] = f"{faulty_hub.url}/somewhere"
    faulty_hub.token = "secret"  # it answers 401 to a request without one
    assert outcomes(shell)[1]["hub"] == "fail"


@pytest.mark.parametrize(
    ("fault", "described"),
    [
        ("redirect", "302 Found of BaseHTTP"),
        ("portal", "the page 'Sign in'"),
        ("page404", "404 Not Found of BaseHTTP"),
        ("page413", "the page 'An error of a proxy'"),
    ],
)
def test_what_answers_in_the_hubs_place_is_named(
    shell: Shell, faulty_hub: FaultyHub, fault: str, described: str
) -> None:
    faulty_hub.fault_of_all = fault
    status, found, text = outcomes(shell)
    assert (status, found["hub"]) == (1, "fail")
    assert "token" not in found
    assert f"{faulty_hub.url} does not answer as a hub: " in text
    assert described in text
    assert "hunter2" not in text


def test_a_proxy_that_lets_only_reading_through_is_named(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    faulty_hub.next_faults.append("page403")
    status, found, text = outcomes(shell)
    assert (status, found["hub"], found["token"]) == (1, "ok", "fail")
    assert "the page 'An error of a proxy'" in text
    assert "Create a token" not in text


def test_a_bad_address_is_a_finding(shell: Shell) -> None:
    shell.env["SHA_API_URL"] = "nonsense"
    status, found, text = outcomes(shell)
    assert (status, found["address"]) == (1, "fail")
    assert "SHA_API_URL" in text


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_fails(status: int) -> None:
    finding = judge_token(Unreachable("no", status=status, is_from_hub=True), has_token=True)
    assert finding.outcome == "fail"
    assert "TELEMETRY_TOKEN" in finding.detail
    assert "ingest" in finding.advice


def test_a_hub_that_takes_nothing_fails() -> None:
    assert judge_token(Unreachable("timeout"), has_token=False).outcome == "fail"
    assert judge_token(Refused(400, "updates: what?"), has_token=False).outcome == "fail"
    assert judge_hub("http://h", HealthReport(True, "unavailable")).outcome == "fail"
    assert judge_hub("http://h", HealthReport(True, "degraded")).outcome == "warn"


@pytest.mark.parametrize(
    ("offset", "outcome", "word"),
    [
        (0.4, "ok", "the same as"),
        (-4.0, "ok", "4 s ahead of"),
        (30.0, "warn", "30 s behind"),
        (-301.0, "fail", "301 s ahead of"),
        (None, "warn", "no date"),
    ],
)
def test_the_clock_is_compared(offset: float | None, outcome: str, word: str) -> None:
    finding = judge_clock(offset)
    assert finding.outcome == outcome
    assert word in finding.detail


@pytest.mark.parametrize(
    ("pending", "oldest", "outcome"),
    [(0, None, "ok"), (10, 60.0, "ok"), (10, 7200.0, "warn"), (950, 60.0, "fail")],
)
def test_a_backlog_is_judged_by_age_and_size(
    shell: Shell, pending: int, oldest: float | None, outcome: str
) -> None:
    stats = {"pending": pending, "max_size": 1000, "oldest_age_seconds": oldest}
    assert judge_backlog("spool", shell.spool, stats).outcome == outcome


def test_dead_letters_are_a_warning_that_says_where_they_are(shell: Shell) -> None:
    shell.spool.parent.mkdir()
    with TelemetryQueue(shell.spool) as queue:
        queue.mark_dead(queue.enqueue({"job_id": "j"}), "status: is missing")
    status, found, text = outcomes(shell)
    assert (status, found["spool losses"]) == (0, "warn")
    assert f"telemetry queue dead --path {shell.spool}" in text


def test_a_look_at_a_spool_changes_nothing(shell: Shell) -> None:
    """Neither a file that is none, nor a place where none is yet."""
    notes = shell.folder / "notes.txt"
    notes.write_text("mine")
    absent = shell.folder / "not" / "there" / "spool.db"
    before = sorted(shell.folder.rglob("*"))
    for spool, outcome in ((notes, "fail"), (absent, "ok")):
        shell.env["TELEMETRY_SPOOL"] = str(spool)
        _, found, text = outcomes(shell)
        assert found["spool"] == outcome, text
    assert sorted(shell.folder.rglob("*")) == before
    assert notes.read_text() == "mine"


def test_a_spool_that_cannot_be_used_fails(shell: Shell) -> None:
    shell.env["TELEMETRY_SPOOL"] = "/proc/no/spool.db"
    status, found, text = outcomes(shell)
    assert (status, found["spool"]) == (1, "fail")
    assert "TELEMETRY_SPOOL" in text


# A token's end, as a hub with a key says it.


@pytest.fixture(scope="module")
def guarded_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("guarded_hub")
    key_file = folder / "token.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(b"\n".join(KEYS))
    with HubProcess(folder / "data", HUB_TOKEN_KEY_FILE=str(key_file)) as hub:
        yield hub


@pytest.mark.parametrize(
    ("token", "outcome", "expected"),
    [
        (make_token("ingest"), "ok", "a ingester, ingest: expires in 364 days"),
        (make_token("ingest", "backup", "copy"), "ok", "ingest of backup, copy: expires in"),
        (make_token("ingest", life=timedelta(days=3)), "warn", "expires in 2 days"),
        (make_token("ingest", life=timedelta(hours=3)), "warn", "expires in less than a day"),
    ],
    ids=["long", "limited", "soon", "today"],
)
def test_a_tokens_end_is_told(
    shell: Shell, guarded_hub: HubProcess, token: str, outcome: str, expected: str
) -> None:
    shell.env["SHA_API_URL"] = f"http://127.0.0.1:{guarded_hub.port}"
    shell.env["TELEMETRY_TOKEN"] = token
    status, found, text = outcomes_once_well(shell, guarded_hub)
    assert (status, found["token"], found["token expiry"]) == (0, "ok", outcome), text
    assert expected in text
    assert token not in text
    assert ("Create the next one" in text) == (outcome == "warn")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (make_token("ingest", life=timedelta(hours=-1)), "The token has expired."),
        (make_token("ingest", keys=FOREIGN_KEYS), "The token was not issued by this hub."),
        (None, "Authorization: Bearer"),
    ],
    ids=["expired", "foreign", "none"],
)
def test_a_token_that_the_hub_does_not_know_has_no_end(
    shell: Shell, guarded_hub: HubProcess, token: str | None, expected: str
) -> None:
    shell.env["SHA_API_URL"] = f"http://127.0.0.1:{guarded_hub.port}"
    if token is not None:
        shell.env["TELEMETRY_TOKEN"] = token
    status, found, text = outcomes(shell)
    assert (status, found["token"]) == (1, "fail")
    assert "token expiry" not in found
    assert expected in text


@pytest.mark.parametrize("session", [None, {}, {"expires_at": None}, {"expires_at": "soon"}])
def test_an_answer_without_an_end_is_not_a_finding(session: dict[str, Any] | None) -> None:
    assert list(judge_token_end(session)) == []
