"""Whatever a tool writes, however it is cut into reads: the same result, and nothing is raised."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry_client.readers import End, LastLines, Reader
from telemetry_client.readers.lines import LONGEST_LINE, Lines
from telemetry_client.readers.pattern import PatternReader
from telemetry_client.readers.tools.borg import BorgReader
from telemetry_client.readers.tools.curl import CurlReader
from telemetry_client.readers.tools.pv import PvReader
from telemetry_client.readers.tools.rclone import RcloneReader
from telemetry_client.readers.tools.restic import ResticReader
from telemetry_client.readers.tools.rsync import RsyncReader
from telemetry_client.readers.tools.zfs import ZfsSendReader
from telemetry_client.wire.cleaning import LARGEST_INTEGER, clean_progress
from tests.client.readers.captures import FOLDERS

READERS: dict[str, Callable[[], Reader]] = {
    "last lines": LastLines,
    "restic": ResticReader,
    "rclone": RcloneReader,
    "borg": lambda: BorgReader(has_json=True),
    "rsync": RsyncReader,
    "pv": lambda: PvReader(5_000_000, has_bytes=True, has_elapsed=True),
    "curl": CurlReader,
    "zfs": ZfsSendReader,
    "pattern": lambda: PatternReader(
        [r"(?P<done>\d\S* ?[kMG]?i?B?)\D+(?P<total>\d+)?", r"(?P<percent>[\d.]+)%(?P<phase>.*)"]
    ),
}
CAPTURED = [path.read_bytes()[:4000] for folder in FOLDERS for path in sorted(folder.iterdir())]
each_reader = pytest.mark.parametrize("make", READERS.values(), ids=READERS.keys())

numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5)
json_values = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = """message_type percent_done total_bytes bytes_done seconds_remaining seconds_elapsed
    bytes_restored total_bytes_processed error message item action stats level msg object type
    original_size msgid current total levelname code""".split()
KINDS = st.sampled_from(
    "status summary error exit_error archive_progress progress_percent log_message ERROR".split()
)
objects = st.dictionaries(st.sampled_from(KEYS), json_values | KINDS, max_size=8)
stats = st.fixed_dictionaries(
    {"stats": st.dictionaries(st.sampled_from(["bytes", "totalBytes", "eta"]), json_values)}
)
json_lines = (objects | stats).map(lambda value: json.dumps(value).encode())
rsync_lines = st.from_regex(
    rb"[0-9.,']{1,35}[KMGTP]? {1,3}[0-9]{1,4}% +[0-9]{1,12}[.,][0-9]{2}[kMGT]B/s +"
    rb"[0-9]{1,12}:[0-9]{2}:[0-9]{2}( \(xfr#[0-9]+, (ir|to)-chk=[0-9]+/[0-9]+\))?",
    fullmatch=True,
)
ends_of_lines = st.sampled_from([b"\n", b"\r", b"\r\n", b""])
pieces = st.binary(max_size=40) | json_lines | rsync_lines | st.sampled_from(CAPTURED)
streams_of_bytes = st.lists(st.tuples(pieces, ends_of_lines), max_size=6).map(
    lambda parts: b"".join(piece + end for piece, end in parts)
)


def run(reader: Reader, chunks: list[bytes], exit_status: int = 1) -> End:
    for chunk in chunks:
        reader.feed(chunk, "stderr")
    return reader.end(exit_status)


@each_reader
@settings(max_examples=50, deadline=None)
@given(data=streams_of_bytes, cuts=st.lists(st.integers(0, 20_000), max_size=8))
def test_any_split_gives_the_same_result(
    make: Callable[[], Reader], data: bytes, cuts: list[int]
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert run(make(), chunks) == run(make(), [data])


@each_reader
@settings(max_examples=50, deadline=None)
@given(data=streams_of_bytes, exit_status=st.integers(-70, 300))
def test_what_comes_of_it_the_hub_can_take(
    make: Callable[[], Reader], data: bytes, exit_status: int
) -> None:
    end = run(make(), [data], exit_status)
    progress = end.progress
    counts = (progress.bytes_transferred, progress.total_bytes, progress.speed_bps)
    for count in (*counts, progress.eta_seconds):
        assert count is None or (isinstance(count, int) and 0 <= count <= LARGEST_INTEGER)
    assert progress.percent is None or 0 <= progress.percent <= 100
    assert (end.status == "failed") <= (end.error is not None)
    assert len(end.error or "") <= 1000
    complaints: list[Any] = []
    clean_progress(progress, lambda field, sentence: complaints.append(sentence))
    assert complaints == []


@pytest.mark.parametrize("data", CAPTURED)
def test_single_bytes_give_the_lines_of_the_whole(data: bytes) -> None:
    one_by_one = Lines()
    lines = [line for byte in data for line in one_by_one.feed(bytes([byte]))]
    whole = Lines()
    assert lines + one_by_one.flush() == whole.feed(data) + whole.flush()


def test_a_line_without_end_is_left_out_and_costs_no_memory() -> None:
    lines = Lines()
    for _ in range(40):
        assert lines.feed(b"x" * (LONGEST_LINE // 10)) == []
    assert len(lines._rest) <= LONGEST_LINE
    assert lines.feed(b"\nnext\n") == ["next"]


def test_a_character_cut_in_two_is_whole_again() -> None:
    lines = Lines()
    assert lines.feed("für".encode()[:2]) == []
    assert lines.feed("für".encode()[2:] + b"\n") == ["für"]


@each_reader
def test_deep_nesting_and_giant_numbers_are_only_words(make: Callable[[], Reader]) -> None:
    reader = make()
    many = b"9" * 6000
    numbers = (
        many,
        many[:400] + b"G",
        b"15:15:40 " + many + b"G a@b",
        b"1 " + many + b" 1 2 1 2 3 4 -",
    )
    for line in (b"[" * 100_000, b'{"a":' * 50_000, b'{"bytes_done":' + many + b"}", *numbers):
        reader.feed(line + b"\n", "stderr")
    assert reader.end(0).status == "completed"


@each_reader
def test_a_flood_of_one_line_is_read_once(make: Callable[[], Reader]) -> None:
    """A tool may say the same thousands of times a second, and waits for us while we read it."""
    reader = make()
    taken: list[str] = []
    reader.take = lambda line, stream: taken.append(line)  # type: ignore[method-assign]
    reader.feed(b"y\n" * 32_768, "stderr")
    reader.feed(b"y\n" * 32_768, "stderr")
    assert len(taken) <= 4
