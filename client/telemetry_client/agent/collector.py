"""Measures this node with psutil, as the message that WebSocket clients get.

If a sensor fails, only its own fields are left out. "gb" and "mb" are 1024³ and 1024² bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

import psutil

from telemetry_client.agent.containers import container_memory
from telemetry_client.agent.disks import ROOT, MountReader, partitions
from telemetry_client.agent.rates import Rate

logger = logging.getLogger("telemetry_client.agent")

GIGABYTE = 1024**3
TOP_PROCESSES = 5

Message = dict[str, Any]
_Value = TypeVar("_Value")


class Collector:
    """Measures this node. Not thread-safe: psutil keeps its last readings per thread.

    Speeds and processor load are those since the previous call. Call `prime()` a moment before the
    first one.
    """

    def __init__(self, node_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._node_id = node_id
        self._clock = clock
        self._received, self._sent = Rate(), Rate()
        self._read, self._written = Rate(), Rate()
        self._mounts = MountReader()
        self._broken: set[str] = set()

    def prime(self) -> None:
        """Take the readings that the next call is compared with."""
        self._cpu()
        self._network()
        self._disk_io()

    def collect(self) -> Message:
        """The message; unknown fields are absent."""
        return {
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z",
            "node_id": self._node_id,
            "metrics": {
                "cpu": self._cpu(),
                "memory": self._memory(),
                "disk": {**self._disks(), "disk_io": self._disk_io()},
                "network": self._network(),
                "processes": self._processes(),
                "system": _known(uptime_seconds=self._sense("uptime", uptime_seconds)),
            },
        }

    def _cpu(self) -> Message:
        load = self._sense("load average", psutil.getloadavg) or (None, None, None)
        return _known(
            cpu_usage_percent=self._sense("processor", psutil.cpu_percent),
            cpu_per_core_percent=self._sense("cores", lambda: psutil.cpu_percent(percpu=True)),
            load_avg_1min=load[0],
            load_avg_5min=load[1],
            load_avg_15min=load[2],
        )

    def _memory(self) -> Message:
        memory = self._sense("memory", _memory)
        swap = self._sense("swap", psutil.swap_memory)
        found: Message = {} if memory is None else memory
        if swap is not None:
            found |= {
                "swap_total_gb": _gigabytes(swap.total),
                "swap_used_gb": _gigabytes(swap.used),
                "swap_usage_percent": swap.percent,
            }
        return found

    def _disks(self) -> Message:
        """How full each device is, by its first mount, and which mounts do not answer."""
        usages: Message = {}
        devices: set[str] = set()
        for partition in self._sense("partitions", partitions) or []:
            if partition.device not in devices:
                usage = self._disk_usage(partition.mountpoint)
                if usage is not None:
                    devices.add(partition.device)
                    usages[partition.mountpoint] = usage
        if not usages and (root := self._disk_usage(ROOT)):  # the disk below a container's overlay
            usages[ROOT] = root
        return {"disk_usage": usages, **_known(skipped=self._mounts.hanging or None)}

    def _disk_usage(self, mount: str) -> Message | None:
        usage = self._sense(f"disk {mount}", partial(self._mounts.usage, mount))
        if usage is None:
            return None
        return {
            "total_gb": _gigabytes(usage.total),
            "used_gb": _gigabytes(usage.used),
            "free_gb": _gigabytes(usage.free),
            "usage_percent": usage.percent,
        }

    def _disk_io(self) -> Message:
        counters = self._sense("disk counters", lambda: psutil.disk_io_counters(nowrap=False))
        if counters is None:
            self._read.forget()
            self._written.forget()
            return {}
        now = self._clock()
        return _known(
            read_mb_per_sec=_speed(self._read, {"all": counters.read_bytes}, now),
            write_mb_per_sec=_speed(self._written, {"all": counters.write_bytes}, now),
        )

    def _network(self) -> Message:
        """All interfaces together, including the loopback."""
        found = _known(active_connections=self._sense("connections", _connection_count))
        counters = self._sense("network", lambda: psutil.net_io_counters(pernic=True, nowrap=False))
        if not counters:
            self._received.forget()
            self._sent.forget()
            return found
        now = self._clock()
        received = {name: nic.bytes_recv for name, nic in counters.items()}
        sent = {name: nic.bytes_sent for name, nic in counters.items()}
        return found | _known(
            bytes_sent_mb_per_sec=_speed(self._sent, sent, now),
            bytes_recv_mb_per_sec=_speed(self._received, received, now),
            bytes_sent=sum(sent.values()),
            bytes_recv=sum(received.values()),
            packets_sent=sum(nic.packets_sent for nic in counters.values()),
            packets_recv=sum(nic.packets_recv for nic in counters.values()),
        )

    def _processes(self) -> Message:
        pids = self._sense("processes", psutil.pids)
        return _known(
            process_count=None if pids is None else len(pids),
            top_memory_processes=self._sense("top processes", _top_processes),
        )

    def _sense(self, name: str, read: Callable[[], _Value]) -> _Value | None:
        """The value of a sensor; None if it fails, which is logged once while it lasts."""
        try:
            value = read()
        except Exception as exc:  # whatever a driver or /proc may cause
            if name not in self._broken:
                self._broken.add(name)
                logger.warning(
                    "[telemetry-ws] Sensor %r fails, its fields are left out: %s: %s",
                    name,
                    type(exc).__name__,
                    exc,
                )
            return None
        if name in self._broken:
            self._broken.discard(name)
            logger.info("[telemetry-ws] Sensor %r works again", name)
        return value


def uptime_seconds() -> int:
    """Seconds since the node started. On Linux by a clock that cannot be set."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return int(time.clock_gettime(time.CLOCK_BOOTTIME))
    return max(0, int(time.time() - psutil.boot_time()))


def _memory() -> Message:
    """Of the container, or else of the machine."""
    machine = psutil.virtual_memory()
    total, used, available = machine.total, machine.used, machine.available
    percent = machine.percent
    container = container_memory()
    if container is not None and 0 < container.total < machine.total:
        total, used = container.total, min(container.used, container.total)
        available = total - used
        percent = round(100 * used / total, 1)
    return {
        "memory_total_gb": _gigabytes(total),
        "memory_used_gb": _gigabytes(used),
        "memory_available_gb": _gigabytes(available),
        "memory_usage_percent": percent,
    }


def _connection_count() -> int:
    return len(psutil.net_connections())


def _top_processes() -> list[Message]:
    """The processes that use most memory."""
    found = [process.info for process in psutil.process_iter(["pid", "name", "memory_percent"])]
    found.sort(key=lambda info: info["memory_percent"] or 0.0, reverse=True)
    return [
        {**info, "memory_percent": round(info["memory_percent"] or 0.0, 2)}
        for info in found[:TOP_PROCESSES]
    ]


def _speed(rate: Rate, counters: Mapping[str, int], now: float) -> float | None:
    speed = rate.megabytes_per_second(counters, now)
    return None if speed is None else round(speed, 4)


def _gigabytes(count: int) -> float:
    return round(count / GIGABYTE, 3)


def _known(**values: Any) -> Message:
    return {name: value for name, value in values.items() if value is not None}
