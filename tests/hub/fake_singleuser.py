"""Stands in for jupyterhub-singleuser: writes down what it was given and what it sees, and answers the hub.

That of a user whose name begins with `save` asks for itself by its public address when it is told to stop, as a page
that saves does, and writes down what it got.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

VERSION = "6.1.1"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", VERSION)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def readable(path: str) -> bool:
    try:
        return bool(os.listdir(path))  # noqa: PTH208 — the names are all that is asked
    except OSError:
        return False


def save() -> None:
    address = (Path.home() / "address").read_text(encoding="utf-8")
    with urllib.request.urlopen(address, timeout=4) as answer:
        (Path.home() / "saved").write_bytes(answer.read())
    os._exit(0)


def main() -> None:
    if os.environ["JUPYTERHUB_USER"].startswith("fails"):
        sys.exit(3)
    while os.environ["JUPYTERHUB_USER"].startswith("late") and not (Path.home() / "go").exists():
        time.sleep(0.05)
    server = HTTPServer(("127.0.0.1", urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).port or 0), Handler)
    seen = {
        "env": dict(os.environ),
        "uid": os.getuid(),
        "cwd": str(Path.cwd()),
        "readable": {path: readable(path) for path in sys.argv[1:]},
    }
    (Path.home() / "seen.new").write_text(json.dumps(seen), encoding="utf-8")
    (Path.home() / "seen.new").replace(Path.home() / "seen.json")
    if os.environ["JUPYTERHUB_USER"].startswith("slow"):
        signal.pause()  # the hub waits for an answer
    if os.environ["JUPYTERHUB_USER"].startswith("save"):
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=save).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
