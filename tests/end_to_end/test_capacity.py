from __future__ import annotations

from tests.end_to_end.harness import MakeSystem, poll, track

CONFIG = """
[supervisor]
max_loaded = 2
""" + "".join(
    f'[destinations.{name}]\ntype = "file"\nrequires = ["{purpose}"]\npath = "{name}.jsonl"\n'
    for name, purpose in (("a", "functionality"), ("b", "experience"), ("c", "measurement"), ("d", "marketing"))
)


def test_full_house_evicts_the_least_recently_used_and_everyone_gets_a_turn(system: MakeSystem) -> None:
    running = system(CONFIG).start()
    everything = dict.fromkeys(["functionality", "experience", "measurement", "marketing"], True)
    most = 0

    def all_done() -> bool:
        nonlocal most
        found = running.statuses().values()
        most = max(most, sum(1 for one in found if one.pid is not None))
        return all(one.delivered == 20 for one in found)

    running.post([track(consent=everything) for _ in range(20)])
    poll("all four to be done", all_done)

    assert most == 2
