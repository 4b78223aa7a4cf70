"""Seals the addresses of destinations, which hold passwords and tokens, for the database.

The key is derived from the keys that sign tokens (HUB_TOKEN_KEY_FILE). A hub without them has a key
of its own in HUB_DATA_DIR.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.auth.keys import Keys, create_key_file, read_keys
from app.config import Config
from app.errors import ConfigError, HubError

KEY_FILE = "notify.key"
_PURPOSE = b"telemetry-hub: addresses of destinations"


class SealBroken(HubError):
    """The address was sealed with a key that the hub does not have: set the destination again."""


class Sealer:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Keys) -> None:
        self._first = Fernet(_derive(keys[0]))
        self._any = MultiFernet([Fernet(_derive(key)) for key in keys])

    @classmethod
    def of(cls, config: Config) -> Sealer:
        """With the keys of a hub, which makes one if it has none. Raises ConfigError."""
        own = config.data_dir / KEY_FILE
        keys: Keys = ()
        if config.token_key_file is not None:
            keys = read_keys(config.token_key_file)
        elif not own.exists():
            _make_key(own)
        if own.exists():
            keys += read_keys(own, variable="The key of addresses")
        return cls(keys)

    def seal(self, address: str) -> str:
        """The address as it is stored."""
        return self._first.encrypt(address.encode()).decode()

    def open(self, sealed: str) -> str:
        """The inverse of `seal`. Raises SealBroken."""
        try:
            return self._any.decrypt(sealed.encode()).decode()
        except (InvalidToken, UnicodeDecodeError):
            raise SealBroken from None

    def renew(self, sealed: str) -> str | None:
        """The same, sealed with the first key; None: it is already. Raises SealBroken."""
        try:
            self._first.decrypt(sealed.encode())
        except InvalidToken:
            return self.seal(self.open(sealed))
        return None


def _make_key(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{path.parent} cannot be created ({exc.strerror}).") from exc
    with suppress(ConfigError):  # another process was first; what else is wrong, reading tells
        create_key_file(path)


def _derive(key: bytes) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key)
    return base64.urlsafe_b64encode(derived)
