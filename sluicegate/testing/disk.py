"""A disk that fails on command, as SQLite's default VFS."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import apsw


class FaultyDisk(apsw.VFS):
    """Remembers what has not been synced; `fail_sync`, `fail_read` and `full` make syncs, reads and writes fail.

    In force for databases that are opened from its making until `unregister()`.
    """

    def __init__(self) -> None:
        self.fail_sync = False
        self.fail_read = False
        self.full = False
        self.unsynced: dict[str, list[tuple[int, bytes, int]]] = {}
        super().__init__("faulty", "unix", makedefault=True)

    # Named by SQLite.
    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file."""
        return FaultyFile(self, name, flags)

    def power_cut(self, folder: Path, target: Path) -> Path:
        """Copy the databases as they would be after a power cut that loses everything unsynced."""
        target.mkdir()
        for path in folder.iterdir():
            if path.name.endswith("-shm"):
                continue
            copy = Path(shutil.copy(path, target))
            with copy.open("r+b") as file:
                for offset, old, size in reversed(self.unsynced.get(str(path), [])):
                    file.seek(offset)
                    file.write(old)
                    file.truncate(size)
        return target


class FaultyFile(apsw.VFSFile):
    """One open file of the disk."""

    def __init__(self, disk: FaultyDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._unsynced = disk.unsynced.setdefault(os.path.realpath(path), [])
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read."""
        if self._disk.fail_read:
            error = apsw.IOError("read")
            error.extendedresult = apsw.SQLITE_IOERR_READ  # type: ignore[attr-defined]
            raise error
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, and remember what was there."""
        if self._disk.full:
            raise apsw.FullError("no space")
        size = self.xFileSize()
        length = min(len(data), size - offset)
        self._unsynced.append((offset, self.xRead(length, offset) if length > 0 else b"", size))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        """Sync: from now on a power cut leaves it."""
        if self._disk.fail_sync:
            error = apsw.IOError("fsync")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]
            raise error
        super().xSync(flags)
        self._unsynced.clear()
