from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sluicegate.config.plugins import Plugins
from sluicegate.destinations.registry import load_type
from sluicegate.errors import NotInstalled

DOCS = Path(__file__).parents[3] / "docs" / "destinations"
LIBRARIES = {"kafka": "confluent_kafka", "objectstore": "obstore"}
OWN_MODULES = {"kafka": ("kafka", "kafka_client"), "objectstore": ("objectstore", "objectstore_store")}


@pytest.mark.parametrize("name", LIBRARIES)
def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in OWN_MODULES[name]:
        monkeypatch.delitem(sys.modules, f"sluicegate.destinations.{module}", raising=False)
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)

    with pytest.raises(NotInstalled, match=rf"needs the module {LIBRARIES[name]}.*pip install 'sluicegate\[{name}\]'"):
        load_type(name)


def test_parquet_is_imported_only_for_parquet(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sluicegate.destinations.objectstore import ObjectStore\n"
        "from sluicegate.testing.destination_contract import make_batch, make_destination\n"
        f"made = make_destination(ObjectStore, Path({str(tmp_path)!r}), url='file://{tmp_path}/lake')\n"
        "made.deliver(make_batch(['m-1']))\n"
        "print('pyarrow' in sys.modules)"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_setting_is_described(name: str) -> None:
    settings_type = Plugins.installed().settings_type(name)
    assert settings_type is not None
    page = (DOCS / f"{name}.md").read_text()

    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))

    assert {field.name for field in msgspec.structs.fields(settings_type)} <= described
