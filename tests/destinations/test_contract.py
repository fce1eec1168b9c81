from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.destinations.base import Destination
from sluicegate.destinations.console import Console
from sluicegate.destinations.file import File
from sluicegate.destinations.null import Null
from sluicegate.destinations.webhook import Webhook
from sluicegate.testing.destination_contract import DestinationContract, VendorAnswer, make_destination
from sluicegate.testing.http_receiver import HttpReceiver, Reply


def make_unwritable(path: Path, answer: VendorAnswer) -> None:
    if answer != "busy":
        pytest.skip("a file takes any event, of anybody who can open it")
    path.unlink()
    path.mkdir()


class TestNull(DestinationContract):
    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Null, tmp_path)

    def received(self) -> Sequence[str]:
        pytest.skip("null keeps nothing")

    def script(self, answer: VendorAnswer) -> None:
        pytest.skip("null fails at nothing")


class TestFile(DestinationContract):
    def make(self, tmp_path: Path) -> Destination:
        self.path = tmp_path / "folder" / "events.jsonl"
        return make_destination(File, tmp_path, path="folder/events.jsonl")

    def received(self) -> Sequence[str]:
        return [json.loads(line)["messageId"] for line in self.path.read_bytes().splitlines()]

    def script(self, answer: VendorAnswer) -> None:
        make_unwritable(self.path, answer)


class TestConsole(DestinationContract):
    def make(self, tmp_path: Path) -> Destination:
        self.path = tmp_path / "console.log"
        return make_destination(Console, tmp_path, path="console.log")

    def received(self) -> Sequence[str]:
        lines = self.path.read_text().split("\n")[:-1]
        return [line.split(" id=")[1].split(" ")[0] for line in lines]

    def script(self, answer: VendorAnswer) -> None:
        make_unwritable(self.path, answer)


class TestWebhook(DestinationContract):
    @pytest.fixture(autouse=True)
    def receiver(self) -> Iterator[None]:
        self.vendor = HttpReceiver()
        yield
        self.vendor.close()

    def make(self, tmp_path: Path) -> Destination:
        return make_destination(Webhook, tmp_path, url=self.vendor.url, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    def received(self) -> Sequence[str]:
        return self.vendor.message_ids()

    def script(self, answer: VendorAnswer) -> None:
        status = {"busy": 503, "refused": 401, "rejected": 400}[answer]
        self.vendor.answer = lambda request: Reply(status)
