"""Which addresses a process listens on, from /proc."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (proc_pid_net(5))


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports of all TCP sockets on which a process accepts connections."""
    inodes = _socket_inodes(pid)
    found: set[tuple[str, int]] = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN and fields[9] in inodes:
            address, port = fields[1].split(":")
            found.add((socket.inet_ntoa(struct.pack("=I", int(address, 16))), int(port, 16)))
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN and fields[9] in inodes:
            found.add(("::", int(fields[1].split(":")[1], 16)))
    return found


def port(pid: int) -> int:
    """The one port on which a process listens."""
    [(address, number)] = listening(pid)
    assert address == "127.0.0.1"
    return number


def _socket_inodes(pid: int) -> set[str]:
    inodes: set[str] = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes
