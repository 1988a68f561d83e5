"""Evicting a pod as `kubectl drain` does: by the Eviction API."""

from __future__ import annotations

import json

from tests.kube.kubectl import Namespace, kubectl


def evict(namespace: Namespace, pod: str) -> None:
    version = "policy/v1" if namespace.cluster.version >= (1, 22) else "policy/v1beta1"
    asked = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", text=json.dumps(asked))
