from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

from sluicegate.delivery.deciding import Deciding, wait_until_seen


def test_a_worker_that_decides_nothing_is_not_waited_for(tmp_path: Path) -> None:
    deciding = Deciding(tmp_path, "crm")
    deciding.begin()
    deciding.done()

    seen = wait_until_seen(tmp_path, timeout_s=0.0)

    assert (seen.loaded, seen.late) == (["crm"], [])
    deciding.close()
    assert wait_until_seen(tmp_path, timeout_s=0.0).loaded == []


def test_a_decision_is_waited_for_until_all_its_calls_are_entered(tmp_path: Path) -> None:
    deciding = Deciding(tmp_path, "crm")
    deciding.begin()
    deciding.add(2)
    deciding.done()
    deciding.done()

    before = wait_until_seen(tmp_path, timeout_s=0.0)
    entered = threading.Thread(target=deciding.done)
    entered.start()
    after = wait_until_seen(tmp_path, timeout_s=10.0)

    assert (before.late, after.late) == (["crm"], [])
    entered.join()
    deciding.close()


def test_a_later_decision_is_not_waited_for(tmp_path: Path) -> None:
    deciding = Deciding(tmp_path, "crm")
    stop = threading.Event()

    def decide() -> None:
        while not stop.is_set():
            deciding.begin()
            deciding.done()

    thread = threading.Thread(target=decide)
    thread.start()
    seen = [wait_until_seen(tmp_path, timeout_s=10.0) for _ in range(20)]
    stop.set()
    thread.join()

    assert all(one.late == [] for one in seen)
    deciding.close()


def test_a_process_that_died_while_it_decided_is_not_waited_for(tmp_path: Path) -> None:
    ready = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.get_context("spawn").Process(target=_decide_for_ever, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    before = wait_until_seen(tmp_path, timeout_s=0.0)

    process.kill()
    process.join()

    assert before.late == ["crm"]
    assert wait_until_seen(tmp_path, timeout_s=0.0).loaded == []
    assert list(tmp_path.iterdir()) == []


def _decide_for_ever(folder: Path, ready: object) -> None:
    Deciding(folder, "crm").begin()
    ready.set()  # type: ignore[attr-defined]
    threading.Event().wait()
