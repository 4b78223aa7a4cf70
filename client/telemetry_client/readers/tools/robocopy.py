"""robocopy: its exit codes, and the bytes of the summary at its end.

https://learn.microsoft.com/windows-server/administration/windows-commands/robocopy
"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, Reader, failed, fine, warning
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_SUMMARY = r"^Bytes : +[\d.]+(?: [kmgt])? +(?P<done>[\d.]+(?: [kmgt])?)(?: |$)"
_MISMATCHED = warning("some files or directories do not match those of the target")


class Robocopy(Tool):
    name = "robocopy"
    reads = "the bytes that were copied, at the end"

    def reader(self, call: Call) -> Reader | Missing | None:
        if any(arg.upper() in ("/NJS", "/LOG", "/UNILOG") for arg in call.given):
            return Missing("its job summary, without /NJS or /LOG")
        return PatternReader([_SUMMARY], base=1024)

    def exits(self, call: Call) -> Exits:
        """A sum of 1 (copied), 2 (the target has more), 4 (mismatch), 8 and 16 (errors)."""
        return {
            1: fine("files were copied"),
            2: fine("the target has more files"),
            3: fine("files were copied; the target has more"),
            **dict.fromkeys((4, 5, 6, 7), _MISMATCHED),
            8: failed("some files could not be copied"),
            16: failed("nothing was copied"),
        }

    def is_dry_run(self, call: Call) -> bool:
        return any(arg.upper() == "/L" for arg in call.given)

    def repository(self, call: Call) -> str | None:
        words = [arg for arg in call.given if not arg.startswith("/")]
        return words[1] if len(words) > 1 else None


TOOL = Robocopy()
