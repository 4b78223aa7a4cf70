"""aws s3 cp, mv, sync: one line on stdout that overwrites itself.

awscli/customizations/s3/results.py of its source,
https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-returncodes.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, Reader, cancelled, failed
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

# While files are still being counted the total has a tilde, and is not one.
_COUNTED = r"^Completed (?P<done>[\d.]+ \w+)/(?P<total>[\d.]+ \w+) \("
_COUNTING = r"^Completed (?P<done>[\d.]+ \w+)/~"
_SILENT = ("--quiet", "--no-progress", "--only-show-errors")


class Aws(Tool):
    name = "aws"
    reads = "s3 cp, mv, sync: bytes; total once all files are counted"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not call.is_blind:
            if "s3" not in call.given or not {"cp", "mv", "sync"} & set(call.given):
                return None
            if silent := [name for name in _SILENT if call.has(name)]:
                return Missing(f"its progress, not {silent[0]},")
        return PatternReader([_COUNTED, _COUNTING], base=1024)

    def exits(self, call: Call) -> Exits:
        return {
            1: failed("some transfers failed"),
            2: failed("some files were skipped, or the command line is wrong"),
            130: cancelled("interrupted"),
        }

    def is_dry_run(self, call: Call) -> bool:
        return call.has("--dryrun")

    def repository(self, call: Call) -> str | None:
        targets = [word for word in call.given if word.startswith("s3://")]
        return targets[-1] if targets else None


TOOL = Aws()
