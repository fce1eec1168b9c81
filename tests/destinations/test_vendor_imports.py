from __future__ import annotations

import subprocess
import sys


def test_settings_of_vendors_are_read_without_their_code() -> None:
    code = (
        "import sys\n"
        "from sluicegate.config.plugins import Plugins\n"
        "plugins = Plugins.installed()\n"
        "assert all(plugins.settings_type(name) for name in plugins.settings)\n"
        "names = [f'sluicegate.destinations.{name}' for name in plugins.types] + ['httptools']\n"
        "print([name for name in names if name in sys.modules])\n"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
