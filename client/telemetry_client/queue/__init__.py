"""What could not be sent yet: queues on disk and in memory, and what drains them to the hub."""

from telemetry_client.queue.drain import Drain
from telemetry_client.queue.file_queue import TelemetryQueue
from telemetry_client.queue.memory import MemoryQueue
from telemetry_client.queue.protocol import DeadLetter, Entry, Queue

__all__ = ["DeadLetter", "Drain", "Entry", "MemoryQueue", "Queue", "TelemetryQueue"]
