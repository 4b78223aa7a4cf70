"""Readers: turn the output of a backup tool into progress. No I/O."""

from telemetry_client.readers.base import End, LastLines, Reader, Stream
from telemetry_client.readers.choose import Choice, choose_reader, repository_of
from telemetry_client.readers.pattern import PatternReader

__all__ = [
    "Choice",
    "End",
    "LastLines",
    "PatternReader",
    "Reader",
    "Stream",
    "choose_reader",
    "repository_of",
]
