"""curl: its progress meter on stderr, which it shows if its output is not a terminal.

https://everything.curl.dev/cmdline/progressmeter.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from telemetry_client.readers.base import Exits, Reader, Stream, count_of, failed
from telemetry_client.readers.call import Call
from telemetry_client.readers.pattern import PatternReader, size_in
from telemetry_client.readers.tool import Missing, Tool

_SIZE = r"\d[\d.]*[kMGTP]?"
_LINE = re.compile(
    rf"\d+ +(?P<total>{_SIZE}) +(?P<part_received>\d+) +(?P<received>{_SIZE})"
    rf" +(?P<part_sent>\d+) +(?P<sent>{_SIZE}) +{_SIZE} +{_SIZE} +[-\d]",
    re.ASCII,
)
_ROUNDED = 1.01  # each number has three digits
_BAR = r"^[-#O= ]*(?P<percent>\d+\.\d)%$"
_NOISE = r"^(?:% +Total|Dload +Upload|[-#O= ]+$)"


class Curl(Tool):
    name = "curl"
    valued = tuple(f"-{letter}" for letter in "AbcCdDeEFHKmoPQrtTuUwxXyYz")
    reads = "bytes and total, in three digits (-#: percent)"

    def reader(self, call: Call) -> Reader | Missing | None:
        if call.has("--silent", "s") or call.has("--no-progress-meter"):
            return Missing("its progress meter, not -s,")
        return CurlReader()

    def exits(self, call: Call) -> Exits:
        return {
            6: failed("the host was not found"),
            7: failed("the connection was refused"),
            18: failed("the transfer ended too early"),
            22: failed("the server answered with an error"),
            28: failed("timeout"),
        }


TOOL = Curl()


class CurlReader(PatternReader):
    """A request may send bytes and receive some: its total is that of both."""

    def __init__(self) -> None:
        super().__init__([_BAR], streams=("stderr",), noise=_NOISE)

    def take_all(self, lines: Sequence[str], stream: Stream) -> None:
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                super().take_all([line], stream)
            else:
                self._take_numbers(match)

    def _take_numbers(self, match: re.Match[str]) -> None:
        received, sent, total = (
            size_in(match[name], 1024) or 0 for name in ("received", "sent", "total")
        )
        done = received + sent
        if total < done <= total * _ROUNDED:
            done = total
        # curl shows what it has moved as the total if it does not know the size: as 0 % of it.
        is_unknown = (received and match["part_received"] == "0") or (
            sent and match["part_sent"] == "0"
        )
        self.progress = replace(
            self.progress,
            bytes_transferred=count_of(done),
            total_bytes=None if done >= total and is_unknown else total,
            phase="transferring",
        )
