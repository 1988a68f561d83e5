"""Lease pods that nobody runs: objects on a real API server, as large and as detailed as real ones.

They are bound to a node that does not exist but as an object, so that no kubelet starts them; their status is written
as a kubelet would, so that they look as if they ran.

    python -m tests.bench.fake_pods make NAMESPACE 1000     in a new namespace of that name
    python -m tests.bench.fake_pods remove NAMESPACE
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.connection import Connection, connect
from sublet_hub.cluster.kube.errors import LEASES, NODES, PODS, Ask, KubeError, NotFound, Resource
from sublet_hub.cluster.kube.objects import Object, Pod, micro_time

NAMESPACES = Resource("namespaces", namespaced=False)
SERVICE_ACCOUNTS = Resource("serviceaccounts")
HEARTBEATS = "kube-node-lease"
CONNECTIONS = 32
"""A request mostly waits for the disk of the database below the API server."""
PATIENCE_SECONDS = 600
COMPONENT = "singleuser-server"
"""The label that KubeSpawner selects by."""

NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

Json = dict[str, Any]


@contextmanager
def fake_node(connection: Connection, name: str) -> Iterator[str]:
    """A node that takes no pods by itself and that no kubelet serves. `beat` keeps it Ready."""
    _make_node(connection, name)
    try:
        yield name
    finally:
        connection.delete(NODES, name)


def _make_node(connection: Connection, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": True}}
    connection.create(NODES, body, Object)


def beat(connection: Connection, node: str) -> None:
    """Say what a kubelet says of itself every ten seconds; without it, the control plane notes the node as lost."""
    now_ms = time.time_ns() // 1_000_000
    at = _rfc3339(now_ms)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
    }
    status = {"conditions": [{**ready, "lastHeartbeatTime": at, "lastTransitionTime": at}]}
    _as_kubelet(connection, Ask("patch", NODES, "", node, "status"), {"status": status})
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": micro_time(now_ms)},
    }
    try:
        connection.patch(LEASES, node, lease, Object, namespace=HEARTBEATS)
    except NotFound:
        connection.create(LEASES, lease, Object, namespace=HEARTBEATS)


@contextmanager
def namespace(connection: Connection, name: str) -> Iterator[str]:
    """A namespace for them, that takes pods. Removed with all in it; see `remove`."""
    _make_namespace(connection, name)
    try:
        yield name
    finally:
        remove(connection, name)
        connection.delete(NAMESPACES, name)


def _make_namespace(connection: Connection, name: str) -> None:
    connection.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, Object)
    _until(lambda: _is_there(connection, SERVICE_ACCOUNTS, "default", name), "a service account")


def make(
    connection: Connection,
    into: str,
    lease_ids: Sequence[str],
    *,
    node: str,
    finalizer: bool = False,
    first: int = 0,
    deadline_ms: int | None = None,
) -> None:
    """Make a running pod for each lease, of users whose numbers begin with `first`. With `finalizer`, they stay until
    the meter or `remove` lets them go. Without a deadline, they have hours."""
    until_ms = deadline_ms or time.time_ns() // 1_000_000 + 8 * 3_600_000

    def one(numbered: tuple[int, str]) -> None:
        number, lease_id = numbered
        body = pod(number, lease_id, node, finalizer=finalizer, deadline_ms=until_ms)
        connection.create(PODS, body, Object, namespace=into)
        ask = Ask("patch", PODS, into, body["metadata"]["name"], "status")
        _as_kubelet(connection, ask, {"status": running(body)})

    _all(one, enumerate(lease_ids, first))


def remove(connection: Connection, name: str) -> None:
    """Delete all pods of a namespace at once, with no kubelet to wait for."""

    def one(pod: Pod) -> None:
        try:
            if pod.metadata.finalizers:
                connection.patch(PODS, pod.metadata.name, {"metadata": {"finalizers": None}}, Object, namespace=name)
            connection.delete(PODS, pod.metadata.name, grace_seconds=0, namespace=name)
        except NotFound:  # it went with its last finalizer
            return

    _all(one, (pod for page in connection.pages(PODS, Pod, namespace=name) for pod in page.items or ()))


def user_name(number: int) -> str:
    """The user of the pod of that number."""
    return f"user{number}"


def pod(number: int, lease_id: str, node: str, *, finalizer: bool, deadline_ms: int) -> Json:
    """A pod as KubeSpawner makes it for a lease: 3 KB, and twice that with what the server adds."""
    user = user_name(number)
    exact = dict(
        zip(names.IDENTITY, (lease_id, user, f"group:lab{number % 20}", "gpu-1x", "guaranteed"), strict=True)
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.pod_name(user, "", lease_id),
            "labels": {
                "app": "jupyterhub",
                "app.kubernetes.io/component": COMPONENT,
                "app.kubernetes.io/instance": "sublet",
                "app.kubernetes.io/managed-by": "kubespawner",
                "app.kubernetes.io/name": "sublet",
                "component": COMPONENT,
                "hub.jupyter.org/network-access-hub": "true",
                "hub.jupyter.org/servername": "",
                "hub.jupyter.org/username": user,
                **{key: names.label_value(value) for key, value in exact.items()},
            },
            "annotations": {
                "hub.jupyter.org/jupyterhub-version": "6.1.1",
                "hub.jupyter.org/kubespawner-version": "7.1.0",
                "hub.jupyter.org/username": user,
                names.SERVER: "",
                names.DEADLINE: str(deadline_ms),
                names.DEADLINE_REASON: "limit",
                **exact,
            },
            "finalizers": [names.FINALIZER] if finalizer else [],
        },
        "spec": _spec(user, lease_id, node),
    }


def _spec(user: str, lease_id: str, node: str) -> Json:
    image = "registry.example.org/sublet/sublet-notebook:2026.11.1-cuda"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    return {
        "nodeName": node,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": 7 * 86_400,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"fsGroup": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": names.NOTEBOOK,
                "image": image,
                "args": ["jupyterhub-singleuser", "--ServerApp.ip=0.0.0.0", "--port=8888"],
                "env": [{"name": key, "value": value} for key, value in _environment(user, lease_id).items()],
                "ports": [{"name": "notebook-port", "containerPort": 8888}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 9_999}, "periodSeconds": 1, "failureThreshold": 2},
                "resources": {
                    "requests": {"cpu": "7", "memory": "60Gi", "nvidia.com/gpu": "1"},
                    "limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"},
                },
                "securityContext": {**restricted, "runAsUser": 1000},
                "volumeMounts": [
                    {"name": "home", "mountPath": "/home/jovyan"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "models", "mountPath": "/models", "readOnly": True},
                ],
            },
            {
                "name": names.WARDEN,
                "image": "registry.example.org/sublet/sublet-warden:2026.11.1",
                "args": ["/deadline/deadline", "9999"],
                "resources": {"limits": {"cpu": "50m", "memory": "16Mi"}},
                "securityContext": {**restricted, "runAsUser": 65_532, "readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "deadline", "mountPath": "/deadline", "readOnly": True}],
            },
        ],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": f"claim-{user}"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
            {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            {
                "name": "deadline",
                "downwardAPI": {
                    "items": [
                        {
                            "path": "deadline",
                            "fieldRef": {"fieldPath": f"metadata.annotations['{names.DEADLINE}']"},
                        }
                    ]
                },
            },
        ],
    }


def _environment(user: str, lease_id: str) -> dict[str, str]:
    hub = "http://sublet-hub.sublet.svc:8081"
    return {
        "JUPYTERHUB_ACTIVITY_URL": f"{hub}/hub/api/users/{user}/activity",
        "JUPYTERHUB_API_TOKEN": uuid.uuid4().hex,
        "JUPYTERHUB_API_URL": f"{hub}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{user}",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": f'["access:servers!server={user}/", "access:servers!user={user}"]',
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"/user/{user}/oauth_callback",
        "JUPYTERHUB_OAUTH_SCOPES": f'["access:servers!server={user}/", "access:servers!user={user}"]',
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_SERVICE_PREFIX": f"/user/{user}/",
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888/user/{user}/",
        "JUPYTERHUB_USER": user,
        "JUPYTER_IMAGE": "registry.example.org/sublet/sublet-notebook:2026.11.1-cuda",
        "MEM_LIMIT": "68719476736",
        "SUBLET_API_URL": "http://sublet-api.sublet.svc/services/sublet/api",
        "SUBLET_LEASE_ID": lease_id,
    }


def running(body: Json) -> Json:
    """The status that a kubelet writes of such a pod once it runs."""
    at = _rfc3339(time.time_ns() // 1_000_000)
    return {
        "phase": "Running",
        "startTime": at,
        "hostIP": "10.1.0.7",
        "podIP": "10.2.3.4",
        "podIPs": [{"ip": "10.2.3.4"}],
        "qosClass": "Burstable",
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": at, "lastProbeTime": None}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": f"{each['image'].partition(':')[0]}@sha256:{uuid.uuid4().hex * 2}",
                "containerID": f"containerd://{uuid.uuid4().hex * 2}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "lastState": {},
                "state": {"running": {"startedAt": at}},
            }
            for each in body["spec"]["containers"]
        ],
    }


def lease_ids(count: int) -> list[str]:
    """So many ids of leases that no book knows."""
    return [uuid.uuid4().hex for _ in range(count)]


def _as_kubelet(connection: Connection, ask: Ask, change: Json) -> None:
    connection._exchange.send(
        ask, "PATCH", query={"fieldManager": "kubelet"}, body=change, content_type="application/merge-patch+json"
    )


def _all(do: Callable[[Any], None], items: Iterable[Any]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in pool.map(do, items):
            assert done is None


def _is_there(connection: Connection, resource: Resource, name: str, where: str) -> bool:
    try:
        connection.get(resource, name, Object, namespace=where)
    except NotFound:
        return False
    return True


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def _rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fake_pods", description=__doc__)
    parser.add_argument("what", choices=["make", "remove"])
    parser.add_argument("namespace")
    parser.add_argument("count", type=int, nargs="?", default=1000)
    asked = parser.parse_args()
    connection = connect()
    begun = time.monotonic()
    if asked.what == "make":
        _make_namespace(connection, asked.namespace)
        _make_node(connection, asked.namespace)
        make(connection, asked.namespace, lease_ids(asked.count), node=asked.namespace)
    else:
        remove(connection, asked.namespace)
        for resource in (NODES, NAMESPACES):
            try:
                connection.delete(resource, asked.namespace)
            except KubeError as error:
                sys.stderr.write(f"{error}\n")
    sys.stdout.write(f"{asked.what}: {time.monotonic() - begun:.1f} s\n")


if __name__ == "__main__":
    main()
