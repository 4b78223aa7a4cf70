"""Sends through Apprise. The only module that imports it."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

from app.notify.addresses import service_of
from app.notify.delivery import Delivery, DeliveryFailed

SERVICE_SECONDS = 30.0
LONGEST_REASON = 300
SHORTEST_SECRET = 4  # characters of a part of an address that is left out of reasons
# What takes HTML of ours; for others Apprise converts the text.
MAIL = {"mailto", "mailtos", "mailgun", "sendgrid", "ses", "sparkpost", "smtp2go", "resend", "o365"}

_ASSET = AppriseAsset(
    app_id="Telemetry Hub",
    app_desc="Telemetry Hub",
    app_url="",
    image_url_mask="",  # messages refer to no images elsewhere
    image_url_logo="",
    async_mode=False,
    storage_mode="memory",
    pem_autogen=False,
    pgp_autogen=False,
    allow_templates=False,
    service_timeout=SERVICE_SECONDS,
)
# Their records may hold parts of addresses: reasons are taken from the result, without these.
for _name in ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib"):
    logging.getLogger(_name).setLevel(logging.WARNING)
_logger = logging.getLogger("apprise")
_logger.propagate = False
_logger.addHandler(logging.NullHandler())


def make_service(address: str) -> Any:
    """The service for an address; None if Apprise does not know it, or it lacks a part."""
    try:
        return Apprise.instantiate(address, asset=_ASSET, suppress_exceptions=True)
    except Exception:  # its parsers differ: an address that breaks one is not valid
        return None


def send(service: Any, delivery: Delivery, address: str) -> None:
    """Send a message. Raises DeliveryFailed."""
    message = delivery.message
    html = message.html if service_of(address) in MAIL else None
    channel = Apprise(asset=_ASSET)
    channel.add(service)
    result = channel.notify(
        title=message.subject,
        body=message.body if html is None else html,
        body_format=NotifyFormat.TEXT if html is None else NotifyFormat.HTML,
        notify_type=_type_of(delivery),
    )
    if not result:
        raise DeliveryFailed(_reason(result, address))


def _type_of(delivery: Delivery) -> NotifyType:
    message = delivery.message
    if message.event == "recovered":
        return NotifyType.SUCCESS
    types = {"critical": NotifyType.FAILURE, "warning": NotifyType.WARNING}
    return types.get(message.severity, NotifyType.INFO)


def _reason(result: Any, address: str) -> str:
    """What Apprise said last, without the parts of the address."""
    said = [
        entry.message
        for each in getattr(result, "results", ())
        for attempt in each.attempts
        for entry in attempt.logs
    ]
    text = redact(said[-1], address) if said else "The service did not take the message."
    return text[:LONGEST_REASON]


def redact(text: str, address: str) -> str:
    """The text without any part of the address but the scheme."""
    scheme, _, rest = address.partition("://")
    parts = set(re.split(r"[/:@?&=#,+\s]+", rest))
    parts |= {unquote(part) for part in parts}
    for part in sorted(parts - {scheme}, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            text = text.replace(part, "…")
    return " ".join(text.split())
