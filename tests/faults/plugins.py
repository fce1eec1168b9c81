"""Destination types that fail in one place until they are healed, and then write to a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HEAD = """\
import os, time
from pathlib import Path
from sluicegate.destinations.file import File

def ill():
    return not Path(os.environ["FAULTS_HEALED"]).exists()
"""
BODIES = {
    "ill_import": """
if ill():
    raise RuntimeError("import says no")

class Plugin(File):
    pass
""",
    "ill_init": """
class Plugin(File):
    def __init__(self, settings, context):
        if ill():
            raise RuntimeError("__init__ says no")
        super().__init__(settings, context)
""",
    "ill_initialize": """
class Plugin(File):
    def initialize(self):
        if ill():
            raise RuntimeError("initialize says no")
        super().initialize()
""",
    "ill_test": """
class Plugin(File):
    def test(self):
        if ill():
            raise RuntimeError("test says no")
""",
    "ill_crash": """
class Plugin(File):
    def initialize(self):
        if ill():
            time.sleep(0.01)
            os._exit(1)
        super().initialize()
""",
}


def install(folder: Path) -> dict[str, str]:
    """Write the types below `folder`; the environment in which they are found, and healed by `heal`."""
    site = folder / "site"
    info = site / "ill-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: ill\nVersion: 1.0\n")
    types = [f"{name} = plugin_{name}:Plugin" for name in BODIES]
    settings = [f"{name} = sluicegate.destinations.settings:FileSettings" for name in BODIES]
    lines = ["[sluicegate.destinations]", *types, "[sluicegate.settings]", *settings]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, body in BODIES.items():
        site.joinpath(f"plugin_{name}.py").write_text(HEAD + body)
    return {"PYTHONPATH": str(site), "FAULTS_HEALED": str(folder / "healed")}


def heal(folder: Path) -> None:
    """From now on they work."""
    folder.joinpath("healed").touch()


def sections(names: Iterable[str]) -> str:
    """Destinations of these types, each under the type's name."""
    return "".join(
        f'[destinations.{name}]\ntype = "{name}"\nrequires = ["necessary"]\npath = "{name}.jsonl"\n'
        + ("test_on_load = true\n" if name == "ill_test" else "")
        for name in names
    )
