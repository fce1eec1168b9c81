"""A disk that keeps what is not synced in memory: when its process dies, that is gone, as after a power cut."""

from __future__ import annotations

import os

import apsw


class CuttingDisk(apsw.VFS):
    """SQLite's default VFS from its making on, in this process. Kill the process to cut the power."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        super().__init__("cutting", "unix", makedefault=True)

    # Named by SQLite.
    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file."""
        return CuttingFile(self, name, flags)


class Image:
    """A file as its process sees it, and what of that is not on disk yet."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.pending: list[tuple[int, bytes | None]] = []
        """(offset, bytes) of a write, (size, None) of a truncation."""

    def write(self, data: bytes, offset: int) -> None:
        """As a write would."""
        self.content += bytes(max(0, offset - len(self.content)))
        self.content[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        """As a truncation would."""
        del self.content[size:]
        self.pending.append((size, None))


class CuttingFile(apsw.VFSFile):
    """One open file; all of the same path share an image."""

    def __init__(self, disk: CuttingDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        path = os.path.realpath(name.filename() if isinstance(name, apsw.URIFilename) else str(name))
        super().__init__("unix", name, flags)
        if path not in disk.images:
            disk.images[path] = Image(super().xRead(super().xFileSize(), 0))
        self._image = disk.images[path]

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read what was written, synced or not."""
        return bytes(self._image.content[offset : offset + amount])

    def xFileSize(self) -> int:
        """As written, synced or not."""
        return len(self._image.content)

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, to memory."""
        self._image.write(bytes(data), offset)

    def xTruncate(self, newsize: int) -> None:
        """Cut off, in memory."""
        self._image.truncate(newsize)

    def xSync(self, flags: int) -> None:
        """Bring everything to the disk."""
        for at, data in self._image.pending:
            if data is None:
                super().xTruncate(at)
            else:
                super().xWrite(data, at)
        self._image.pending.clear()
        super().xSync(flags)
