"""What a test itself sees of pods, by kubectl's watch and by what containers say: to compare the ledger with."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO

import pytest

from tests.kube.kubectl import Cluster, Namespace, Object

BEAT_SECONDS = 0.2
BEATS = f"while :; do date +%s.%N; sleep {BEAT_SECONDS}; done"
"""A script that says when it ran, as exactly as `BEAT_SECONDS`, until it is killed. As a container's first process it
doesn't react to SIGTERM."""

LATEST_SECONDS = 15
"""After its deadline: the kubelet asks the warden each second, then comes the grace, then a busy machine."""

KEEPS_RECORDS = (1, 22)
"""Before, evictions throw the containers' records away, and deletions do at times."""


@dataclass
class Witness:
    """The last state of every pod that there ever was in a namespace."""

    last: dict[str, Object] = field(default_factory=dict)
    started: dict[str, datetime] = field(default_factory=dict)
    """When notebooks were started, by their own times."""
    gone: dict[str, datetime] = field(default_factory=dict)
    """When pods were seen to go."""
    _folder: Path = field(default_factory=Path)
    _listening: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def take(self, event: Object) -> None:
        pod = event["object"]
        name = pod["metadata"]["name"]
        self.last[name] = pod
        state = self.state(name)
        since = state.get("running") or state.get("terminated") or {}
        if since.get("startedAt"):
            self.started[name] = _time(since["startedAt"])
        if event["type"] == "DELETED":
            self.gone[name] = datetime.now(UTC)

    def state(self, name: str, container: str = "notebook") -> Object:
        """A container's, as the API has it; empty while there is none."""
        statuses = self.last.get(name, {}).get("status", {}).get("containerStatuses", ())
        found: Object = next((each["state"] for each in statuses if each["name"] == container), {})
        return found

    def started_ms(self, name: str) -> int:
        """When a notebook was started, by its own time."""
        return round(self.started[name].timestamp() * 1000)

    @staticmethod
    def ms(text: str) -> int:
        """A time of the API in milliseconds."""
        return round(_time(text).timestamp() * 1000)

    def held_seconds(self, name: str, container: str = "notebook") -> float | None:
        """How long a container ran by its own times; None where they aren't there."""
        over = self.state(name, container).get("terminated", {})
        if not over.get("startedAt") or not over.get("finishedAt"):
            return None
        return (_time(over["finishedAt"]) - _time(over["startedAt"])).total_seconds()

    def listen(self, namespace: Namespace, name: str) -> None:
        """Keep what a container's `BEATS` say, also once the pod is gone."""
        command = ["kubectl", "-n", namespace.name, "logs", "-f", name, "-c", "notebook"]
        with self._said(name).open("wb") as file:
            self._listening[name] = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)

    def beats_ms(self, name: str) -> tuple[float, float]:
        """When a container's first and last beats were."""
        # kubectl says among them, at times, that there is nothing more.
        beats = re.findall(r"^\d{10}\.\d+$", self._said(name).read_text(), re.MULTILINE)
        return float(beats[0]) * 1000, float(beats[-1]) * 1000

    def has_fallen_silent(self, name: str) -> bool:
        return self._listening[name].poll() is not None

    def stop_listening(self) -> None:
        for each in self._listening.values():
            each.kill()
            each.wait()

    def _said(self, name: str) -> Path:
        return self._folder / name


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@contextmanager
def witness(namespace: Namespace) -> Iterator[Witness]:
    """See all pods of a namespace while the block runs."""
    command = ["kubectl", "-n", namespace.name, "get", "pods", "--watch", "--output-watch-events", "-o", "json"]
    with TemporaryDirectory() as folder:
        made = Witness(_folder=Path(folder))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        reader = Thread(target=_read, args=(process.stdout, made), daemon=True)
        reader.start()
        try:
            yield made
        finally:
            process.kill()
            process.wait()
            reader.join(timeout=10)
            made.stop_listening()


def _read(stream: IO[str], into: Witness) -> None:
    """Some versions print an event on one line, others on many."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.startswith("}") or (len(lines) == 1 and line.rstrip().endswith("}")):
            into.take(json.loads("".join(lines)))
            lines.clear()


def assert_is_what_ran(lease: Object, seen: Witness, pod: str, cluster: Cluster) -> None:
    """Of a pod that is deleted, a kubelet of those days may lose the end: then it is not later than the pod's own."""
    held = seen.held_seconds(pod)
    if held is not None:
        assert lease["gpu_seconds"] == pytest.approx(held, abs=1)
        return
    assert cluster.version < KEEPS_RECORDS
    there = (seen.gone[pod] - seen.started[pod]).total_seconds()
    assert there - LATEST_SECONDS <= lease["gpu_seconds"] <= there + 1
