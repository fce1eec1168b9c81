"""A disk that obeys files in a folder, so that a test can make any process of a system fail at a moment it chooses.

    fail-sync       this sync fails with EIO, and the next ones seem to work, as on Linux
    kill-at-sync    the process dies before this sync
    torn-write      only the first half of this write is done, then the process dies
    full            this write fails for want of space, and all others while the file is there

`Commands.arm` writes such a file, for the n-th sync or write of the event log from then on; but for `full` it is gone
when it was obeyed. `syncs` has a line for every sync since: the process, and "ok" or "failed".
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import apsw

FOLDER = "SLUICEGATE_TEST_DISK"
"""The environment variable that names the folder."""


class Commands:
    """The test's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, command: str, *, at: int = 1) -> None:
        """Let this happen at the n-th sync or write of the log."""
        draft = self.folder / ".draft"
        draft.write_text(str(at))
        draft.rename(self.folder / command)

    def armed(self, command: str) -> bool:
        """Whether it has not happened yet."""
        return (self.folder / command).exists()

    def syncs(self) -> list[tuple[int, str]]:
        """Every sync of the log: by whom, and how it went."""
        path = self.folder / "syncs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]


class CommandedDisk(apsw.VFS):
    """The disk, as SQLite's default VFS from its making on, also in processes that are forked.

    It obeys for the database of this name, with what SQLite keeps beside it.
    """

    def __init__(self, folder: Path, database: str = "events.db") -> None:
        self._folder = folder
        self._database = database
        super().__init__("commanded", "unix", makedefault=True)

    # Named by SQLite.
    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file; those of other databases are as always."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if not os.path.basename(path).startswith(self._database):
            return apsw.VFSFile("unix", name, flags)
        return CommandedFile(self, name, flags)

    def due(self, command: str) -> bool:
        """Whether the command is to be obeyed now; counts down."""
        path = self._folder / command
        try:
            left = int(path.read_text()) - 1
        except FileNotFoundError:
            return False
        if left <= 0 and command != "full":
            path.unlink()
        elif left > 0:
            path.write_text(str(left))
        return left <= 0

    def note(self, text: str) -> None:
        """Write down how a sync went."""
        with (self._folder / "syncs").open("a") as file:
            file.write(f"{os.getpid()} {text}\n")


class CommandedFile(apsw.VFSFile):
    """One open file of the log."""

    def __init__(self, disk: CommandedDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, or not."""
        if self._disk.due("full"):
            raise apsw.FullError("no space")
        if self._disk.due("torn-write"):
            super().xWrite(data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        """Sync, or not."""
        if self._disk.due("kill-at-sync"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._disk.due("fail-sync"):
            self._disk.note("failed")
            error = apsw.IOError("fsync")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]
            raise error
        super().xSync(flags)
        self._disk.note("ok")


def install() -> None:
    """Use the disk when the environment names its folder."""
    if folder := os.environ.get(FOLDER):
        # Kept alive by being the default; apsw forgets a VFS that nobody refers to.
        globals()["_disk"] = CommandedDisk(Path(folder))
