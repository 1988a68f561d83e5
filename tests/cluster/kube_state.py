"""What the stand-in for the API server holds, and the strings that a test can pull."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.exchange import Exchange, OnRequest, Patience

NAMESPACE = "test"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
QUICK = Patience(connect_seconds=5, answer_seconds=5, first_delay_seconds=0.001, most_delay_seconds=1, rest_seconds=0)

CUT, HANG = 0, -1
"""Instead of a status: close the connection without a word; say nothing until the watches are ended."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One that was received."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]

    @property
    def verb(self) -> str:
        return "WATCH" if self.query.get("watch") == "true" else self.method


@dataclass(frozen=True)
class Failure:
    """What to answer instead."""

    verb: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "scripted"


class Answer(Exception):
    """A refusal by the server itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KubeServer:
    """The server's state, and the strings a test can pull. All methods are safe in any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[Request] = []
        self.failures: deque[Failure] = deque()
        self.watching = 0
        self.epoch = 0
        """Raised to end the watches there are."""
        self.cut = False
        self.silent = False
        self.page_items = 500
        self.oldest = 0
        self.version = 100
        self.history: list[tuple[int, str, str, Json]] = []
        self._objects: dict[str, dict[str, Json]] = {}
        self.url = ""

    def put(self, collection: str, item: Json) -> Json:
        """Create or replace an object; returns it as stored."""
        with self.changed:
            stored = copy.deepcopy(item)
            held = self._objects.setdefault(collection, {})
            before = held.get(stored["metadata"]["name"])
            stored["metadata"].setdefault("uid", before["metadata"]["uid"] if before else str(uuid.uuid4()))
            held[stored["metadata"]["name"]] = stored
            self._record(collection, "MODIFIED" if before else "ADDED", stored)
            return copy.deepcopy(stored)

    def remove(self, collection: str, name: str) -> None:
        """Delete an object for good, whatever its finalizers."""
        with self.changed:
            self._record(collection, "DELETED", self._objects[collection].pop(name))

    def read(self, collection: str, name: str) -> Json:
        """An object as stored."""
        with self.changed:
            if name not in self._objects.get(collection, {}):
                raise Answer(404, f'"{name}" not found')
            return copy.deepcopy(self._objects[collection][name])

    def list(self, collection: str) -> list[Json]:
        """All objects, by name."""
        with self.changed:
            return [copy.deepcopy(each) for _, each in sorted(self._objects.get(collection, {}).items())]

    def expire(self) -> None:
        """Forget all that was: versions before now answer 410 Gone."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.history.clear()

    def bookmark(self) -> None:
        """Tell every watch the present version."""
        with self.changed:
            self._tell("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(self.version + 1)}})

    def error_event(self, code: int) -> None:
        """Tell every watch that it failed, and end it."""
        with self.changed:
            self._tell("ERROR", {"kind": "Status", "code": code, "reason": "Scripted", "message": "too old"})

    def end_watches(self, *, cut: bool = False) -> None:
        """End all watches: in good order, or by cutting their connections."""
        with self.changed:
            self.cut = cut
            self.epoch += 1
            self.changed.notify_all()

    def silence(self, *, is_so: bool = True) -> None:
        """Let watches stay open, and send nothing more on them: as if the connection were half open."""
        with self.changed:
            self.silent = is_so
            self.changed.notify_all()

    def due(self, at: int, epoch: int) -> bool:
        """Whether a watch has something to do."""
        return not self.silent and (self.epoch != epoch or self.version > at)

    def fail(self, verb: str, status: int, *, times: int = 1, message: str = "scripted", **headers: str) -> None:
        """Answer the next requests of a verb (GET, WATCH, PATCH, …) with a status, `CUT` or `HANG`."""
        with self.changed:
            said = {name.replace("_", "-"): value for name, value in headers.items()}
            self.failures.extend([Failure(verb, status, said, message)] * times)

    def count(self, verb: str) -> int:
        """How many requests of a verb there were."""
        return sum(each.verb == verb for each in self.requests)

    def connection(self, on_request: OnRequest | None = None, patience: Patience = QUICK) -> Connection:
        """A connection to it."""
        client = httpx.Client(base_url=self.url, trust_env=False)
        return Connection(Exchange(client, on_request, patience), NAMESPACE)

    def until(self, true: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "it did not come to be so"
            time.sleep(0.002)

    def next_failure(self, verb: str) -> Failure | None:
        with self.changed:
            found = next((each for each in self.failures if each.verb == verb), None)
            if found is not None:
                self.failures.remove(found)
            return found

    def delete(self, collection: str, name: str, options: Json) -> None:
        """As asked for by a client: an object with finalizers stays until they are gone."""
        with self.changed:
            held = self.read(collection, name)
            uid = options.get("preconditions", {}).get("uid")
            if uid not in {None, held["metadata"]["uid"]}:
                raise Answer(409, "the UID in the precondition does not match")
            if not held["metadata"].get("finalizers"):
                self.remove(collection, name)
            elif "deletionTimestamp" not in held["metadata"]:
                held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                self.put(collection, held)

    def change(self, collection: str, name: str, changed: Json) -> Json:
        """As asked for by a client: only from the version that it names, if it names one."""
        with self.changed:
            held = self.read(collection, name)
            wanted = changed["metadata"].get("resourceVersion", held["metadata"]["resourceVersion"])
            if wanted != held["metadata"]["resourceVersion"]:
                raise Answer(409, "the object has been modified")
            if changed["metadata"].get("uid", held["metadata"]["uid"]) != held["metadata"]["uid"]:
                raise Answer(422, "metadata.uid: Invalid value: field is immutable")
            changed["metadata"]["uid"] = held["metadata"]["uid"]
            stored = self.put(collection, changed)
            if "deletionTimestamp" in stored["metadata"] and not stored["metadata"].get("finalizers"):
                self.remove(collection, name)
            return stored

    def _record(self, collection: str, kind: str, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, collection, kind, copy.deepcopy(item)))
        self.changed.notify_all()

    def _tell(self, kind: str, item: Json) -> None:
        self.version += 1
        self.history.append((self.version, "", kind, item))
        self.changed.notify_all()
