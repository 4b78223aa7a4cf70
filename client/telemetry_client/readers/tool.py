"""How a tool is described: one subclass of `Tool` in one file of `tools/`."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry_client.readers.base import Exits, Reader
from telemetry_client.readers.call import Call


@dataclass(frozen=True)
class Missing:
    """The output cannot be read without what `hint` says: `run it with {hint}`."""

    hint: str


class Tool:
    """What is known of a tool. The default answers are those of a tool of which nothing is known.

    To add a tool, add a file to `tools/` with its name, with underscores for hyphens, whose `TOOL`
    is an instance of a subclass; and a row to docs/senders.md, which a test compares with it.
    """

    name = "tool"
    valued: tuple[str, ...] = ()  # its options with a value in the next argument, as in `Call`
    reads = ""  # for --explain and the documents: what its output says

    def reader(self, call: Call) -> Reader | Missing | None:
        """A reader of its progress; what is missing for that; None if it never says it."""
        return None

    def exits(self, call: Call) -> Exits:
        """What its exit statuses mean, other than 0, signals, and failure."""
        return {}

    def is_dry_run(self, call: Call) -> bool:
        """Whether it will write nothing."""
        return False

    def repository(self, call: Call) -> str | None:
        """Where it writes to; passwords are removed by the caller."""
        return None
