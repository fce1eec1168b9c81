from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "sluicegate-plugin-example"

DELIVER = """
import sys, threading
from pathlib import Path
from sluicegate.config.model import DestinationConfig, Requirement
from sluicegate.delivery.worker import DeliveryWorker
from sluicegate.event import Combo, EventBatch
from sluicegate.eventlog.sqlite import SqliteLog
from sluicegate.network import Network
from sluicegate.paths import DataDir
from sluicegate.testing.batches import add_event
from sluicegate.testing.destination_contract import make_event
from sluicegate.testing.http_receiver import HttpReceiver, Reply

data_dir = DataDir(Path(sys.argv[1]))
data_dir.create()
log = SqliteLog(data_dir.event_log)
batch = EventBatch()
for name, granted in (("yes", True), ("no", False)):
    combo = Combo("track", "shop", (("measurement", granted), ("necessary", True)))
    add_event(batch, make_event(name, order_id=name), message_id=name, combo=combo)
log.append([batch], received_at_ms=1)
arrived = threading.Event()
ledger = HttpReceiver(lambda request: arrived.set() or Reply())
config = DestinationConfig("ledger", "revenue", Requirement(("necessary",)),
                           settings={"url": ledger.url, "token": "t0ken"}, network=Network(("127.0.0.1",)))
worker = DeliveryWorker(config, data_dir, 1, print, start_offset=0)
worker.start()
assert arrived.wait(10)
worker.stop()
assert worker.join(10)
assert [b"yes" in request.body for request in ledger.taken] == [True]
assert b'"no"' not in ledger.taken[0].body
assert "sluicegate_revenue.destination" in sys.modules
print("delivered")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the example is installed, as its users would with pip."""
    folder = tmp_path_factory.mktemp("plugin")
    source, site = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def run(env: dict[str, str], *args: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *args], env=env, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_example_passes_the_contract_suite(installed: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")

    out = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests", cwd=tmp_path)

    assert " passed" in out
    assert "skipped" not in out


def test_example_delivers_what_its_own_requirement_allows(installed: dict[str, str], tmp_path: Path) -> None:
    out = run(installed, "-c", DELIVER, str(tmp_path / "data"), cwd=tmp_path)

    assert out.endswith("delivered\n")


def test_settings_of_the_example_are_found_without_importing_the_type(
    installed: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import sys; from sluicegate.config.plugins import Plugins; "
        "print(Plugins.installed().settings_type('revenue').requires, 'sluicegate_revenue.destination' in sys.modules)"
    )

    assert run(installed, "-c", code, cwd=tmp_path) == "('measurement',) False\n"
