"""A small real HTTP server in the place of the platform's API, with a lease's event stream."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.extension.conftest import LEASE, quota_document

LEASE_ID = "0123456789abcdef0123456789abcdef"
TOKEN = "the-token"
BASE = "/services/sublet/api"


def moment(seconds: float = 0) -> str:
    """So many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")[:-6] + "Z"


def notice(name: str, seconds: float, reason: str = "quota") -> dict[str, Any]:
    return {
        "id": name, "lease_id": LEASE_ID, "user": "alice", "reason": reason, "deadline_at": moment(seconds),
        "message": "This notebook stops soon because its quota runs out. Save your work.", "written_at": moment(),
        "withdrawn_at": None, "lead_seconds": 300,
    }  # fmt: skip


def problem(status: int, name: str, detail: str) -> dict[str, Any]:
    kind = f"https://sublet.dev/problems/{name}"
    return {"type": kind, "title": "No", "status": status, "detail": detail, "instance": "/"}


class StandIn:
    """What it tells, and what it was told."""

    def __init__(self) -> None:
        self.port = 0
        self.lease: dict[str, Any] = {**LEASE, "id": LEASE_ID, "deadline_at": moment(3600)}
        self.others: dict[str, dict[str, Any]] = {}
        self.notices: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.tokens: set[str] = set()
        self.is_away = False
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        """What is answered to a method and a path instead of the usual."""
        self.streams: set[queue.Queue[bytes | None]] = set()
        self.streams_ever = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def tell(self, event: str, document: object) -> None:
        """On all streams."""
        for each in list(self.streams):
            each.put(event_bytes(event, document))

    def move_deadline(self, seconds: float, reason: str = "quota", **changes: Any) -> None:
        self.lease = {**self.lease, "deadline_at": moment(seconds), "deadline_reason": reason, **changes}
        self.tell("lease", self.lease)

    def warn(self, document: dict[str, Any]) -> None:
        self.notices.append(document)
        self.tell("notice", document)

    def hang_up(self) -> None:
        for each in list(self.streams):
            each.put(None)


def event_bytes(event: str, document: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps(document)}\n\n".encode()


class Handler(BaseHTTPRequestHandler):
    """Answers as the API would; `state` is set on a subclass."""

    state: StandIn

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        path, state = self.path.removeprefix(BASE), self.state
        size = int(self.headers.get("Content-Length", 0))
        body: Any = json.loads(self.rfile.read(size)) if size else None
        state.asked.append((method, path, body))
        state.tokens.add(self.headers.get("Authorization", ""))
        if state.is_away:
            self._answer(503, problem(503, "unavailable", "The database does not answer."))
        elif (method, path) in state.answers:
            self._answer(*state.answers[method, path])
        elif path == f"/leases/{LEASE_ID}/events":
            self._stream()
        elif path == f"/leases/{LEASE_ID}/activity":
            state.batches.append(len(body["records"]))
            state.records.extend(body["records"])
            self._answer(204, None)
        else:
            self._answer(*self._usual(path))

    def _usual(self, path: str) -> tuple[int, dict[str, Any]]:
        other = self.state.others.get(path.removeprefix("/leases/"))
        if path == "/quota":
            return 200, quota_document()
        if path.endswith(("/stop", "/keep")):
            return 200, self.state.lease
        return (200, other) if other else (404, problem(404, "not-found", "There is no such page."))

    def _answer(self, status: int, document: object) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        state = self.state
        events: queue.Queue[bytes | None] = queue.Queue()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        state.streams.add(events)
        first = b"retry: 100\n\n" + event_bytes("lease", state.lease)
        self.wfile.write(first + b"".join(event_bytes("notice", each) for each in state.notices))
        state.streams_ever += 1
        try:
            while (event := events.get()) is not None:
                self.wfile.write(event)
        except OSError:
            pass
        finally:
            state.streams.discard(events)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stand_in() -> Iterator[StandIn]:
    state = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("LeaseHandler", (Handler,), {"state": state}))
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.hang_up()
        server.shutdown()
        server.server_close()
        thread.join(10)
