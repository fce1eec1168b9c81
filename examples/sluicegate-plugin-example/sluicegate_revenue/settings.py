"""What a configuration may say about a destination of type `revenue`."""

from typing import ClassVar

from sluicegate.config.declaration import Limits, Settings
from sluicegate.config.secret import Secret


class RevenueSettings(Settings):
    """`url` of the ledger, `token` that it knows us by, and the `currency` of orders that name none."""

    url: str
    token: Secret
    currency: str = "EUR"

    requires: ClassVar[tuple[str, ...]] = ("measurement",)
    limits: ClassVar[Limits] = Limits(max_events=100, max_bytes=256 * 1024, in_flight=2)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("url: not a web address; write https://host/path")
        if len(self.currency) != 3:
            raise ValueError("currency: not an ISO 4217 code; write EUR, USD, ...")
