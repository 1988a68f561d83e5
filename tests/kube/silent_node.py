"""A node that isn't there: its object, and its kubelet's heartbeats and reports, for as long as a test sends them.

The control plane finds out by itself that it has fallen silent. Nobody else's pods are scheduled to it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread

from tests.kube.kubectl import Namespace, kubectl

BEAT_SECONDS = 2.0
HEARTBEATS = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass
class SilentNode:
    """See `silent_node`."""

    name: str
    last_beat: datetime = field(default_factory=lambda: datetime.now(UTC))
    _dead: Event = field(default_factory=Event)
    _beating: Thread | None = None

    def start(self) -> None:
        kubectl("create", "-f", "-", text=json.dumps(self._node()))
        kubectl("create", "--raw", HEARTBEATS, "-f", "-", text=json.dumps(self._beat()))
        self._beating = Thread(target=self._run, daemon=True)
        self._beating.start()

    def die(self) -> None:
        """Fall silent."""
        self._dead.set()
        if self._beating is not None:
            self._beating.join(timeout=60)

    def report_running(self, namespace: Namespace, pod: str) -> None:
        """Say, as a kubelet does, that a pod's containers have just been started."""
        said = namespace.pod(pod)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        running = {
            "state": {"running": {"startedAt": now}},
            "ready": True,
            "restartCount": 0,
            "image": "",
            "imageID": "",
        }
        said["status"] = {
            "phase": "Running",
            "startTime": now,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            "containerStatuses": [{"name": each["name"], **running} for each in said["spec"]["containers"]],
        }
        path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/status?fieldManager=kubelet"
        kubectl("replace", "--raw", path, "-f", "-", text=json.dumps(said))

    def remove(self) -> None:
        self.die()
        kubectl("delete", "node", self.name, "--ignore-not-found", "--wait=false")
        kubectl("-n", "kube-node-lease", "delete", "lease", self.name, "--ignore-not-found", "--wait=false")

    def _run(self) -> None:
        while not self._dead.wait(BEAT_SECONDS):
            at = datetime.now(UTC)
            patch = json.dumps({"spec": {"renewTime": _micro(at)}})
            kubectl("-n", "kube-node-lease", "patch", "lease", self.name, "--type=merge", "-p", patch)
            self.last_beat = at

    def _beat(self) -> dict[str, object]:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 40,
            "renewTime": _micro(self.last_beat),
        }
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": "kube-node-lease"},
            "spec": spec,
        }

    def _node(self) -> dict[str, object]:
        now = self.last_beat.strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "a test's",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name},
            "spec": {"unschedulable": True, "taints": [{"key": "test.sublet.dev/silent", "effect": "NoSchedule"}]},
            "status": {"conditions": [ready]},
        }


def _micro(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def silent_node() -> Iterator[SilentNode]:
    """A node that sends heartbeats until it is told to die; removed at the end of the block."""
    made = SilentNode(f"sublet-test-{secrets.token_hex(4)}")
    try:
        made.start()
        yield made
    finally:
        made.remove()
