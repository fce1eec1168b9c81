import json

import pytest
from sluicegate_revenue.destination import Revenue

from sluicegate.errors import Rejected
from sluicegate.testing.destination_contract import (
    DestinationContract,
    make_batch,
    make_destination,
    make_event,
)
from sluicegate.testing.http_receiver import HttpReceiver, Reply


class TestRevenue(DestinationContract):
    @pytest.fixture(autouse=True)
    def ledger(self):
        self.ledger = HttpReceiver()
        yield
        self.ledger.close()

    def make(self, tmp_path):
        return make_destination(Revenue, tmp_path, url=self.ledger.url, token="secret")

    def event(self, message_id, **properties):
        return make_event(message_id, order_id=f"order-{message_id}", **properties)

    def received(self):
        bodies = [json.loads(request.body) for request in self.ledger.taken]
        return [order["id"] for body in bodies for order in body["orders"]]

    def script(self, answer):
        status = {"busy": 503, "refused": 401, "rejected": 400}[answer]
        self.ledger.answer = lambda request: Reply(status)

    def test_event_that_is_no_order_is_rejected_and_the_others_are_delivered(self, destination):
        raws = [make_event("m-1"), self.event("m-2", total=9.5)]

        with pytest.raises(Rejected) as raised:
            destination.deliver(make_batch(["m-1", "m-2"], raws=raws))

        assert raised.value.reasons == {0: "has no order_id"}
        assert self.received() == ["m-2"]
