"""The destination type `revenue`: one line per order, posted to a ledger."""

import json
import threading
from urllib.parse import urlsplit

from sluicegate.destinations.base import Batch, Context, Destination
from sluicegate.destinations.http import HttpConnection, Origin
from sluicegate.errors import CredentialsRefused, NotReady, Rejected, Retry
from sluicegate_revenue.settings import RevenueSettings


class Revenue(Destination):
    """Posts `{"orders": [{"id", "order", "total", "currency"}, ...]}`."""

    settings_type = RevenueSettings

    def __init__(self, settings: RevenueSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._url = urlsplit(settings.url)
        self._threads = threading.local()  # `deliver` runs in up to `in_flight` threads

    def test(self) -> None:
        connection = HttpConnection(Origin.of(self._url), network=self.context.network)
        try:
            connection.connect()
        except OSError as error:
            raise NotReady(f"the ledger cannot be reached: {error}") from error
        finally:
            connection.close()

    def deliver(self, batch: Batch) -> None:
        orders = {}
        for index, event in enumerate(batch):
            properties = event.json().get("properties") or {}
            if "order_id" in properties:
                orders[index] = {
                    "id": event.message_id,
                    "order": properties["order_id"],
                    "total": properties.get("total", 0),
                    "currency": properties.get("currency", self.settings.currency),
                }
        if orders:
            self._post({"orders": list(orders.values())})
        if len(orders) < len(batch):
            # The others have been delivered: `rest_delivered` says so.
            missing = {index: "has no order_id" for index in range(len(batch)) if index not in orders}
            raise Rejected(missing, rest_delivered=True)

    def _post(self, content: object) -> None:
        body = json.dumps(content).encode()
        head = (
            f"POST {self._url.path or '/'} HTTP/1.1\r\n"
            f"Host: {Origin.of(self._url).header}\r\n"
            f"Authorization: Bearer {self.settings.token.reveal()}\r\n"
            f"Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            answer = self._connection().exchange(head.encode() + body, timeout_s=self.context.timeout_s)
        except OSError as error:
            raise Retry(f"the ledger did not answer: {error}") from error
        if answer.status in (401, 403):
            raise CredentialsRefused(f"the ledger answered {answer.status}; check token")
        if answer.status == 429 or answer.status >= 500:
            raise Retry(f"the ledger answered {answer.status}")
        if answer.status >= 300:
            raise Rejected(f"the ledger answered {answer.status}: {answer.excerpt}")

    def _connection(self) -> HttpConnection:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = HttpConnection(Origin.of(self._url), network=self.context.network)
        return self._threads.connection
