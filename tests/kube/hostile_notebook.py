"""What user code in a lease's pod tries so as to outlive its deadline. Standalone: tests run it in the pod.

`steal PORT` tries to take the warden's port, to see and end its processes, and to find its file, over and over, and
prints after each round what it got, as JSON. `flood PORT` opens connections to the warden as fast as it can. Both
ignore SIGTERM.
"""

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

POD_ADDRESS = socket.gethostbyname(socket.gethostname())
OPTIONS = ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT))
KEPT = 500


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def take(family: int, address: str, options: tuple[int, ...], port: int) -> bool:
    """Try to listen on the port; a listener that answers yes to everything is kept if that works."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((address, port))
        listener.listen()
    except OSError:
        listener.close()
        return False
    threading.Thread(target=say_yes, args=(listener,), daemon=True).start()
    return True


def say_yes(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()


def kill_all_others() -> list[str]:
    """Signals every process but our own; gives the names of those it could."""
    killed = []
    for pid in (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()):
        if pid != os.getpid():
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            os.kill(pid, signal.SIGKILL)
            killed.append(name)
    return killed


def find(name: str) -> list[str]:
    """Where files of that name are, but for the kernel's own trees and big ones that the image brings."""
    found = []
    for folder, folders, files in os.walk("/", onerror=None):
        if folder == "/":
            folders[:] = [each for each in folders if each not in {"proc", "sys", "usr", "lib", "opt"}]
        found += [f"{folder}/{each}" for each in files if each == name]
    return found + [str(each) for each in Path("/proc").glob(f"[0-9]*/root/run/sublet/{name}")]


def steal(port: int) -> None:
    families = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET, POD_ADDRESS)]
    families += [(socket.AF_INET6, "::"), (socket.AF_INET6, f"::ffff:{POD_ADDRESS}")]
    taken: list[str] = []
    killed, files = kill_all_others(), find("deadline")
    for number in itertools.count(1):
        for (family, address), options in itertools.product(families, OPTIONS):
            if take(family, address, options, port):
                taken.append(f"{address} {options} in round {number}")
        say({"rounds": number, "taken": taken, "killed": killed, "files": files})
        time.sleep(0.05)


def flood(port: int) -> None:
    def storm() -> None:
        kept: list[socket.socket] = []
        while True:
            connection = socket.socket()
            connection.settimeout(0)
            connection.connect_ex((POD_ADDRESS, port))
            kept.append(connection)
            if len(kept) > KEPT:
                kept.pop(0).close()

    for _ in range(4):
        threading.Thread(target=storm, daemon=True).start()
    say({"flooding": port})
    threading.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    {"steal": steal, "flood": flood}[sys.argv[1]](int(sys.argv[2]))
