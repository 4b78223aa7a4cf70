"""The rules of notifications: routes, words, causes, retries. Episodes are in tests/integration."""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta

import pytest

from app.domain.notify.causes import group
from app.domain.notify.episodes import Episode, Telling, follow
from app.domain.notify.items import Item
from app.domain.notify.messages import (
    LONGEST_BODY,
    LONGEST_SUBJECT,
    write,
    write_short,
)
from app.domain.notify.plain import plain
from app.domain.notify.programs import page_of
from app.domain.notify.retries import wait_after
from app.domain.notify.routes import Route
from app.notify.addresses import (
    AddressInvalid,
    check_address,
    parse_http,
    read_address,
    service_of,
)
from app.notify.apprise_services import redact
from jobs.notify import addresses_of

NOW = datetime(2026, 12, 2, 12, tzinfo=UTC)
NOTHING_SEEN = "\u200b"


def item(number: int = 1, kind: str = "failed", **fields: object) -> Item:
    values = {
        "severity": "critical",
        "rank": 1,
        "subject": f"s{number}",
        "since": NOW - timedelta(hours=3),
        "noticed_at": NOW,
        "summary": "The last run failed.",
        "advice": "Read the error.",
        "vm_name": f"vm{number}",
        "job_type": "backup",
        **fields,
    }
    return Item(id=number, kind=kind, **values)  # type: ignore[arg-type]


def opened(*items: Item) -> Telling:
    return Telling("opened", opened=[Episode(1, each, "told") for each in items])


# Texts of senders.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 5 < 6 & a@example.org", "plain text, 5 < 6 & a@example.org"),
        ("a\r\nBcc: x@example.org", "a Bcc: x@example.org"),
        ("hi @everyone", f"hi @{NOTHING_SEEN}everyone"),
        ("<!channel> <@U123> <#C1>", "<\u200b!channel> <\u200b@\u200bU123> <\u200b#C1>"),
        ("<script>x</script>", "<\u200bscript>x<\u200b/script>"),
        ("[x](https://evil.example)", f"[x]{NOTHING_SEEN}(https://evil.example)"),
        ("abc\u202ecod.exe\x00\x1b[31m", "abc cod.exe [31m"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("@\u200beveryone", "@ everyone"),
        ("  a \t b  ", "a b"),
        ("\ud800", ""),
    ],
)
def test_a_text_of_a_sender_is_one_line_without_markup(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_long_text_is_cut() -> None:
    assert plain("x" * 1_000, 10) == "x" * 9 + "…"


def test_every_text_of_an_item_is_plain_in_a_message() -> None:
    bad = "@everyone\n<!here> [a](b)"
    found = item(
        vm_name=bad,
        job_type=bad,
        job_id=bad.replace("/", ""),
        repository_id=bad,
        summary=bad,
        evidence={bad: 5, "error": bad},
    )
    message = write(opened(found), NOW)
    text = message.subject + message.body
    assert not any(part in text for part in ("@everyone", "<!here", "](b", "\n<"))
    assert "\n" not in message.subject


# Messages.


def test_a_message_has_what_since_when_numbers_advice_and_a_link() -> None:
    evidence = {
        "failures": 5,
        "last_good_at": "2026-11-25T02:14:00Z",
        "error": "disk full",
        "usual_bytes": {"median": 2**30, "low": 2**29, "high": 2**31},
        "elapsed_seconds": 3_600,
        "mean_bps": 2**20,
    }
    found = item(job_id="nightly/3", repository_id="nas1", evidence=evidence)
    message = write(opened(found), NOW, "https://hub.example.org/")
    assert message.subject == "[critical] vm1 backup: failed"
    assert message.body.splitlines() == [
        "vm1 backup: failed, job nightly (run 3), repository nas1",
        "The last run failed.",
        "Since 2026-12-02 09:00 UTC, for 3 h.",
        "Failures: 5",
        "Last good: 2026-11-25 02:14 UTC",
        "Error: disk full",
        "Usual: 1 GiB (512 MiB to 2 GiB)",
        "Elapsed: 1 h",
        "Mean: 1 MiB/s",
        "Check: Read the error.",
        "",
        "https://hub.example.org/jobs/nightly?run=3",
    ]


def test_a_name_with_a_slash_is_quoted_in_a_link() -> None:
    assert page_of(item(vm_name="a/b c"), "http://h") == "http://h/machines/a%2Fb%20c"


def test_a_storm_is_counted_and_cut() -> None:
    names = [item(n, repository_id="r" * 500, summary="x" * 5_000) for n in range(2_000)]
    message = write(opened(*names), NOW)
    assert message.subject.startswith("[critical] 2000 failed (repository rrr")
    assert len(message.subject) <= LONGEST_SUBJECT
    assert len(message.body) <= LONGEST_BODY
    assert len(message.items) == 2_000
    short = write_short(opened(*names))
    assert (short.subject, short.severity) == ("[opened] 2000 items", "critical")


def test_items_are_grouped_by_repository_then_type_the_worst_first() -> None:
    items = [
        *(item(n, "silent", rank=2, severity="warning", repository_id="nas1") for n in range(4)),
        *(item(n, "silent", rank=2, job_type="copy") for n in range(4, 7)),
        item(7, "silent", rank=2, repository_id="other", job_type="x"),
        item(8, "hung", job_type="restore"),
    ]
    assert [(g.kind, g.cause, len(g.items)) for g in group(items)] == [
        ("hung", None, 1),
        ("silent", "repository nas1", 4),
        ("silent", "type copy", 3),
        ("silent", None, 1),
    ]


# Episodes.


@pytest.mark.parametrize(("told_hours_ago", "state"), [(2.0, "waiting"), (0.1, "told")])
def test_what_returns_worse_is_told_again_unless_it_was_told_just_now(
    told_hours_ago: float, state: str
) -> None:
    told_at = NOW - timedelta(hours=told_hours_ago)
    before = Episode(1, item(rank=2), "ending", NOW, told_rank=2, told_at=told_at)
    after = follow(Route(1, "r", 1), before, item(rank=1), "opened", NOW, is_held=False)
    assert after is not None
    assert (after.state, after.returns) == (state, 1)


# Routes.


@pytest.mark.parametrize(
    ("begins", "ends", "at", "until"),
    [
        ("22:00", "06:00", "2026-12-02T21:30", "2026-12-03T05:00"),  # UTC; Berlin is an hour ahead
        ("22:00", "06:00", "2026-12-02T04:59", "2026-12-02T05:00"),
        ("22:00", "06:00", "2026-12-02T05:00", None),
        ("22:00", "06:00", "2026-12-02T20:59", None),
        ("12:00", "13:00", "2026-12-02T11:00", "2026-12-02T12:00"),
        ("12:00", "13:00", "2026-12-02T12:00", None),
        ("22:00", "06:00", "2026-10-24T23:00", "2026-10-25T05:00"),  # summer time ends
    ],
)
def test_quiet_hours_are_in_a_zone_and_may_span_midnight(
    begins: str, ends: str, at: str, until: str | None
) -> None:
    route = Route(
        1,
        "r",
        1,
        quiet_from=time.fromisoformat(begins),
        quiet_to=time.fromisoformat(ends),
        timezone="Europe/Berlin",
    )
    expected = None if until is None else datetime.fromisoformat(f"{until}:00+00:00")
    assert route.quiet_until(datetime.fromisoformat(f"{at}:00+00:00")) == expected


@pytest.mark.parametrize(
    ("digest", "at", "due"),
    [
        ("weekly", "2026-12-02T12:00", "2026-12-07T07:00"),
        ("weekly", "2026-12-07T06:59", "2026-12-07T07:00"),
        ("weekly", "2026-12-07T07:00", "2026-12-14T07:00"),
        ("daily", "2026-12-02T06:00", "2026-12-02T07:00"),
        ("daily", "2026-12-02T07:00", "2026-12-03T07:00"),
        ("weekly", "2026-10-20T00:00", "2026-10-26T07:00"),  # summer time ends on the 25th
    ],
)
def test_reports_come_at_an_hour_of_the_zone(digest: str, at: str, due: str) -> None:
    route = Route(1, "r", 1, digest=digest, timezone="Europe/Berlin")
    found = route.report_after(datetime.fromisoformat(f"{at}:00+00:00"))
    assert found == datetime.fromisoformat(f"{due}:00+00:00")


def test_waits_grow_to_a_quarter_of_an_hour() -> None:
    chance = random.Random(1)
    for attempts, longest in ((1, 10), (2, 20), (3, 40), (8, 900), (500, 900)):
        waits = [wait_after(attempts, chance).total_seconds() for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest


# Addresses.


def test_addresses_of_the_environment_are_divided_as_apprise_does() -> None:
    assert addresses_of(None) == []
    assert addresses_of("json://a/x?to=b,c, file:/run/x\nwebhook+https://h/#s,ntfy://t") == [
        "json://a/x?to=b,c",
        "file:/run/x",
        "webhook+https://h/#s",
        "ntfy://t",
    ]


def test_a_file_of_an_address_is_not_shown(tmp_path: object) -> None:
    with pytest.raises(AddressInvalid) as raised:
        read_address("file:/nowhere/at-all")
    assert (
        str(raised.value) == "The file of the address cannot be read (No such file or directory)."
    )
    with pytest.raises(AddressInvalid) as raised:
        service_of(read_address("file:/etc/passwd"))
    assert "root" not in str(raised.value)


def test_no_part_of_an_address_is_in_a_reason() -> None:
    address = "tgram://12345:SECRETKEY/chat?x=p%40ss"
    text = redact("failed at 12345 SECRETKEY chat p@ss p%40ss telegram", address)
    assert text == "failed at … … … … … telegram"


def test_the_secret_of_an_address_is_in_no_text_of_it() -> None:
    address = "webhook+https://u:pw@h/p?q=1#whsec_" + "QUJD" * 8
    found = parse_http(address)
    assert (found.url, found.secret) == ("https://u:pw@h/p?q=1", b"ABC" * 8)
    assert "pw" not in repr(found)
    assert check_address(address) == "webhook"
