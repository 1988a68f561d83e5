"""Stands in for the API server, at its port, for what KubeSpawner asks: pods, homes, events, the version.

In the test's own event loop. A test plays scheduler and kubelet: it sets what the status of a pod is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

NAMESPACE = "test"
Json = dict[str, Any]


@dataclass
class FakeKube:
    """What the server holds, and what a test can have it do."""

    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {"pods": {}, "persistentvolumeclaims": {}})
    calls: list[tuple[str, str, Json]] = field(default_factory=list)
    """Method, path, body."""
    refusals: list[tuple[str, str, int, str]] = field(default_factory=list)
    """Of the next requests of a method for a kind: the status and the message."""
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Requests that are carried out, and whose answer never comes."""
    on_create: Callable[[Json], None] = lambda _pod: None
    version: int = 0
    history: list[Json] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    url: str = ""

    @property
    def pods(self) -> dict[str, Json]:
        return self.objects["pods"]

    def asked(self, method: str, kind: str) -> list[Json]:
        return [
            body
            for said, path, body in self.calls
            if said == method and path.split("/")[-1 - (method != "POST")] == kind
        ]

    async def change(self, name: str, status: Json | None = None, **metadata: Any) -> None:
        """As a kubelet or the API server itself would."""
        pod = self.pods[name]
        pod["status"] |= status or {}
        pod["metadata"] |= metadata
        await self.tell("MODIFIED", pod)

    async def remove(self, name: str) -> None:
        await self.tell("DELETED", self.pods.pop(name))

    async def tell(self, kind: str, pod: Json) -> None:
        async with self.changed:
            self.version += 1
            pod["metadata"]["resourceVersion"] = str(self.version)
            self.history.append(json.loads(json.dumps({"type": kind, "object": pod})))
            self.changed.notify_all()

    # ---------------------------------------------------------------- answers

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind, name = request.match_info["kind"], request.match_info.get("name", "")
        body = await request.json() if request.can_read_body else {}
        self.calls.append((request.method, request.path, body))
        for refusal in self.refusals:
            if refusal[:2] == (request.method, kind):
                self.refusals.remove(refusal)
                return _status(refusal[2], refusal[3])
        if request.query.get("watch"):
            return await self._watch(request, kind)
        answer = await self._carry_out(request, kind, name, body)
        if (request.method, kind) in self.lost:
            self.lost.remove((request.method, kind))
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _carry_out(self, request: web.Request, kind: str, name: str, body: Json) -> web.Response:
        held = self.objects.setdefault(kind, {})
        if request.method == "POST":
            return await self._create(kind, held, body)
        if not name:
            listed = {"metadata": {"resourceVersion": str(self.version)}, "items": list(held.values())}
            return web.json_response(listed)
        if name not in held:
            return _status(404, f"{name} not found")
        if request.method == "DELETE":
            given = {"deletionTimestamp": "2026-11-23T10:00:00Z"}
            await self.change(name, None, **given, deletionGracePeriodSeconds=body["gracePeriodSeconds"])
        return web.json_response(held.get(name, {}))

    async def _create(self, kind: str, held: dict[str, Json], body: Json) -> web.Response:
        name = body["metadata"]["name"]
        if name in held:
            return _status(409, f"{name} already exists")
        made = json.loads(json.dumps(body))
        made["metadata"] |= {"namespace": NAMESPACE, "uid": f"uid-{self.version}"}
        made["status"] = {"phase": "Pending"}
        held[name] = made
        if kind == "pods":
            self.on_create(made)
            await self.tell("ADDED", made)
        return web.json_response(made, status=201)

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query.get("resourceVersion") or 0)
        while True:
            async with self.changed:
                while self.version <= seen:
                    await self.changed.wait()
                news = self.history[seen:]
                seen = self.version
            for each in news if kind == "pods" else ():
                await response.write(json.dumps(each).encode() + b"\n")


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


async def _version(_request: web.Request) -> web.Response:
    names = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
    return web.json_response({"major": "1", "minor": "30+", **dict.fromkeys(names, "")})


@asynccontextmanager
async def fake_kube(folder: Path) -> AsyncIterator[FakeKube]:
    """Serve until the end of the block. `folder` gets a file that KUBECONFIG can name."""
    kube = FakeKube()
    app = web.Application()
    app.router.add_get("/version/", _version)
    for path in ("", "/{name}"):
        app.router.add_route("*", f"/api/v1/namespaces/{NAMESPACE}/{{kind}}{path}", kube.answer)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    kube.url = str(server.make_url("")).rstrip("/")
    (folder / "kubeconfig").write_text(
        json.dumps(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": kube.url}}],
                "users": [{"name": "test", "user": {"token": "t"}}],
            }
        )
    )
    try:
        yield kube
    finally:
        await server.close()
