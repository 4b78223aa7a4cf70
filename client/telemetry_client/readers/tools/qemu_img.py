"""qemu-img -p: percents on stdout, in one line that overwrites itself.

https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, Reader, failed, warning
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_LINE = r"\((?P<percent>[\d.]+)/100%\)"
_WITH_PROGRESS = frozenset("amend commit compare convert rebase resize".split())


class QemuImg(Tool):
    name = "qemu-img"
    valued = tuple(f"-{letter}" for letter in "bBfFlmoOrsStT")
    reads = "convert, commit, rebase, compare: percent"

    def reader(self, call: Call) -> Reader | Missing | None:
        if not call.is_blind:
            if call.command() not in _WITH_PROGRESS:
                return None
            if call.has("--quiet", "q") or not call.has("--progress", "p"):
                return Missing("-p")
        return PatternReader([_LINE])

    def exits(self, call: Call) -> Exits:
        if call.command() == "check":
            return {
                1: failed("the check could not be completed"),
                2: failed("the image is corrupted"),
                3: warning("the image has leaked clusters"),
            }
        return {1: failed("the images differ")} if call.command() == "compare" else {}

    def repository(self, call: Call) -> str | None:
        words = call.words()
        return words[-1] if words[:1] == ["convert"] and len(words) > 2 else None


TOOL = QemuImg()
