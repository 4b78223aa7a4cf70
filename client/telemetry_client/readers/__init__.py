"""Readers: turn the output of a backup tool into progress. No I/O."""

from telemetry_client.readers.base import End, Missing, Reader, Stream, plain_end
from telemetry_client.readers.choose import reader_for
from telemetry_client.readers.repository import repository_of

__all__ = ["End", "Missing", "Reader", "Stream", "plain_end", "reader_for", "repository_of"]
