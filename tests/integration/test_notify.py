"""Notifications: from items of attention to what real receivers get."""

from __future__ import annotations

import base64
import io
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.clock import utc_now
from app.config import ROOT, Config
from app.database.pool import Database
from app.domain.attention.items import About, Finding, Kind
from app.domain.notify.messages import make_test
from app.domain.notify.report import Moved, RunCounts, write_report
from app.domain.notify.routes import Route
from app.domain.rules import Match
from app.errors import HubError
from app.notify.addresses import check_address, with_secret
from app.notify.sealing import Sealer
from app.store import attention, destinations, outbox
from app.store.destinations import Outgoing
from app.store.findings import reconcile
from app.store.reports import read_report
from app.store.rules import insert_window, put_rule
from jobs import find_attention, heartbeat, notify
from jobs.courier import Courier
from jobs.notify import Housekeeping
from jobs.planning import plan
from jobs.schedule import NOTIFY_SECONDS
from tests.integration.receivers import Sink, http_sink, mail_server
from tests.integration.test_attention import GIB, Fleet
from tools.hub_process import clean_environment

KINDS: tuple[Kind, ...] = ("failed", "silent", "hung", "node_offline")
LATER = timedelta(minutes=6)  # a recovery is told then


class Desk:
    """Opens and ends items, and lets the task tell them, at chosen moments."""

    def __init__(self, owner: Database, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.now = utc_now().replace(microsecond=0)
        self.open: dict[tuple[str, str], Finding] = {}

    def route(self, address: str, **fields: Any) -> int:
        """A destination with a route of the same name; its id."""
        name = fields.pop("name", "ops")
        sealed = Sealer.of(self.config).seal(with_secret(address)[0])
        with self.owner.transaction() as conn:
            destination_id, _ = destinations.put_destination(
                conn, name, check_address(address), "table", sealed
            )
            destinations.put_route(conn, Route(0, name, destination_id, **fields))
        return destination_id

    def finding(self, subject: str, kind: Kind = "failed", **fields: Any) -> Finding:
        about = About(
            job_id=fields.pop("job_id", subject),
            vm_name=fields.pop("vm_name", subject),
            job_type=fields.pop("job_type", "backup"),
            repository_id=fields.pop("repository_id", None),
        )
        values = {"severity": "critical", "summary": "The last run failed.", **fields}
        since = self.now - timedelta(minutes=1)
        return Finding(kind, subject=subject, since=since, about=about, **values)

    def begin(self, *subjects: str, **fields: Any) -> None:
        """Open items, or change those that are open."""
        found = [self.finding(subject, **dict(fields)) for subject in subjects]
        self.open |= {each.key: each for each in found}
        self._reconcile()

    def end(self, *subjects: str) -> None:
        self.open = {key: each for key, each in self.open.items() if key[1] not in subjects}
        self._reconcile()

    def _reconcile(self) -> None:
        with self.owner.transaction() as conn:
            reconcile(conn, KINDS, self.open.values(), self.now)
            # As if the trigger had fired at that moment.
            conn.execute("UPDATE attention_changes SET changed_at = %s", [self.now])

    def tell(self, later: timedelta | float = 4.0) -> notify.Notified:
        """Let the task run some seconds later, and everything be delivered."""
        self.now += later if isinstance(later, timedelta) else timedelta(seconds=later)
        done = notify.run_once(self.owner, self.config, self.now)
        assert notify.courier.wait(20)
        return done

    def outbox(self) -> list[dict[str, Any]]:
        """Messages, the oldest first."""
        with self.owner.reading() as conn:
            return destinations.list_outbox(conn, 1_000)[::-1]

    def subjects(self) -> list[str]:
        return [row["subject"] for row in self.outbox()]


@pytest.fixture
def desk(owner: Database, config: Config, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(notify, "courier", Courier())
    monkeypatch.setattr(notify, "housekeeping", Housekeeping())
    return Desk(owner, config)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


@pytest.fixture
def hook(desk: Desk, sink: Sink) -> Sink:
    """A webhook that the default route leads to, which has begun."""
    desk.route(f"webhook+http://{sink.host}/hook")
    desk.tell()
    return sink


@pytest.fixture
def env(config: Config) -> dict[str, str]:
    """The environment that leads to the session's database, with the owner's rights."""
    if config.database_url is not None:
        return {"DATABASE_URL": config.database_url, "HUB_OWNER_URL": str(config.owner_url)}
    return {"HUB_DATA_DIR": str(config.data_dir)}


def subjects(sink: Sink) -> list[str]:
    return [request.json["data"]["subject"] for request in sink.got]


# Episodes.


def test_an_item_is_told_once_and_its_end_once(desk: Desk, hook: Sink) -> None:
    desk.begin("db1")
    desk.tell()
    desk.tell(60)
    assert subjects(hook) == ["[critical] db1 backup: failed"]
    desk.end("db1")
    desk.tell()
    assert len(hook.got) == 1  # it may come back
    desk.tell(LATER)
    desk.tell(LATER)
    assert subjects(hook)[1:] == ["[recovered] db1 backup: failed"]
    assert [row["state"] for row in desk.outbox()] == ["sent", "sent"]


def test_an_item_is_on_its_way_within_10_seconds(desk: Desk, hook: Sink) -> None:
    for delay in (0.1, 2.9):  # until the next run of the task
        desk.begin(f"db{delay}")
        noticed_at = desk.now
        desk.tell(delay)
        while not any(f"db{delay}" in subject for subject in subjects(hook)):
            desk.tell(float(NOTIFY_SECONDS))
        assert desk.now - noticed_at < timedelta(seconds=10)


def test_a_condition_that_comes_and_goes_is_one_episode(desk: Desk, hook: Sink) -> None:
    desk.begin("db1")
    desk.tell()
    for _ in range(3):
        desk.end("db1")
        desk.tell(120)
        desk.begin("db1")
        desk.tell(120)
    desk.end("db1")
    desk.tell()
    desk.tell(LATER)
    assert [s.split("]")[0] for s in subjects(hook)] == ["[critical", "[recovered"]
    assert "It was over and came back 3 times meanwhile." in hook.got[1].json["data"]["body"]


def test_what_is_noticed_together_is_one_message_that_names_the_cause(
    desk: Desk, hook: Sink
) -> None:
    storm = [f"db{number}" for number in range(200)]
    desk.begin(*storm, kind="silent", severity="warning", repository_id="nas1")
    desk.begin("other")
    desk.tell()
    assert subjects(hook) == [
        "[critical] 201 items: other backup: failed, 200 silent (repository nas1)"
    ]
    body = hook.got[0].json["data"]["body"]
    assert "All have the same repository nas1: check it first." in body
    assert len(hook.got[0].json["data"]["items"]) == 201


def test_a_thousand_items_are_at_most_five_messages(desk: Desk, hook: Sink) -> None:
    for part in range(10):
        desk.begin(*(f"vm{number}" for number in range(part * 100, part * 100 + 100)))
        desk.tell(5.0)
    desk.tell(60)
    assert len(hook.got) <= 5
    with desk.owner.reading() as conn:
        [(told,)] = conn.execute("SELECT count(*) FROM episodes WHERE state = 'told'").fetchall()
    assert told == 1_000


def test_an_acknowledged_item_is_not_repeated(desk: Desk, sink: Sink) -> None:
    desk.route(f"webhook+http://{sink.host}/", repeat_hours=4)
    desk.tell()
    desk.begin("db1")
    desk.tell()
    desk.tell(timedelta(hours=4))
    assert subjects(sink) == ["[critical] db1 backup: failed", "[open] db1 backup: failed"]
    with desk.owner.transaction() as conn:
        [(item_id,)] = conn.execute("SELECT id FROM attention").fetchall()
        attention.acknowledge(conn, item_id, "me", None)
    desk.tell(timedelta(hours=4))
    desk.tell(timedelta(hours=4))
    assert len(sink.got) == 2


def test_an_item_that_gets_worse_later_is_told_again(desk: Desk, hook: Sink) -> None:
    desk.begin("db1", severity="warning")
    desk.tell()
    desk.now += timedelta(hours=1)
    desk.begin("db1", severity="critical")
    desk.tell()
    assert [s.split("]")[0] for s in subjects(hook)] == ["[warning", "[critical"]


def test_a_silent_run_that_is_failed_minutes_later_is_one_message(desk: Desk, hook: Sink) -> None:
    desk.begin("db1", kind="silent", severity="warning")
    desk.tell()
    desk.now += timedelta(minutes=4)
    desk.begin("db1", kind="silent", severity="critical")
    desk.tell()
    assert len(hook.got) == 1


# Routes.


def test_a_route_tells_what_it_matches(desk: Desk, sink: Sink) -> None:
    desk.route(
        f"webhook+http://{sink.host}/",
        kinds=["failed"],
        severities=["critical"],
        job_types=["back*"],
        machines=["pg-*"],
    )
    desk.tell()
    desk.begin("pg-1")
    desk.begin("my-1")
    desk.begin("pg-2", kind="hung")
    desk.begin("pg-3", severity="warning")
    desk.begin("pg-4", job_type="restore")
    desk.tell()
    assert subjects(sink) == ["[critical] pg-1 backup: failed"]


def test_an_item_is_told_once_it_is_old_enough(desk: Desk, sink: Sink) -> None:
    desk.route(f"webhook+http://{sink.host}/", minimum_age_seconds=1_800)
    desk.tell()
    desk.begin("long", "short")
    desk.tell(timedelta(minutes=20))
    desk.end("short")
    desk.tell(timedelta(minutes=20))
    assert subjects(sink) == ["[critical] long backup: failed"]


def test_quiet_hours_hold_messages_until_they_end(desk: Desk, sink: Sink) -> None:
    desk.now = datetime(2026, 12, 2, 23, tzinfo=UTC)
    quiet = {
        "quiet_from": datetime(2026, 1, 1, 22).time(),  # noqa: DTZ001
        "quiet_to": datetime(2026, 1, 1, 6, 30).time(),  # noqa: DTZ001
    }
    desk.route(f"webhook+http://{sink.host}/", timezone="Europe/Berlin", **quiet)
    desk.tell()
    desk.begin("db1", "db2")
    desk.tell()
    desk.end("db2")
    desk.tell(timedelta(hours=6))  # 6:00 in Berlin
    assert sink.got == []
    desk.tell(timedelta(minutes=31))
    assert subjects(sink) == ["[open] db1 backup: failed"]


def test_a_digest_is_one_message_in_five_minutes(desk: Desk, sink: Sink) -> None:
    desk.now = desk.now.replace(minute=1, second=0)
    desk.route(f"webhook+http://{sink.host}/", digest="five_minutes")
    desk.tell()
    for number in range(3):
        desk.begin(f"db{number}")
        desk.tell(30)
    assert sink.got == []
    desk.tell(timedelta(minutes=5))
    assert len(sink.got) == 1
    assert len(sink.got[0].json["data"]["items"]) == 3


def test_what_is_under_maintenance_or_muted_is_told_neither_way(desk: Desk, hook: Sink) -> None:
    desk.begin("known")
    desk.tell()
    with desk.owner.transaction() as conn:
        until = desk.now + timedelta(hours=1)
        insert_window(conn, desk.now, until, Match(vm_name="planned"), "a deploy")
        put_rule(conn, Match(vm_name="known"), {"mute_until": until})
    desk.begin("planned")
    desk.end("known")  # by the mute
    desk.tell()
    desk.tell(timedelta(minutes=10))
    assert subjects(hook) == ["[critical] known backup: failed"]
    desk.tell(timedelta(hours=1))
    assert subjects(hook)[1:] == ["[open] planned backup: failed"]


def test_what_is_open_when_a_route_begins_is_one_message(desk: Desk, sink: Sink) -> None:
    desk.begin("db1", "db2", "db3", "web1")
    desk.route(f"webhook+http://{sink.host}/")
    desk.tell(timedelta(hours=5))
    assert subjects(sink) == ["[open] 4 items are open: 4 failed (type backup)"]
    desk.tell(timedelta(hours=5))
    assert len(sink.got) == 1


def test_after_an_outage_old_news_is_one_message(desk: Desk, hook: Sink) -> None:
    desk.begin("db1", "db2", "db3", "short")
    desk.now += timedelta(minutes=1)
    desk.end("short")
    desk.tell(timedelta(hours=3))  # the tasks did not run
    assert subjects(hook) == ["[open] 3 items are open: 3 failed (type backup)"]


def test_an_item_that_is_acknowledged_before_it_is_told_is_not_told(desk: Desk, sink: Sink) -> None:
    desk.route(f"webhook+http://{sink.host}/", minimum_age_seconds=600)
    desk.tell()
    desk.begin("db1", severity="warning")
    with desk.owner.transaction() as conn:
        [(item_id,)] = conn.execute("SELECT id FROM attention").fetchall()
        attention.acknowledge(conn, item_id, "me", None)
    desk.tell(timedelta(minutes=20))
    assert sink.got == []
    desk.begin("db1", severity="critical")  # it is no longer acknowledged
    desk.tell(timedelta(minutes=2))
    assert len(sink.got) == 1


# Delivery.


def test_a_destination_that_is_down_delays_no_other(desk: Desk, sink: Sink) -> None:
    with http_sink(delay=3.0) as slow:
        desk.route(f"webhook+http://{slow.host}/", name="slow")
        desk.route("webhook+http://127.0.0.1:1/", name="dead")
        desk.route(f"webhook+http://{sink.host}/", name="good")
        notify.run_once(desk.owner, desk.config, desk.now)
        desk.begin("db1")
        desk.now += timedelta(seconds=4)
        began = utc_now()
        notify.run_once(desk.owner, desk.config, desk.now)
        assert (utc_now() - began).total_seconds() < 2.5
        assert len(sink.got) == 1
        assert notify.courier.wait(20)
    states = {row["destination"]: (row["state"], row["error"]) for row in desk.outbox()}
    assert states["good"] == ("sent", None)
    assert states["slow"] == ("sent", None)
    assert states["dead"] == ("waiting", "The service cannot be reached.")


def test_a_message_is_sent_again_later_and_later_and_given_up_after_a_day(
    desk: Desk, hook: Sink
) -> None:
    hook.status = 503
    desk.begin("db1")
    waits = []
    for _ in range(4):
        desk.tell()
        [row] = desk.outbox()
        waits.append((row["due_at"] - desk.now).total_seconds())
        desk.now = row["due_at"]
    assert [row["attempts"] for row in desk.outbox()] == [4]
    assert 5 <= waits[0] <= 10
    assert 40 <= waits[3] <= 80
    assert len({request.headers["webhook-id"] for request in hook.got}) == 1
    desk.tell(timedelta(days=1))
    [row] = desk.outbox()
    assert (row["state"], row["error"]) == ("dead", "It was answered with HTTP 503.")
    with desk.owner.transaction() as conn:
        assert destinations.read_destinations(conn)[0].dead == 1
        assert destinations.retry(conn, row["id"])
    hook.status = 200
    desk.tell()
    assert desk.outbox()[0]["state"] == "sent"


def test_a_destination_that_takes_no_messages_needs_attention(desk: Desk, hook: Sink) -> None:
    hook.status = 503
    desk.begin("db1")
    desk.tell()
    desk.tell(timedelta(minutes=20))

    def found() -> list[str]:
        find_attention.run_once(desk.owner, desk.config, desk.now)
        with desk.owner.reading() as conn:
            wanted = attention.ItemFilter(kinds=("hub",))
            items = attention.list_items(conn, wanted, 10)
        return [each.summary for each in items if each.subject.startswith("destination:")]

    [summary] = found()
    assert summary.startswith("The destination “ops” has not taken messages since ")
    hook.status = 200
    desk.tell(timedelta(minutes=20))
    assert found() == []


def test_messages_that_could_not_be_delivered_become_one(desk: Desk, hook: Sink) -> None:
    hook.status = 500
    for number in range(6):
        desk.begin(f"db{number}")
        desk.tell(timedelta(minutes=30))
    desk.end("db0")
    desk.tell(timedelta(minutes=30))
    hook.status = 200
    hook.got.clear()
    desk.tell(timedelta(hours=1))
    desk.tell(timedelta(hours=1))
    assert len(hook.got) <= 3
    items = {i["vm_name"]: i for request in hook.got for i in request.json["data"]["items"]}
    assert set(items) == {f"db{number}" for number in range(6)}
    assert items["db0"]["event"] == "recovered"
    assert "could not be delivered" in hook.got[0].json["data"]["body"]


def test_a_message_whose_sender_died_is_sent_by_another(desk: Desk, hook: Sink) -> None:
    desk.begin("db1")
    desk.now += timedelta(seconds=4)
    with desk.owner.transaction() as conn:
        plan(conn, desk.config, desk.now)
        assert len(outbox.claim(conn, "dead process", desk.now, timedelta(minutes=2))) == 1
    desk.tell(60)
    assert hook.got == []
    desk.tell(61)
    assert len(hook.got) == 1
    assert desk.outbox()[0]["state"] == "sent"


SENDER = """
from pathlib import Path
from app.config import Config
from app.database.pool import Database
from jobs import heartbeat, notify
config = Config.from_env()
database = Database.of_owner(config)
database.open()
notify.run_once(database, config)
notify.courier.wait(60)
"""


def test_a_process_that_is_killed_while_it_sends_loses_nothing_and_repeats_one(
    desk: Desk, sink: Sink, env: dict[str, str]
) -> None:
    desk.route(f"webhook+http://{sink.host}/")
    notify.run_once(desk.owner, desk.config)
    with desk.owner.transaction() as conn:
        [found] = destinations.read_destinations(conn)
        outgoing = [Outgoing(found.id, None, make_test(str(n)), utc_now()) for n in range(4)]
        destinations.insert_messages(conn, outgoing)
    killed: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        if len(sink.got) == 2 and killed[0].poll() is None:  # it has sent, and not settled
            killed[0].kill()
            killed[0].wait()

    sink.on_request = kill
    command = [sys.executable, "-c", SENDER]
    killed.append(subprocess.Popen(command, cwd=ROOT, env={**clean_environment(), **env}))
    assert killed[0].wait(30) == -signal.SIGKILL
    assert [row["state"] for row in desk.outbox()] == ["sent", "waiting", "waiting", "waiting"]
    desk.now = utc_now() + timedelta(minutes=3)  # the lease of the dead process has ended
    desk.tell()
    assert [row["state"] for row in desk.outbox()] == ["sent"] * 4
    ids = [request.headers["webhook-id"] for request in sink.got]
    assert (len(ids), len(set(ids))) == (5, 4)
    assert ids.count(ids[1]) == 2


# Services.


def test_mail_is_plain_text_with_a_short_subject(desk: Desk) -> None:
    with mail_server() as (port, mails):
        desk.route(f"mailto://127.0.0.1:{port}?from=hub@example.org&to=ops@example.org")
        desk.tell()
        desk.begin("db1\r\nBcc: x@example.org", summary="<b>x</b> <script>alert(1)</script>")
        desk.tell()
    [mail] = mails
    assert mail["Subject"] == "[critical] db1 Bcc: x@example.org backup: failed"
    assert mail["Bcc"] is None
    assert mail.get_content_type() == "text/plain"
    assert "<script>" not in mail.get_content()
    assert "Check: Read the error" in mail.get_content()


def test_a_weekly_report_is_mail_as_html_and_text(desk: Desk) -> None:
    desk.now = datetime(2026, 12, 2, 12, tzinfo=UTC)  # a Wednesday
    with mail_server() as (port, mails):
        desk.route(
            f"mailto://127.0.0.1:{port}?from=hub@example.org&to=ops@example.org", digest="weekly"
        )
        desk.tell()
        desk.begin("db1 <b>", summary="<script>alert(1)</script>")
        desk.tell()
        assert mails == []  # it tells no single items
        desk.tell(datetime(2026, 12, 7, 8, tzinfo=UTC) - desk.now)
        desk.tell()
    [mail] = mails
    assert mail["Subject"] == "Weekly report: 0 good, 0 with warnings, 0 failed, 1 open"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "<script>" not in html.get_content()
    assert "db1" in text.get_content()
    assert "<table" in html.get_content()
    with desk.owner.reading() as conn:
        [found] = destinations.read_routes(conn)
    assert found.route.next_report_at == datetime(2026, 12, 14, 8, tzinfo=UTC)


def test_ntfy_gotify_and_mattermost_get_what_they_document(desk: Desk, sink: Sink) -> None:
    token = "abcdef0123456789abcdef0123456789"
    desk.route(f"ntfy://{sink.host}/hub", name="ntfy")
    desk.route(f"gotify://{sink.host}/{token}", name="gotify")
    desk.route(f"mmost://{sink.host}/{token}", name="mattermost")  # as Slack's webhooks
    desk.tell()
    desk.begin("db1 @everyone", summary="see <!channel> and [this](http://evil.example)")
    desk.tell()
    by_path = {request.path: request for request in sink.got}
    assert set(by_path) == {"/", "/message", f"/hooks/{token}"}
    assert by_path["/"].json["topic"] == "hub"
    assert by_path["/message"].headers["x-gotify-key"] == token
    assert "text" in by_path[f"/hooks/{token}"].json
    for request in sink.got:
        body = request.body.decode()
        assert "db1 " in body
        assert "@everyone" not in body
        assert "<!channel>" not in body
        assert "](http" not in body


def test_a_report_counts_runs_series_changes_and_storage(owner: Database, config: Config) -> None:
    fleet = Fleet(owner, config)
    fleet.nights(9, 2, repository_id="nas1")
    fleet.run(1, done=GIB, repository_id="nas1")  # unusual
    for days in (3, 20):
        fleet.run(days, status="failed", job_id=f"bad-{days}", vm_name="db2")
    fleet.run(2, done=0, total_bytes=GIB, job_id="empty", vm_name="db3")  # suspicious
    fleet.run(2, status="cancelled", job_id="stopped", vm_name="db4")
    fleet.find()
    with owner.transaction() as conn:
        conn.execute(
            "INSERT INTO nodes (node_id, newest_snapshot_at, disk_percent, disk_total_gb)"
            " VALUES ('n1', now(), 91, 100)"
        )
        conn.execute("DELETE FROM attention WHERE kind = 'hub'")  # of the engine of the tests
        [(item_id,)] = conn.execute("SELECT id FROM attention WHERE kind = 'unusual'").fetchall()
        attention.acknowledge(conn, item_id, "me", "A false alarm: the data were moved.")
        report = read_report(conn, fleet.now - timedelta(days=7), fleet.now + timedelta(hours=1))
    # Of nine good nights six are in the week.
    assert report.runs == [RunCounts("backup", 6, 2, 1, 1, 601 * GIB)]
    assert (report.noticed, report.open, report.false_alarms) == (3, 3, 1)
    assert [(each.name, each.runs) for each in report.never_good] == [
        ("db2", 2),
        ("db3", 1),
        ("db4", 1),
    ]
    assert ["100 times less than usual" in each.summary for each in report.changes] == [True]
    assert report.repositories == [Moved("nas1", 601 * GIB, 7)]
    message = write_report(report, "Weekly report", "https://hub.example.org")
    assert message.subject == "Weekly report: 6 good, 2 with warnings, 1 failed, 3 open"
    for part in ("Never good (3 series)", "nas1        601 GiB", "n1    91 %    100 GiB"):
        assert part in message.body
    assert message.html is not None
    assert message.html.count("<table") == message.html.count("</table>") == 7


def test_alertmanager_gets_alerts_that_end(desk: Desk, sink: Sink) -> None:
    desk.route(f"alertmanager+http://{sink.host}/am")
    desk.tell()
    desk.begin("db1", repository_id="nas1")
    desk.tell()
    desk.end("db1")
    desk.tell()
    desk.tell(LATER)
    opened, ended = [request.json for request in sink.got]
    assert sink.got[0].path == "/am/api/v2/alerts"
    firing = [each for each in opened if each["labels"]["severity"] == "critical"]
    assert firing[0]["labels"] == {
        "alertname": "TelemetryHubFailed",
        "severity": "critical",
        "item": "db1",
        "vm_name": "db1",
        "job_type": "backup",
        "repository_id": "nas1",
    }
    assert firing[0]["endsAt"] > utc_now().isoformat()
    assert [each["labels"] for each in ended] == [each["labels"] for each in opened]
    assert all(each["endsAt"] < (desk.now).isoformat() for each in ended)


def test_secrets_are_in_no_table_log_or_error(
    desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [*root.handlers, logging.StreamHandler(log)])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    secret = "hunter2hunter2"
    with http_sink(status=401, answer=f'{{"error": "{secret}"}}'.encode()) as sink:
        desk.route(f"ntfy://user:{secret}@{sink.host}/topic", name="ntfy")
        desk.route(f"webhook+http://user:{secret}@{sink.host}/{secret}", name="webhook")
        desk.route(f"webhook+http://user:{secret}@127.0.0.1:1/{secret}", name="away")
        desk.route(f"gotify://127.0.0.1:1/{secret}", name="gotify")
        desk.tell()
        desk.begin("db1")
        desk.tell()
        assert len(sink.got) == 2
    rows: list[Any] = list(desk.outbox())
    assert all(row["error"] for row in rows)
    with desk.owner.reading() as conn:
        for table in ("destinations", "destination_addresses", "notifications"):
            rows += conn.execute(f"SELECT {table}::text FROM {table}".encode()).fetchall()
    out, err = capfd.readouterr()
    everything = f"{rows} {out} {err} {log.getvalue()}"
    assert "could not be delivered" in everything
    assert secret not in everything
    assert base64.b64encode(f"user:{secret}".encode()).decode() not in everything


# The environment.


def test_the_environment_makes_destinations_with_the_default_route(
    desk: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = f"webhook+http://{sink.host}/a, json://{sink.host}/b"
    desk.config = replace(desk.config, notify_urls=urls)
    desk.tell()
    desk.begin("db1")
    desk.tell()
    assert sorted(request.path for request in sink.got) == ["/a", "/b"]
    monkeypatch.setattr(notify, "housekeeping", Housekeeping())
    desk.config = replace(desk.config, notify_urls=f"json://{sink.host}/c")
    desk.tell()
    with desk.owner.reading() as conn:
        [found] = destinations.read_destinations(conn)
        [route] = destinations.read_routes(conn)
    assert (found.name, found.service, found.source) == ("environment-1", "json", "environment")
    assert route.route.severities == ["critical", "warning"]


# The heartbeat.


def test_the_heartbeat_is_called_while_no_task_is_late(
    owner: Database, config: Config, sink: Sink
) -> None:
    config = replace(config, heartbeat_url=f"http://{sink.host}/ping/secret-of-a-check")
    assert heartbeat.run_once(owner, replace(config, heartbeat_url=None)) == {"called": False}
    assert heartbeat.run_once(owner, config) == {"called": True}
    assert [(request.method, request.path) for request in sink.got] == [
        ("GET", "/ping/secret-of-a-check")
    ]
    with owner.transaction() as conn:
        conn.execute(
            "INSERT INTO tasks (task_id, interval_seconds, created_at)"
            " VALUES ('judge_runs', 5, now() - interval '10 minutes')"
        )
    assert heartbeat.run_once(owner, config) == {"called": False}
    assert len(sink.got) == 1


def test_a_heartbeat_that_fails_is_told_without_its_address(
    owner: Database, config: Config, sink: Sink
) -> None:
    sink.status = 404
    for address in (f"http://{sink.host}/secret", "http://127.0.0.1:1/secret"):
        with pytest.raises(HubError) as raised:
            heartbeat.run_once(owner, replace(config, heartbeat_url=address))
        assert str(raised.value).startswith("HUB_HEARTBEAT_URL: ")
        assert "secret" not in str(raised.value)
