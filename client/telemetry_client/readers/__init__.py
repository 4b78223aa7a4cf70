"""Readers: turn the output of a backup tool into progress. No I/O."""

from telemetry_client.readers.base import End, LastLines, Reader, Stream
from telemetry_client.readers.choose import Choice, choose_reader, repository_of

__all__ = ["Choice", "End", "LastLines", "Reader", "Stream", "choose_reader", "repository_of"]
