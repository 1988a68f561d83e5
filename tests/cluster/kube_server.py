"""A stand-in for the API server, at its port: a real HTTP server that lists in pages, watches, and fails on demand.

It knows objects of any kind as plain JSON, versions, optimistic concurrency and finalizers; no admission.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cluster.kube_patches import json_patched, merged
from tests.cluster.kube_state import CUT, HANG, Answer, Json, KubeServer, Request


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kube: KubeServer

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        request = Request(self.command, url.path, query, body, dict(self.headers.items()))
        self.kube.requests.append(request)
        failure = self.kube.next_failure(request.verb)
        if failure is not None and failure.status == CUT:
            self.close_connection = True
        elif failure is not None and failure.status == HANG:
            kube_epoch = self.kube.epoch
            self.kube.until(lambda: self.kube.epoch != kube_epoch, 60)
            self.close_connection = True
        elif failure is not None:
            self._answer(failure.status, _status(failure.status, failure.message), failure.headers)
        elif request.verb == "WATCH":
            self._watch(request)
        else:
            try:
                self._answer(*_carry_out(self.kube, request))
            except Answer as refusal:
                self._answer(refusal.status, _status(refusal.status, str(refusal)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the server's names

    def _answer(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, request: Request) -> None:
        kube, at = self.kube, int(request.query["resourceVersion"])
        with kube.changed:
            if at < kube.oldest:
                self._answer(410, _status(410, "too old resource version"))
                return
            kube.watching += 1
            epoch = kube.epoch
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        deadline = time.monotonic() + int(request.query["timeoutSeconds"])
        try:
            while time.monotonic() < deadline:
                with kube.changed:
                    while not kube.due(at, epoch) and time.monotonic() < deadline:
                        kube.changed.wait(deadline - time.monotonic())
                    if kube.epoch != epoch:
                        break
                    news = [each for each in kube.history if each[0] > at and each[1] in {"", request.path}]
                    at = kube.version
                for _, _, kind, item in news:
                    line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                if any(kind == "ERROR" for _, _, kind, _ in news):
                    break
        finally:
            with kube.changed:
                kube.watching -= 1
        if kube.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the server's name
        """Say nothing."""


def _carry_out(kube: KubeServer, request: Request) -> tuple[int, Json]:
    if request.path == "/version":
        return 200, {"major": "1", "minor": "30+"}
    collection, name = _split(request.path)
    if request.method == "POST":
        if any(each["metadata"]["name"] == request.body["metadata"]["name"] for each in kube.list(collection)):
            raise Answer(409, "it exists already")
        return 201, kube.put(collection, request.body)
    if not name:
        return 200, _page(kube, collection, request.query)
    if request.method == "GET":
        return 200, kube.read(collection, name)
    if request.method == "DELETE":
        kube.delete(collection, name, request.body or {})
        return 200, _status(200, "")
    if request.method == "PUT":
        return 200, kube.change(collection, name, request.body)
    if request.headers["Content-Type"] == "application/json-patch+json":
        return 200, kube.change(collection, name, json_patched(kube.read(collection, name), request.body))
    return 200, kube.change(collection, name, merged(kube.read(collection, name), request.body))


def _split(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    root = 2 if parts[0] == "api" else 3
    plural = root + 2 if parts[root] == "namespaces" and len(parts) > root + 2 else root
    return "/" + "/".join(parts[: plural + 1]), "".join(parts[plural + 1 : plural + 2])


def _page(kube: KubeServer, collection: str, query: Mapping[str, str]) -> Json:
    with kube.changed:
        version, _, after = query.get("continue", f"{kube.version}:").partition(":")
        if int(version) < kube.oldest:
            raise Answer(410, "the provided continue parameter is too old")
        keys = set(filter(None, query.get("labelSelector", "").split(",")))  # those that must be there
        rest = [
            each
            for each in kube.list(collection)
            if each["metadata"]["name"] > after and keys <= each["metadata"].get("labels", {}).keys()
        ]
    limit = min(int(query.get("limit", 0)) or kube.page_items, kube.page_items)
    items = rest[:limit]
    metadata = {"resourceVersion": version}
    if len(rest) > limit:
        metadata["continue"] = f"{version}:{items[-1]['metadata']['name']}"
    return {"kind": "List", "metadata": metadata, "items": items or None}  # null, as old servers say


def _status(code: int, message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}


@contextmanager
def kube_server() -> Iterator[KubeServer]:
    """Serve on a free port until the end of the block."""
    kube = KubeServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kube": kube}))
    server.daemon_threads = True
    server.block_on_close = False
    kube.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield kube
    finally:
        kube.silence(is_so=False)
        kube.end_watches()
        server.shutdown()
        server.server_close()
        serving.join(5)
