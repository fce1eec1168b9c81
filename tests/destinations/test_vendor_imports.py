from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.harness import System, track

# google-cloud-bigquery imports pyarrow by itself where that is installed.
LIBRARIES = {
    "bigquery": ("google.cloud.bigquery", "google.auth", "requests", "grpc", "pyarrow"),
    "clickhouse": ("clickhouse_connect",),
    "kafka": ("confluent_kafka",),
    "objectstore": ("obstore", "pyarrow"),
    "postgres": ("psycopg",),
}
TWELVE = (*LIBRARIES, "amplitude", "ga4", "meta", "mixpanel", "posthog", "segment", "webhook")
EXTENSIONS = {
    "bigquery": r"/google/_upb/",
    "clickhouse": r"/clickhouse_connect/",
    "kafka": r"/confluent_kafka/|librdkafka",
    "objectstore": r"/obstore/",
    "postgres": r"/psycopg_binary/|/psycopg_c/|libpq",
}
"""What a process has mapped that has imported a library: its compiled parts (proc(5), maps)."""

DESTINATIONS = """
[supervisor]
retry_delay = "10m"
retry_cap = "10m"
[destinations.archive]
type = "file"
requires = ["necessary"]
path = "events.jsonl"
[destinations.objectstore]
requires = ["necessary"]
url = "file://{folder}/lake"
batch_age = "100ms"
[destinations.kafka]
requires = ["necessary"]
brokers = "127.0.0.1:1"
topic = "events"
[destinations.postgres]
requires = ["necessary"]
host = "127.0.0.1"
port = 1
dbname = "x"
user = "x"
[destinations.clickhouse]
requires = ["necessary"]
url = "http://127.0.0.1:1"
"""


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_settings_of_all_types_are_read_without_their_code() -> None:
    libraries = [library for names in LIBRARIES.values() for library in names]
    code = (
        "import sys\n"
        "import sluicegate.actors.supervisor, sluicegate.actors.router, sluicegate.actors.destination\n"
        "import sluicegate.scripts.admin, sluicegate.scripts.gateway_part, sluicegate.config.reader\n"
        "from sluicegate.config.plugins import Plugins\n"
        "plugins = Plugins.installed()\n"
        "assert all(plugins.settings_type(name) for name in plugins.settings)\n"
        "names = [f'sluicegate.destinations.{name}' for name in plugins.types]\n"
        f"names += ['urllib3', 'numpy', 'pandas', *{libraries!r}]\n"
        "print(sorted(plugins.types), [name for name in names if name in sys.modules])\n"
    )

    types, imported = printed(code).split("] ")

    assert imported == "[]"
    assert all(repr(name) in types for name in TWELVE)


@pytest.mark.parametrize("name", TWELVE)
def test_type_imports_the_code_of_no_other_type(name: str) -> None:
    own = LIBRARIES.get(name, ())
    if any(find_spec(library.partition(".")[0]) is None for library in own[:1]):
        pytest.skip(f"the library of {name} is not installed; pip install sluicegate[peers]")
    others = [library for names in LIBRARIES.values() for library in names if library not in own]
    others += [f"sluicegate.destinations.{type_}" for type_ in TWELVE if type_ != name]
    code = (
        "import sys\n"
        "from sluicegate.destinations.registry import load_type\n"
        f"load_type({name!r})\n"
        f"print([name for name in {others!r} if name in sys.modules])\n"
    )

    assert printed(code) == "[]"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Callable[[str], System]]:
    made: list[System] = []

    def make(destinations: str) -> System:
        made.append(System(tmp_path, destinations))
        return made[-1]

    yield make
    for one in made:
        one.close()


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield from family(child)


def libraries_in(pid: int) -> set[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name, pattern in EXTENSIONS.items() if re.search(pattern, maps)}


def test_running_system_has_libraries_in_the_processes_of_their_destinations_only(
    system: Callable[[str], System], tmp_path: Path
) -> None:
    if any(find_spec(names[0].partition(".")[0]) is None for names in LIBRARIES.values()):
        pytest.skip("not all libraries are installed; pip install sluicegate[peers]")
    running = system(DESTINATIONS.format(folder=tmp_path)).start()

    running.post([track()])
    for name in ("archive", "objectstore"):
        running.until_delivered(name, 1)
    for name in ("kafka", "postgres", "clickhouse"):
        running.until(name, "tried", lambda status: status.error is not None and status.pid is None)
    lake = running.status("objectstore").pid
    found = {pid: libraries_in(pid) for pid in family(running.pid)}

    assert lake is not None and found.pop(lake) == {"objectstore"}
    assert len(found) >= 5
    assert not set().union(*found.values())
