"""Good traffic, and the hostile requests beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.hostile.case import Case, batch, event, post
from tests.hostile.client import ask, read_answer


@dataclass
class GoodTraffic:
    """One client that sends batches, one after another on a kept connection, every `pause_s`."""

    address: tuple[str, int]
    name: str
    pause_s: float = 0.01
    accepted: list[str] = field(default_factory=list)
    """Ids of the events that were answered 200."""
    latencies_s: list[float] = field(default_factory=list)

    async def run(self, ended: asyncio.Event) -> None:
        """Send until told to end; every answer must be 200."""
        reader, writer = await asyncio.open_connection(*self.address)
        for number in itertools.count():
            ids = [f"{self.name}-{number}-{place}" for place in range(3)]
            began = time.perf_counter()
            writer.write(post(batch(*[event(messageId=one, userId=self.name) for one in ids])))
            answer = await read_answer(reader)
            self.latencies_s.append(time.perf_counter() - began)
            assert answer is not None and answer.status == 200, answer
            assert json.loads(answer.body)["accepted"] == len(ids)
            self.accepted += ids
            if ended.is_set():
                break
            await asyncio.sleep(self.pause_s)
        writer.close()


@dataclass
class HostileTraffic:
    """The corpus, over and over, at a fixed rate."""

    address: tuple[str, int]
    corpus: Sequence[Case]
    per_s: float
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    n_sent: int = 0

    async def run(self, ended: asyncio.Event) -> None:
        """Send until told to end, whatever the answers; then wait for those that are missing."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        asking: set[asyncio.Task[None]] = set()
        for case in itertools.cycle(self.corpus):
            await asyncio.sleep(began + self.n_sent / self.per_s - loop.time())
            if ended.is_set():
                break
            self.n_sent += 1
            task = asyncio.create_task(self._ask(case))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)

    async def _ask(self, case: Case) -> None:
        try:
            self.statuses.update(answer.status for answer in await ask(self.address, case))
        except AssertionError as error:
            self.wrong.append(str(error))
