"""The settings from the environment, in the order in which `python -m app config` prints them."""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
PARENT_VARIABLE = "HUB_PARENT_PID"  # set by `serve` for the processes it starts
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # likewise, where several web workers count
TEST_PREFIX = "HUB_TEST_"  # variables of the project's own tests
_HTTP = re.compile(r"https?://[^\s/]\S*", re.I)


def _setting(
    variable: str,
    default: Any,
    meaning: str,
    *,
    low: int | None = None,
    high: int | None = None,
    is_tuning: bool = False,
    is_secret: bool = False,
) -> Any:
    """A dataclass field with its variable's name, bounds and meaning.

    `is_tuning`: few operators need it; `python -m app config` shows it with `--all` only.
    `is_secret`: its value is never shown.
    """
    metadata = {
        "variable": variable,
        "meaning": meaning,
        "low": low,
        "high": high,
        "is_tuning": is_tuning,
        "is_secret": is_secret,
    }
    return field(default=default, repr=not is_secret, metadata=metadata)


_tuning = partial(_setting, is_tuning=True)


@dataclass(frozen=True)
class Config:
    """Every setting of the hub. Build it with `Config.from_env()`; tests use keywords."""

    host: str = _setting("HUB_HOST", "127.0.0.1", "address that the hub listens on")
    port: int = _setting("HUB_PORT", 8082, "port that the hub listens on", low=1, high=65535)
    data_dir: Path = _setting(
        "HUB_DATA_DIR", Path("var"), "directory of the embedded database and its address files"
    )
    embedded_port: int = _setting(
        "HUB_EMBEDDED_PORT", 8432, "port of the embedded database (0: any free)", low=0, high=65535
    )
    database_url: str | None = _setting(
        "DATABASE_URL", None, "address of a TimescaleDB server to use instead of the embedded one"
    )
    owner_url: str | None = _setting(
        "HUB_OWNER_URL",
        None,
        "address of the same database for the owner of its tables: for migrations, tasks, repair "
        "and doctor (default: DATABASE_URL, which gives the web workers the owner's rights)",
    )
    read_url: str | None = _setting(
        "HUB_READ_URL",
        None,
        "address of a standby of DATABASE_URL, from which charts and lists are read",
    )
    token_key_file: Path | None = _setting(
        "HUB_TOKEN_KEY_FILE", None, "file with the keys that sign tokens (default: no tokens)"
    )
    allowed_hosts: str | None = _setting(
        "HUB_ALLOWED_HOSTS",
        None,
        "host names, separated by commas, that the hub answers to besides its address and "
        "localhost; * for any, which is the default with a token key",
    )
    tls_cert: Path | None = _setting(
        "HUB_TLS_CERT", None, "file with the certificate (chain) for HTTPS"
    )
    tls_key: Path | None = _setting(
        "HUB_TLS_KEY", None, "file with the certificate's private key; set both or neither"
    )
    workers: int = _setting("HUB_WORKERS", 1, "web worker processes", low=1, high=64)
    stale_after_seconds: int = _setting(
        "HUB_STALE_AFTER_SECONDS", 60, "silence after which a job is stalled", low=1, high=86_400
    )
    fail_after_seconds: int = _setting(
        "HUB_FAIL_AFTER_SECONDS", 300, "silence after which a job is failed", low=2, high=604_800
    )
    node_offline_seconds: int = _setting(
        "HUB_NODE_OFFLINE_SECONDS", 180, "silence after which a node is offline", low=1, high=86_400
    )
    raw_retention_days: int = _setting(
        "HUB_RAW_RETENTION_DAYS", 30, "days that single updates are kept", low=2, high=36_500
    )
    rollup_1m_retention_days: int = _setting(
        "HUB_ROLLUP_1M_RETENTION_DAYS",
        365,
        "days that 1-minute rollups are kept; more than HUB_RAW_RETENTION_DAYS",
        low=3,
        high=36_500,
    )
    public_url: str | None = _setting(
        "HUB_PUBLIC_URL", None, "address at which people reach the hub, for links in messages"
    )
    notify_urls: str | None = _setting(
        "HUB_NOTIFY_URLS",
        None,
        "addresses, separated by spaces, that are told what needs attention: docs/notifications.md",
        is_secret=True,
    )
    heartbeat_url: str | None = _setting(
        "HUB_HEARTBEAT_URL",
        None,
        "address that is called every minute while the hub works, for a service that notices when "
        "it does not",
        is_secret=True,
    )
    log_level: str = _setting("HUB_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")

    threads: int = _tuning(
        "HUB_THREADS",
        256,
        "request threads in each web worker, started as needed",
        low=16,
        high=1000,
    )
    # 500 updates a second for the 2 s for which the embedded database may pause, and as many again.
    # Each takes about 10 KiB.
    waiting_pushes: int = _tuning(
        "HUB_WAITING_PUSHES",
        2_000,
        "pushes that may wait for their commit in each web worker; more are answered 503",
        low=1,
        high=100_000,
    )
    queue_updates: int = _tuning(
        "HUB_QUEUE_UPDATES",
        20_000,
        "recent updates that may wait to be stored in each web worker, and as many old ones",
        low=1,
        high=10_000_000,
    )
    wait_seconds: int = _tuning(
        "HUB_WAIT_SECONDS",
        10,
        "longest time a push waits while none of its updates is committed",
        low=1,
        high=300,
    )
    request_seconds: int = _tuning(
        "HUB_REQUEST_SECONDS",
        30,
        "longest time in which a request must arrive, and the client must read on in its answer",
        low=1,
        high=3600,
    )
    token_rate: int = _tuning(
        "HUB_TOKEN_RATE",
        0,
        "updates a second of each token in each web worker; more are answered 429 (0: no limit)",
        low=0,
        high=1_000_000,
    )
    max_body_bytes: int = _tuning(
        "HUB_MAX_BODY_BYTES", 1 << 20, "largest body of a single push", low=1024, high=1 << 30
    )
    max_batch_bytes: int = _tuning(
        "HUB_MAX_BATCH_BYTES",
        16 << 20,
        "largest body of a batch, before and after decompression",
        low=1024,
        high=1 << 30,
    )
    chart_cache_mb: int = _tuning(
        "HUB_CHART_CACHE_MB",
        32,
        "memory for charts of ended jobs that each web worker keeps ready, in MiB (0: none)",
        low=0,
        high=65_536,
    )
    metrics_series: int = _tuning(
        "HUB_METRICS_SERIES",
        10_000,
        "series of runs in /metrics, and as many nodes; the newest, if there are more (0: none)",
        low=0,
        high=1_000_000,
    )
    late_data_days: int = _tuning(
        "HUB_LATE_DATA_DAYS",
        28,
        "age from which timestamps are shifted; less than HUB_RAW_RETENTION_DAYS",
        low=1,
        high=36_499,
    )
    sweep_seconds: int = _tuning(
        "HUB_SWEEP_SECONDS", 30, "interval of the search for stale jobs", low=1, high=3600
    )
    rollup_seconds: int = _tuning(
        "HUB_ROLLUP_SECONDS", 60, "interval of the refresh of rollups", low=1, high=3600
    )
    compress_after_hours: int = _tuning(
        "HUB_COMPRESS_AFTER_HOURS", 24, "age at which chunks are compressed", low=1, high=87_600
    )
    task_speedup: int = _tuning(
        "HUB_TASK_SPEEDUP", 1, "divides the intervals of all tasks; for soak tests", low=1, high=100
    )

    def __post_init__(self) -> None:
        for name in ("data_dir", "token_key_file", "tls_cert", "tls_key"):
            # Absolute, because processes that share it may run in different directories.
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path).absolute())
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("HUB_TLS_CERT and HUB_TLS_KEY belong together: set both or neither.")
        self._check_databases()
        for name, larger in (
            ("stale_after_seconds", "fail_after_seconds"),
            ("late_data_days", "raw_retention_days"),
            ("raw_retention_days", "rollup_1m_retention_days"),
        ):
            if getattr(self, name) >= getattr(self, larger):
                raise ConfigError(
                    f"HUB_{name.upper()} ({getattr(self, name)}) must be smaller than "
                    f"HUB_{larger.upper()} ({getattr(self, larger)})."
                )
        for name in ("public_url", "heartbeat_url"):
            _check_url(f"HUB_{name.upper()}", getattr(self, name))
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError(
                f"HUB_LOG_LEVEL is {self.log_level!r}: it must be DEBUG, INFO, WARNING or ERROR."
            )

    def _check_databases(self) -> None:
        if self.owner_url is not None and self.database_url is None:
            raise ConfigError(
                "HUB_OWNER_URL is set and DATABASE_URL is not: the embedded database has its own "
                "owner. Set both or neither."
            )
        if self.read_url is not None and self.database_url is None:
            raise ConfigError(
                "HUB_READ_URL is set and DATABASE_URL is not: the embedded database has no "
                "standby. Set both or neither."
            )
        if self.is_embedded and self.port == self.embedded_port:
            raise ConfigError(
                f"HUB_PORT and HUB_EMBEDDED_PORT are both {self.port}: set them to different ports."
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Config:
        """Read the settings from `env` (default: the process's environment).

        An empty value means the default. Raises ConfigError naming the variable.
        """
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        for setting in fields(cls):
            text = env.get(setting.metadata["variable"], "").strip()
            if text:
                values[setting.name] = _parse(text, setting)
        return cls(**values)

    @property
    def is_embedded(self) -> bool:
        """Whether the hub runs the embedded TimescaleDB."""
        return self.database_url is None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the hub."""
        return self.host == "localhost" or is_loopback(self.host)

    @property
    def url(self) -> str:
        """The hub's own address, such as http://127.0.0.1:8082."""
        scheme = "http" if self.tls_cert is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def task_interval(self, seconds: int) -> int:
        """The interval, in seconds, of a task whose usual interval is `seconds`."""
        return max(1, seconds // self.task_speedup)


def _check_url(variable: str, url: str | None) -> None:
    if url is not None and not _HTTP.fullmatch(url):
        raise ConfigError(f"{variable} must be an address that begins with http:// or https://.")


def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this machine only. Any other text is not."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def is_set(variable: str) -> bool:
    """Whether the environment has a value for a setting."""
    return bool(os.environ.get(variable, "").strip())


def metrics_folder() -> str | None:
    """Where several web workers keep what they count; None: each in its own memory."""
    return os.environ.get(METRICS_VARIABLE) or None


def unknown_variables(env: Mapping[str, str] | None = None) -> list[str]:
    """A warning for each variable of `env` that looks like a setting of the hub and is not.

    None in the processes that `serve` starts: it has warned already.
    """
    env = os.environ if env is None else env
    known = [setting.metadata["variable"] for setting in fields(Config)]
    if PARENT_VARIABLE in env:
        return []
    warnings = []
    for name in sorted(env):
        if name.startswith("HUB_") and not name.startswith(TEST_PREFIX) and name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}?" if similar else "see `python -m app config`."
            warnings.append(f"{name} is not a setting of the hub and is ignored: {hint}")
    return warnings


def log_unknown_variables(logger: logging.Logger) -> None:
    """Log the warnings of `unknown_variables`, in a process whose output is a log."""
    for warning in unknown_variables():
        logger.warning("%s", warning)


def _parse(text: str, setting: Any) -> Any:
    """The value of a variable, with the type of its default."""
    variable, low, high = (setting.metadata[key] for key in ("variable", "low", "high"))
    if not isinstance(setting.default, int):
        return Path(text) if isinstance(setting.default, Path) else text
    try:
        number = int(text)
    except ValueError:
        raise ConfigError(f"{variable} is {text!r}: it must be a whole number.") from None
    if not low <= number <= high:
        raise ConfigError(f"{variable} is {number}: it must be between {low} and {high}.")
    return number
