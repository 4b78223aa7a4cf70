"""docs/senders.md#what-is-read is what the code does: each row, and the codes beside it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pytest

from app.config import ROOT
from telemetry_client.cli.explain import ranges
from telemetry_client.readers import choose_reader
from telemetry_client.readers.base import Outcome
from telemetry_client.readers.tools import find, names
from tests.client.readers.captures import FOLDERS
from tests.client.readers.test_captured import RUNS


@dataclass(frozen=True)
class Row:
    """A row of the table. `flags`: an example of a command that can be read, or a dash."""

    tool: str
    version: str
    flags: str
    read: str
    codes: str


def rows() -> list[Row]:
    page = (ROOT / "docs" / "senders.md").read_text()
    lines = page.split("### What is read\n")[1].split("\n###")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [Row(*row) for row in cells[2:]]


each_row = pytest.mark.parametrize("row", rows(), ids=lambda row: row.tool)


def codes_of(command: str) -> str:
    """As in the table: `1, 100–123 warning: …; 130 cancelled: …`."""
    groups: dict[Outcome, list[int]] = {}
    for status, outcome in sorted(choose_reader(shlex.split(command)).reader.exits.items()):
        if outcome.status != "failed":
            groups.setdefault(outcome, []).append(status)
    return "; ".join(
        f"{ranges(statuses)} {kind_of(outcome)}: {outcome.meaning}"
        for outcome, statuses in groups.items()
    )


def kind_of(outcome: Outcome) -> str:
    return "warning" if outcome.status == "completed" and not outcome.is_fine else outcome.status


@each_row
def test_the_row_of_a_tool_is_what_is_done(row: Row) -> None:
    command = row.tool if row.flags == "—" else row.flags.strip("`")
    assert row.read == find(row.tool).reads
    assert row.codes == codes_of(command)
    choice = choose_reader(shlex.split(command))
    assert choice.reader.tool == row.tool
    assert choice.reader.reads_progress == (row.flags != "—")
    assert choice.hint is None


@each_row
def test_what_is_read_of_a_tool_is_tested_with_its_output(row: Row) -> None:
    runs = [run for run in RUNS if row.tool in run.command.split() and run.status == "completed"]
    assert bool(runs) == (row.flags != "—")
    is_recorded = [bool(list(FOLDERS[1].glob(f"{run.name}.*"))) for run in runs]
    assert row.version == "recorded" if any(is_recorded) else row.version != "recorded"


def test_every_tool_has_a_row() -> None:
    assert sorted(row.tool for row in rows()) == sorted(names())


@pytest.mark.parametrize(
    ("command", "status", "expected"),
    [
        ("restic backup /x", 0, "completed"),
        ("restic backup /x", 3, "warning"),
        ("restic backup /x", 1, "failed"),
        ("restic backup /x", 130, "cancelled"),
        ("restic -r backup forget", 3, "failed"),
        ("restic check", 1, "failed"),
        ("rclone sync a b", 9, "completed"),
        ("rclone sync a b", 8, "cancelled"),
        ("rclone sync a b", 3, "failed"),
        ("borg create ::a /x", 1, "warning"),
        ("borg create ::a /x", 100, "warning"),
        ("borg prune", 1, "warning"),
        ("borg create ::a /x", 2, "failed"),
        ("borg create ::a /x", 13, "failed"),
        ("rsync -a a b", 24, "warning"),
        ("rsync -a a b", 20, "cancelled"),
        ("rsync -a a b", 23, "failed"),
        ("rsync -a a b", 12, "failed"),
        ("rsync -a a b", -2, "cancelled"),
        ("tar czf x d", 1, "warning"),
        ("tar -czf x d", 1, "warning"),
        ("tar -czf x d", 2, "failed"),
        ("tar -df x", 1, "failed"),
        ("tar df x", 1, "failed"),
        ("tar --diff -f x", 1, "failed"),
        ("bsdtar czf x d", 1, "failed"),  # its 1 is an error
        ("pg_dump x", 1, "failed"),
        ("pg_restore -d x y", 1, "failed"),
        ("gzip x", 2, "warning"),
        ("rsnapshot daily", 2, "warning"),
        ("qemu-img check x", 3, "warning"),
        ("qemu-img check x", 2, "failed"),
        ("qemu-img convert a b", 1, "failed"),
        ("robocopy a b", 1, "completed"),
        ("robocopy a b", 3, "completed"),
        ("robocopy.exe a b", 7, "warning"),
        ("robocopy a b", 8, "failed"),
        ("aws s3 sync a b", 1, "failed"),
        ("unknown", 0, "completed"),
        ("unknown", 1, "failed"),
        ("unknown", 143, "cancelled"),
    ],
)
def test_exit_codes_have_the_meaning_of_the_tool_without_any_flag(
    command: str, status: int, expected: str
) -> None:
    end = choose_reader(command.split()).reader.end(status)
    is_warning = end.status == "completed" and end.error is not None
    assert ("warning" if is_warning else end.status) == expected
