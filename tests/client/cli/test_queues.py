"""`telemetry queue`: what waits is counted, sent, and put back from the dead letters."""

from __future__ import annotations

import json
from typing import Any

from telemetry_client import TelemetryQueue
from tests.client.cli.conftest import Shell
from tests.client.tools import full_disk
from tools.faulty_hub import FaultyHub


def fill(shell: Shell, *updates: dict[str, Any]) -> None:
    """A spool with these updates, all of one job."""
    shell.spool.parent.mkdir(parents=True, exist_ok=True)
    with TelemetryQueue(shell.spool) as queue:
        for number, update in enumerate(updates):
            stamp = f"2026-01-01T00:00:{number:02}Z"
            base = {"job_id": "backup-1", "job_type": "backup", "status": "running"}
            queue.enqueue({**base, "timestamp": stamp, **update})


def counted(shell: Shell) -> dict[str, str]:
    done = shell.telemetry("queue", "stats")
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.decode().splitlines())


def test_a_queue_on_a_full_disk_can_be_drained(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.spool.parent.mkdir()
    with TelemetryQueue(shell.spool) as queue:
        for number in range(30):
            queue.enqueue({"job_id": "backup-1", "status": "running", "bytes_transferred": number})
    before = shell.spool.read_bytes()
    with full_disk():
        done = shell.telemetry("queue", "drain")
    assert done.returncode == 0, done.stderr
    assert b"the disk is full or failing" in done.stderr
    assert b"30 sent" in done.stdout
    assert b"The 30 entries stay in " in done.stderr
    assert [update["bytes_transferred"] for update in faulty_hub.accepted] == list(range(30))
    assert shell.spool.read_bytes() == before
    assert b"30 sent" in shell.telemetry("queue", "drain").stdout, "there is room again"
    assert (len(faulty_hub.accepted), faulty_hub.duplicates) == (30, 30)
    with TelemetryQueue(shell.spool) as queue:
        assert queue.get_queue_size() == 0


def test_stats_count_what_waits(shell: Shell) -> None:
    fill(shell, {}, {})
    stats = counted(shell)
    assert (stats["pending"], stats["dead"], stats["db_path"]) == ("2", "0", str(shell.spool))


def test_looking_for_a_queue_makes_none(shell: Shell) -> None:
    for command in ("stats", "drain", "dead", "replay"):
        done = shell.telemetry("queue", command)
        assert done.returncode == 0
        assert b"no such queue" in done.stderr
    assert not shell.spool.exists()


def test_a_file_that_was_never_a_queue_stays_where_it_is(shell: Shell) -> None:
    notes = shell.folder / "notes.txt"
    notes.write_text("these are no updates")
    for command in ("stats", "drain", "dead", "replay"):
        done = shell.telemetry("queue", command, "--path", str(notes))
        assert done.returncode == 1
        assert b"notes.txt: it is not a queue" in done.stderr
    assert notes.read_text() == "these are no updates"
    assert [path.name for path in shell.folder.glob("notes*")] == ["notes.txt"]


def test_drain_sends_everything_in_order(shell: Shell, faulty_hub: FaultyHub) -> None:
    fill(shell, *({"bytes_transferred": number} for number in range(5)))
    done = shell.telemetry("queue", "drain")
    assert done.returncode == 0
    assert b"5 sent" in done.stdout
    assert [update["bytes_transferred"] for update in faulty_hub.accepted] == list(range(5))
    assert counted(shell)["pending"] == "0"


def test_drain_says_that_the_hub_is_away(lonely_shell: Shell) -> None:
    fill(lonely_shell, {})
    done = lonely_shell.telemetry("queue", "drain")
    assert done.returncode == 2
    assert b"cannot be reached" in done.stderr
    assert counted(lonely_shell)["pending"] == "1"


def test_what_the_hub_refuses_is_listed_with_its_reason(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    faulty_hub.poison = lambda update: update.get("current_phase") == "poison"
    fill(shell, {}, {"current_phase": "poison"}, {})
    drained = shell.telemetry("queue", "drain")
    assert drained.returncode == 1
    assert b"2 sent" in drained.stdout
    assert b"1 refused" in drained.stdout
    (letter,) = map(json.loads, shell.telemetry("queue", "dead").stdout.splitlines())
    assert letter["payload"]["current_phase"] == "poison"
    assert "timestamp" in letter["reason"]

    faulty_hub.poison = lambda update: False
    replayed = shell.telemetry("queue", "replay", str(letter["id"]))
    assert (replayed.returncode, replayed.stdout) == (0, b"1 put back into the queue.\n")
    assert shell.telemetry("queue", "drain").returncode == 0
    assert len(faulty_hub.accepted) == 3
    assert shell.telemetry("queue", "dead").stdout == b"No dead letters.\n"


def test_replay_of_what_is_not_a_dead_letter_is_said(shell: Shell) -> None:
    fill(shell, {})
    done = shell.telemetry("queue", "replay", "99")
    assert done.returncode == 1
    assert b"are not dead letters" in done.stderr


def test_another_queue_is_named_by_its_path(shell: Shell) -> None:
    fill(shell, {})
    other = shell.spool.with_name("other.db")
    shell.spool.rename(other)
    done = shell.telemetry("queue", "drain", "--path", str(other))
    assert done.returncode == 0
    assert b"1 sent" in done.stdout


def test_a_queue_that_cannot_be_read_is_a_sentence(shell: Shell) -> None:
    shell.spool.mkdir(parents=True)
    done = shell.telemetry("queue", "stats")
    assert done.returncode == 1
    assert str(shell.spool).encode() in done.stderr
    assert b"Traceback" not in done.stderr
