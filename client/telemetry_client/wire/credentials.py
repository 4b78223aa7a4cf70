"""Takes passwords, tokens and keys out of texts that are sent or shown."""

from __future__ import annotations

import re

# The user in an address: up to its last @, or up to the @ if a password contains a slash.
_AUTHORITY = re.compile(r"(?<=://)[^/\s@]*(?:@[^/\s@]*)*@")
_SLASHED_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:(?!\d*(?:/|$))[^\s@]*@")
_SECRET_QUERY = re.compile(r"(?<=[?&;])([^=&#\s]+)=[^&#\s'\"]+")
# `pass=x`, as in rclone's `:sftp,host=h,pass="x":path`, whose quotes its log may escape.
_SECRET_OPTION = re.compile(
    r"""([\w-]*(?:pass|secret|token|key|credential|auth|sas_url)[\w-]*)="""
    r"""(?:\\?"[^"]*"|\\?'[^']*'|[^\s,:;&'"]+)""",
    re.IGNORECASE,
)
# `Authorization: Bearer x`, as `curl -v` writes it.
_SECRET_HEADER = re.compile(r"(authorization: *(?:\w+ +)?)[^\s'\"]+", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """The text without passwords: `user:password@` and queries of addresses, `pass=…`, and headers
    that authorise.
    """
    text = _SECRET_HEADER.sub(r"\1…", text)
    if "=" in text:
        text = _SECRET_OPTION.sub(r"\1=…", text)
    if "://" not in text:
        return text
    text = _AUTHORITY.sub("", text)
    text = _SLASHED_PASSWORD.sub("", text)
    return _SECRET_QUERY.sub(r"\1=…", text)
