"""A PostgreSQL in the cluster, for a release to keep its books in. Its data outlive its pod."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.kube.kubectl import Namespace, is_ready, until

NAME = "database"
SECRET = "database"
PORT = 5432


@dataclass(frozen=True)
class Postgres:
    """One server, with one database."""

    namespace: Namespace
    image: str
    password: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)

    @property
    def values(self) -> dict[str, Any]:
        """What tells the chart of it."""
        return {"database": {"existingSecret": {"name": SECRET, "key": "url"}}}

    @property
    def pod(self) -> str:
        return f"{NAME}-0"

    def start(self) -> None:
        """Have it made; it answers a while later."""
        url = self._url(NAME, PORT)
        secret = {"url": url, "password": self.password}
        self.namespace.apply(_object("v1", "Secret", stringData=secret), _service(), _stateful_set(self.image))

    def wait(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            pod = self.namespace.get("pod", self.pod)
            return pod is not None and is_ready(pod)

        until(answers, "PostgreSQL to answer", 120)

    def stop(self) -> None:
        """Have it end, until it is started again."""
        self.namespace.kubectl("scale", "statefulset", NAME, "--replicas=0")

    def kill(self) -> None:
        """Have the pod end within a second, and another take up its data. Never without waiting for its node's word:
        two servers on one folder would ruin it."""
        self.namespace.delete("pod", self.pod, "--grace-period=1")

    @contextmanager
    def reached(self) -> Iterator[str]:
        """Its URL on this machine, while the block runs."""
        with self.namespace.forwarded(f"pod/{self.pod}", PORT) as address:
            where = urlsplit(address)
            yield self._url(where.hostname or "", where.port or 0)

    def _url(self, host: str, port: int) -> str:
        return f"postgresql://postgres:{self.password}@{host}:{port}/postgres"


def _object(version: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, **fields}


LABELS = {"app.kubernetes.io/component": NAME}


def _service() -> dict[str, Any]:
    return _object("v1", "Service", spec={"selector": LABELS, "ports": [{"port": PORT, "protocol": "TCP"}]})


def _stateful_set(image: str) -> dict[str, Any]:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return _object(
        "apps/v1",
        "StatefulSet",
        spec={
            "serviceName": NAME,
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": _pod_spec(image)},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    )


def _pod_spec(image: str) -> Mapping[str, Any]:
    password = {"secretKeyRef": {"name": SECRET, "key": "password"}}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "containers": [
            {
                "name": NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "POSTGRES_PASSWORD", "valueFrom": password}],
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    }
