"""Destination types that misbehave, installed for one test by their entry points alone."""

from __future__ import annotations

from pathlib import Path

WELL = "is-well"
"""A file beside the plugins; where it is, those that misbehave while they load behave."""

_DEEDS = {
    "hangs": "time.sleep(3600)",
    "dies": "os._exit(7)",
    "raises": 'raise RuntimeError("this stage has a bug")',
}
_UNWELL = f"""
        import os
        import time
        from pathlib import Path
        from sluicegate.destinations.base import Destination

        def misbehave():
            if not (Path(__file__).parent / "{WELL}").exists():
                DEED

        def well():
            pass

        at_import = at_initialize = at_test = well
        at_import()

        class Plugin(Destination):
            def initialize(self):
                at_initialize()
            def test(self):
                at_test()
            def deliver(self, batch):
                pass
        """

MODULES = {
    "bad_import": 'raise RuntimeError("import says no")\n',
    "bad_start": """
        from pathlib import Path
        from sluicegate.destinations.base import Destination
        from sluicegate.errors import NotReady

        class Plugin(Destination):
            def initialize(self):
                if not (Path(self.context.data_dir) / "vendor-is-up").exists():
                    raise NotReady("the vendor is down")
            def deliver(self, batch):
                pass
        """,
    "bad_test": """
        from sluicegate.destinations.base import Destination
        from sluicegate.errors import CredentialsRefused

        class Plugin(Destination):
            def test(self):
                raise CredentialsRefused("the key was revoked")
            def deliver(self, batch):
                pass
        """,
    "bad_deliver": """
        from sluicegate.destinations.base import Destination

        class Plugin(Destination):
            def deliver(self, batch):
                raise ValueError("deliver has a bug")
        """,
    "hanging": """
        import time
        from pathlib import Path
        from sluicegate.destinations.base import Destination

        class Plugin(Destination):
            def deliver(self, batch):
                marker = Path(self.context.data_dir) / "hung-once"
                if not marker.exists():
                    marker.touch()
                    time.sleep(3600)
        """,
    "deadly": """
        import json
        import os
        from pathlib import Path
        from sluicegate.destinations.base import Destination

        class Plugin(Destination):
            def deliver(self, batch):
                data_dir = Path(self.context.data_dir)
                with (data_dir / "attempted").open("a") as file:
                    file.write(json.dumps(batch.message_ids) + "\\n")
                if any(event.json()["properties"]["number"] == 77 for event in batch):
                    os._exit(9)
                with (data_dir / "delivered").open("a") as file:
                    file.writelines(id + "\\n" for id in batch.message_ids)
        """,
    **{
        f"{deed}_at_{stage}": _UNWELL.replace("DEED", _DEEDS[deed]).replace(f"at_{stage}()", "misbehave()")
        for deed in ("hangs", "dies", "raises")
        for stage in ("import", "initialize", "test")
    },
    "suicidal": """
        import os
        from pathlib import Path
        from sluicegate.destinations.base import Destination

        class Plugin(Destination):
            def deliver(self, batch):
                marker = Path(self.context.data_dir) / "died-once"
                if not marker.exists():
                    marker.touch()
                    os._exit(3)
        """,
}


def install(folder: Path) -> dict[str, str]:
    """Write the plugins below `folder`; the environment that makes them importable and found."""
    site = folder / "site"
    info = site / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    lines = ["[sluicegate.destinations]", *(f"{name} = misbehaving_{name}:Plugin" for name in MODULES)]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in MODULES.items():
        source = "\n".join(line.removeprefix("        ") for line in text.splitlines())
        site.joinpath(f"misbehaving_{name}.py").write_text(source + "\n")
    return {"PYTHONPATH": str(site)}
