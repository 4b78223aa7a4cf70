"""What is delivered, and how a delivery fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.notify.messages import Message
from app.errors import HubError


class DeliveryFailed(HubError):
    """The message could not be delivered. The reason has no part of an address."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way. `id` stays the same when it is sent again."""

    id: int
    created_at: datetime
    message: Message
