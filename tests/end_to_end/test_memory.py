from __future__ import annotations

from pathlib import Path

from tests.end_to_end.harness import MakeSystem, track

CONFIG = """
[supervisor]
idle_ttl = "1h"
""" + "".join(
    f'[destinations.{name}]\ntype = "file"\nrequires = ["{purpose}"]\npath = "{name}.jsonl"\n'
    for name, purpose in (("crm", "measurement"), ("ads", "marketing"))
)
SITE = """\
from pathlib import Path
from sluicegate import pressure
pressure.ROOT = Path({root!r})
"""
BOTH = {"measurement": True, "marketing": True}
EVICTED = ("registered", "evicted: memory", None)


class FakeMemory:
    """What every process of a system takes for what the kernel says about memory."""

    def __init__(self, folder: Path) -> None:
        self._meminfo = folder / "root/proc/meminfo"
        self._meminfo.parent.mkdir(parents=True)
        site = folder / "site"
        site.mkdir()
        site.joinpath("sitecustomize.py").write_text(SITE.format(root=str(folder / "root")))
        self.environ = {"PYTHONPATH": str(site)}
        self.use(10)

    def use(self, percent: int) -> None:
        """From now on so much of 1 GB is in use."""
        draft = self._meminfo.with_suffix(".new")
        draft.write_text(f"MemTotal: 1000000 kB\nMemAvailable: {1_000_000 - percent * 10_000} kB\n")
        draft.replace(self._meminfo)


def test_idle_destinations_make_room_when_memory_runs_short_and_come_back_for_an_event(
    system: MakeSystem, tmp_path: Path
) -> None:
    memory = FakeMemory(tmp_path)
    running = system(CONFIG, environ=memory.environ).start()
    running.post([track(consent=BOTH)])
    for name in ("crm", "ads"):
        assert running.until_delivered(name, 1).loaded

    memory.use(90)
    for name in ("crm", "ads"):
        running.until(name, "ended", lambda one: (one.state, one.reason, one.pid) == EVICTED)
    running.post([track(consent={"measurement": True, "marketing": False})])

    assert running.until_delivered("crm", 2).epoch == 2
    ads = running.until("ads", "told of the other event", lambda one: one.denied == 1)
    assert (ads.state, ads.reason, ads.delivered, ads.epoch) == ("registered", "evicted: memory", 1, 1)
    assert "90 % of 976 MiB of memory are in use" in running.log()
    _, metrics = running.request("GET", "/metrics")
    assert b'sluicegate_destinations_evicted_total{reason="memory"} 2.0' in metrics
