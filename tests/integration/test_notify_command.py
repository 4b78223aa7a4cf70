"""`python -m app notify …` as an operator runs it, and the receiver of docs/notifications.md."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.auth.keys import create_key_file, rotate_key_file
from app.clock import utc_now
from app.config import ROOT, Config
from app.database.pool import Database
from app.notify.sealing import Sealer
from app.store import outbox
from app.store.destinations import put_destination
from jobs import notify
from jobs.courier import Courier
from tests.commands import call_app
from tests.integration.receivers import http_sink

Run = subprocess.CompletedProcess[str]
Notify = Callable[..., Run]
RECEIVER = re.compile(r"A receiver in Python:\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def call(config: Config, database: Database, monkeypatch: pytest.MonkeyPatch) -> Notify:
    """Runs the command, with a line of standard input."""
    env = {"HUB_DATA_DIR": str(config.data_dir)}
    if config.database_url is not None:
        env = {"DATABASE_URL": config.database_url}

    def run(*args: str, line: str = "") -> Run:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n"))
        return call_app("notify", *args, **env)

    return run


def listed(call: Notify) -> list[dict[str, Any]]:
    done = call("list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_destination_is_added_listed_and_removed(call: Notify) -> None:
    address = "ntfy://user:hunter2hunter2@127.0.0.1:9/topic"
    options = ("--kinds", "failed,overdue", "--repeat-hours", "12", "--no-recovery")
    added = call("add", "ops", *options, line=address)
    assert (added.returncode, added.stdout) == (0, "created destination ops (ntfy)\n")
    [found] = listed(call)
    [route] = found["routes"]
    assert (found["name"], found["service"]) == ("ops", "ntfy")
    assert (route["kinds"], route["repeat_hours"], route["tells_recovery"]) == (
        ["failed", "overdue"],
        12,
        False,
    )
    assert call("route", "calm", "--to", "ops", "--digest", "weekly").returncode == 0
    shown = call("list").stdout
    assert "hunter2" not in shown
    assert "digest = weekly" in shown
    assert call("remove", "--route", "calm").stdout == "deleted route calm\n"
    assert call("remove", "ops").stdout == "deleted destination ops\n"
    assert listed(call) == []


@pytest.mark.parametrize(
    ("args", "line", "sentence"),
    [
        (("add", "ops"), "nope://hunter2", "hub: The address cannot be used. It is not an"),
        (("add", "ops", "--digest", "x"), "json://127.0.0.1", "hub: --digest: Must be one of"),
        (("route", "r", "--to", "other"), "", "hub: There is no destination 'other'"),
        (("remove", "other"), "", "hub: There is no destination 'other'"),
        (("remove",), "", "hub: Name a destination"),
    ],
)
def test_what_cannot_be_done_is_told(
    call: Notify, args: tuple[str, ...], line: str, sentence: str
) -> None:
    done = call(*args, line=line)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert "hunter2" not in done.stderr


def test_an_address_in_a_file_is_read_at_each_message(
    call: Notify, owner: Database, config: Config, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "courier", Courier())
    file = tmp_path / "address"
    assert call("add", "ops", "--file", str(file)).returncode == 0
    with http_sink() as sink:
        file.write_text(f"json://{sink.host}/first\n")
        with owner.transaction() as conn:
            conn.execute(
                "INSERT INTO attention (kind, severity, rank, subject, since, summary, advice)"
                " VALUES ('failed', 'critical', 1, 's', now(), 'x', 'y')"
            )
        notify.run_once(owner, config, utc_now())
        assert notify.courier.wait(10)
        assert [request.path for request in sink.got] == ["/first"]


def test_the_receiver_of_the_guide_verifies_what_the_hub_signs(
    call: Notify, owner: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "courier", Courier())
    found = RECEIVER.search((ROOT / "docs" / "notifications.md").read_text())
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    is_from_hub = names["is_from_hub"]
    with http_sink() as sink:
        added = call("add", "hook", line=f"webhook+http://{sink.host}/hook")
        secret = added.stdout.splitlines()[-1]
        assert "cannot be shown again" in added.stderr
        monkeypatch.setattr("app.commands.notify.TEST_SECONDS", 0.0)
        assert call("test", "hook").returncode == 1  # no hub sends it
        notify.run_once(owner, config, utc_now())
        assert notify.courier.wait(10)
    [request] = [each for each in sink.got if each.json["type"] == "attention.test"]
    assert is_from_hub(secret, request.headers, request.body)
    assert not is_from_hub(secret, request.headers, request.body + b" ")
    assert not is_from_hub("whsec_" + "A" * 44, request.headers, request.body)
    later = {**request.headers, "webhook-timestamp": "1700000000"}
    assert not is_from_hub(secret, later, request.body)


def test_addresses_are_sealed_again_after_a_rotation_of_the_key(
    owner: Database, config: Config, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "token.key"
    create_key_file(key_file)
    keyed = replace(config, token_key_file=key_file, data_dir=tmp_path)
    with owner.transaction() as conn:
        sealed = Sealer.of(keyed).seal("json://127.0.0.1:9")
        put_destination(conn, "a", "json", "table", sealed)
    for _ in range(2):
        rotate_key_file(key_file)
        notify.Housekeeping().keep(owner, keyed)
    with owner.reading() as conn:
        [renewed] = outbox.read_addresses(conn).values()
    assert renewed != sealed
    assert Sealer.of(keyed).open(renewed) == "json://127.0.0.1:9"


def test_old_messages_are_deleted(owner: Database, config: Config) -> None:
    with owner.transaction() as conn:
        conn.execute(
            "INSERT INTO destinations (name, service, source) VALUES ('a', 'json', 'table')"
        )
        conn.execute(
            "INSERT INTO notifications (destination_id, event, severity, subject, body, state,"
            " due_at, give_up_at, settled_at) SELECT id, 'test', 'info', 's', 'b', 'sent', now(),"
            " now(), now() - age FROM destinations,"
            " unnest(ARRAY[interval '29 days', interval '31 days']) AS age"
        )
    notify.Housekeeping().keep(owner, config)
    with owner.reading() as conn:
        assert conn.execute("SELECT count(*) FROM notifications").fetchone() == (1,)
