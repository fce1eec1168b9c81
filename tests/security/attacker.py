"""Run by itself, as another user or in another network: sends to each port what a stranger may send.

Arguments: the user to become, a file that only code run by a victim would make, then ports. Prints one JSON object:
how often a connection was refused or unreachable, how many half-open ones it holds, and on how many of those it has
sent a message of 8 MiB that lacks its last byte. Waits for the end of its input.
"""

import contextlib
import json
import os
import pickle
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

N_HALF_OPEN = 50
N_LARGE = 12
LARGE = b"8388608>" + b"x" * (8 * 1024 * 1024 - 1)


class Touch:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.marker, "w")


def payloads(marker: str) -> list[bytes]:
    crafted = pickle.dumps(Touch(marker))
    shutdown = pickle.dumps(("x", Touch(marker), 1))
    return [
        crafted,
        b"%d>" % len(crafted) + crafted,
        b"%d>" % len(shutdown) + shutdown,
        os.urandom(4096),
        b"-1>x",
        b"0>",
        b"9" * 100_000,
        b"99999999999>" + bytes(100_000),
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n" + b'{"batch":[]}',
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDo=\r\nContent-Length: 2\r\n\r\n{}",
        bytes.fromhex("16030100"),
        b"",
    ]


def become(uid: int) -> None:
    """After the imports, because that user may not be able to read this Python."""
    "localhost".encode("idna")  # looking up an address imports this codec
    if uid != os.getuid():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def hold_large(port: int) -> list[socket.socket]:
    """Connections on which all but the end of a large message was sent, or as much as was taken."""
    held = []
    for _ in range(N_LARGE):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
            held[-1].sendall(LARGE)
    return held


def main(uid: int, marker: str, ports: list[int]) -> None:
    become(uid)
    refused, held = 0, []
    for port in ports:
        for data in payloads(marker):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.settimeout(1)
                    with contextlib.suppress(OSError):
                        connection.sendall(data)
            except OSError:
                refused += 1
        for _ in range(N_HALF_OPEN):
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=5)
                connection.send(b"100")
                held.append(connection)
    with ThreadPoolExecutor(len(ports)) as pool:
        large = [one for found in pool.map(hold_large, ports) for one in found]
    print(json.dumps({"large": len(large), "refused": refused, "held": len(held), "uid": os.getuid()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [int(port) for port in sys.argv[3:]])
