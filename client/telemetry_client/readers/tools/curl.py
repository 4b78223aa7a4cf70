"""curl: its progress meter on stderr, which it shows if its output is not a terminal.

https://everything.curl.dev/cmdline/progressmeter.html
"""

from __future__ import annotations

from telemetry_client.readers.base import Exits, Reader, failed
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tool import Missing, Tool

_SIZE = r"\d[\d.]*[kMGTP]?"
_LINE = rf"^(?P<percent>\d+) +(?P<total>{_SIZE}) +\d+ +{{}} +\d+ +{{}} +{_SIZE} +{_SIZE} +[-\d]"
_RECEIVED = _LINE.format(rf"(?P<done>{_SIZE})", _SIZE)
_SENT = _LINE.format(_SIZE, rf"(?P<done>{_SIZE})")
_BAR = r"^[-#O= ]*(?P<percent>\d+\.\d)%$"
_NOISE = r"^(?:% +Total|Dload +Upload|[-#O= ]+$)"


class Curl(Tool):
    name = "curl"
    valued = tuple(f"-{letter}" for letter in "AbcCdDeEFHKmoPQrtTuUwxXyYz")
    reads = "bytes and total, in three digits (-#: percent)"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.has("--silent", "s") or call.has("--no-progress-meter"):
            return Missing("its progress meter, not -s,")
        uploads = call.value("-T", "--upload-file", "-d", "--data-binary", "-F", "--form")
        lines = [_SENT if uploads else _RECEIVED, _BAR]
        return PatternReader(lines, base=1024, streams=("stderr",), noise=_NOISE)

    def exits(self, call: Call) -> Exits:
        return {
            6: failed("the host was not found"),
            7: failed("the connection was refused"),
            18: failed("the transfer ended too early"),
            22: failed("the server answered with an error"),
            28: failed("timeout"),
        }


TOOL = Curl()
