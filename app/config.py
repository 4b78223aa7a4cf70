"""Settings: the one place that reads the environment.

Each setting is a field of `Config` with its variable, default and meaning beside it;
`python -m app config` prints the table.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from app.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


def _setting(
    variable: str, default: Any, meaning: str, *, low: int | None = None, high: int | None = None
) -> Any:
    """A dataclass field that also carries its variable's name, bounds and meaning."""
    return field(
        default=default,
        metadata={"variable": variable, "meaning": meaning, "low": low, "high": high},
    )


@dataclass(frozen=True)
class Config:
    """Every setting of the hub. Build it with `Config.from_env()`; tests use keywords."""

    host: str = _setting("HUB_HOST", "127.0.0.1", "address the hub listens on")
    port: int = _setting("HUB_PORT", 8082, "port the hub listens on", low=1, high=65535)
    data_dir: Path = _setting(
        "HUB_DATA_DIR", Path("var"), "folder of the embedded database and its port file"
    )
    database_url: str | None = _setting(
        "DATABASE_URL", None, "a TimescaleDB server to use instead of the embedded one"
    )
    owner_url: str | None = _setting(
        "HUB_OWNER_URL",
        None,
        "the same database as the owner of its tables, for migrations, scheduled tasks, repair and "
        "doctor; none: DATABASE_URL, and the web workers have the owner's rights",
    )
    token_key_file: Path | None = _setting(
        "HUB_TOKEN_KEY_FILE", None, "file of the keys that tokens are signed with; none: no tokens"
    )
    allowed_hosts: str | None = _setting(
        "HUB_ALLOWED_HOSTS",
        None,
        "names that the hub answers to besides its address and those of this machine, with commas; "
        "* for any, which is the default with a key for tokens",
    )
    tls_cert: Path | None = _setting(
        "HUB_TLS_CERT", None, "file of the certificate (chain) to serve HTTPS with"
    )
    tls_key: Path | None = _setting(
        "HUB_TLS_KEY", None, "file of the certificate's private key; both or none"
    )
    embedded_port: int = _setting(
        "HUB_EMBEDDED_PORT", 8432, "port of the embedded database (0: any free)", low=0, high=65535
    )
    workers: int = _setting("HUB_WORKERS", 1, "web worker processes", low=1, high=64)
    threads: int = _setting(
        "HUB_THREADS",
        256,
        "request threads in each web worker, started as needed",
        low=16,
        high=1000,
    )
    waiting_pushes: int = _setting(
        # 500 updates a second for the 2 s that the embedded database may stand still, and as much
        # again. Some 10 KiB each.
        "HUB_WAITING_PUSHES",
        2_000,
        "single updates that may wait for their commit in each web worker; more are answered 503",
        low=1,
        high=100_000,
    )
    queue_updates: int = _setting(
        "HUB_QUEUE_UPDATES",
        20_000,
        "updates that wait to be stored in each web worker; from then on pushes are answered 503",
        low=1,
        high=10_000_000,
    )
    wait_seconds: int = _setting(
        "HUB_WAIT_SECONDS", 10, "longest wait of a push for its commit", low=1, high=300
    )
    request_seconds: int = _setting(
        "HUB_REQUEST_SECONDS", 30, "longest time a request may take to arrive", low=1, high=3600
    )
    token_rate: int = _setting(
        "HUB_TOKEN_RATE",
        0,
        "updates a second that each web worker takes by one token; more are answered 429; 0: any",
        low=0,
        high=1_000_000,
    )
    max_body_bytes: int = _setting(
        "HUB_MAX_BODY_BYTES", 1 << 20, "largest body of one request", low=1024, high=1 << 30
    )
    max_batch_bytes: int = _setting(
        "HUB_MAX_BATCH_BYTES",
        16 << 20,
        "largest batch body, also once unpacked",
        low=1024,
        high=1 << 30,
    )
    stale_after_seconds: int = _setting(
        "HUB_STALE_AFTER_SECONDS",
        60,
        "silence after which a job is stalled",
        low=1,
        high=86_400,
    )
    fail_after_seconds: int = _setting(
        "HUB_FAIL_AFTER_SECONDS", 300, "silence after which a job is failed", low=2, high=604_800
    )
    sweep_seconds: int = _setting(
        "HUB_SWEEP_SECONDS", 30, "how often stale jobs are looked for", low=1, high=3600
    )
    node_offline_seconds: int = _setting(
        "HUB_NODE_OFFLINE_SECONDS", 180, "silence after which a node is offline", low=1, high=86_400
    )
    raw_retention_days: int = _setting(
        "HUB_RAW_RETENTION_DAYS", 30, "days that single updates are kept", low=2, high=36_500
    )
    late_data_days: int = _setting(
        "HUB_LATE_DATA_DAYS",
        28,
        "late horizon: older timestamps are shifted; less than the raw retention",
        low=1,
        high=36_499,
    )
    rollup_1m_retention_days: int = _setting(
        "HUB_ROLLUP_1M_RETENTION_DAYS",
        365,
        "days that 1-minute rollups are kept; more than the raw retention",
        low=3,
        high=36_500,
    )
    compress_after_hours: int = _setting(
        "HUB_COMPRESS_AFTER_HOURS",
        24,
        "age at which chunks are compressed",
        low=1,
        high=87_600,
    )
    rollup_seconds: int = _setting(
        "HUB_ROLLUP_SECONDS", 60, "how often rollups are refreshed", low=1, high=3600
    )
    task_speedup: int = _setting(
        "HUB_TASK_SPEEDUP",
        1,
        "how many times as often as set all tasks run; for soak tests",
        low=1,
        high=100,
    )
    log_level: str = _setting("HUB_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")

    def __post_init__(self) -> None:
        # Processes that share it may be started in different folders.
        object.__setattr__(self, "data_dir", self.data_dir.absolute())
        for name in ("token_key_file", "tls_cert", "tls_key"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path).absolute())
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("HUB_TLS_CERT and HUB_TLS_KEY go together: set both, or none.")
        if self.owner_url is not None and self.database_url is None:
            raise ConfigError(
                "HUB_OWNER_URL is set and DATABASE_URL is not: the embedded database has an owner "
                "of its own. Set both, or none."
            )
        if self.fail_after_seconds <= self.stale_after_seconds:
            raise ConfigError(
                f"HUB_FAIL_AFTER_SECONDS ({self.fail_after_seconds}) must be larger than "
                f"HUB_STALE_AFTER_SECONDS ({self.stale_after_seconds})."
            )
        if self.late_data_days >= self.raw_retention_days:
            raise ConfigError(
                f"HUB_LATE_DATA_DAYS ({self.late_data_days}) must be smaller than "
                f"HUB_RAW_RETENTION_DAYS ({self.raw_retention_days})."
            )
        if self.raw_retention_days >= self.rollup_1m_retention_days:
            raise ConfigError(
                f"HUB_RAW_RETENTION_DAYS ({self.raw_retention_days}) must be smaller than "
                f"HUB_ROLLUP_1M_RETENTION_DAYS ({self.rollup_1m_retention_days})."
            )
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError(
                f"HUB_LOG_LEVEL is {self.log_level!r}: it must be DEBUG, INFO, WARNING or ERROR."
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Config:
        """Read the settings from `env` (default: the process's environment).

        Raises ConfigError with a sentence naming the variable. An empty value means the default.
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
        """Whether the hub runs its own embedded TimescaleDB."""
        return self.database_url is None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the hub."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def task_interval(self, seconds: int) -> int:
        """How often a task runs, in seconds, that is set to run every `seconds`."""
        return max(1, seconds // self.task_speedup)


def _parse(text: str, setting: Any) -> Any:
    """One variable's text as the type of its default."""
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
