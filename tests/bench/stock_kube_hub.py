"""JupyterHub with KubeSpawner alone, in a namespace of its own, out of the same image as Sublet's hub."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.site import Site, wait_until
from tests.kube.installed import IMAGES
from tests.kube.kubectl import Namespace

CONFIG = Path(__file__).with_name("stock_kube_config.py")
NAME = "stock"
START_SECONDS = 240
NODE = "/opt/sublet/venv/bin/node"
PROXY = "/opt/sublet/proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"
LABELS = {"app": NAME}

Object = dict[str, Any]


@dataclass
class StockKubeHub(Site):
    """One that runs. `address` is where its proxy is reached."""

    address: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.address

    def credentials(self) -> dict[str, str]:
        return {"admin_user": "admin", "user_password": self.password}

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/hub/api/", trust_env=False, timeout=5).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def running(namespace: Namespace) -> Iterator[StockKubeHub]:
    """The hub and its proxy, for the time of a block. They go with the namespace."""
    password = secrets.token_urlsafe(12)
    namespace.apply(*objects(namespace.name, password))
    namespace.kubectl("rollout", "status", f"deployment/{NAME}", f"--timeout={START_SECONDS}s", seconds=START_SECONDS)
    with namespace.forwarded(f"service/{NAME}", 8000) as address:
        hub = StockKubeHub(address, password)
        wait_until(hub.answers, 60, f"the hub answers\n{namespace.describe()}")
        yield hub


def objects(namespace: str, password: str) -> list[Object]:
    """All of it: what the hub may do, its configuration, its pod with the proxy beside it, and the way there."""
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "create", "delete"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    ports = [{"name": f"port-{port}", "port": port, "protocol": "TCP"} for port in (8000, 8081)]
    return [
        _object("v1", "ServiceAccount"),
        _object("rbac.authorization.k8s.io/v1", "Role", rules=rules),
        _object("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef=role, subjects=[subject]),
        _object("v1", "ConfigMap", data={CONFIG.name: CONFIG.read_text(encoding="utf-8")}),
        _object("v1", "Service", spec={"selector": LABELS, "ports": ports}),
        _object(
            "apps/v1",
            "Deployment",
            spec={
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": _pod(namespace, password)},
            },
        ),
    ]


def _pod(namespace: str, password: str) -> Object:
    environment = {
        "BENCH_NAMESPACE": namespace,
        "BENCH_NOTEBOOK": IMAGES["notebook"],
        "BENCH_PASSWORD": password,
        "BENCH_WARDEN": IMAGES["warden"],
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
        "HOME": "/tmp",
    }
    hub = _container("hub", ["jupyterhub", "-f", f"/config/{CONFIG.name}"], 8081, "/hub/health", environment)
    proxy = ["--ip=0.0.0.0", "--port=8000", "--api-ip=127.0.0.1", "--api-port=8001"]
    command = [NODE, PROXY, *proxy, "--error-target=http://127.0.0.1:8081/hub/error"]
    return {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "containers": [hub, _container("proxy", command, 8000, "/_chp_healthz", environment)],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(name: str, args: list[str], port: int, healthy: str, environment: Mapping[str, str]) -> Object:
    return {
        "name": name,
        "image": IMAGES["hub"],
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"containerPort": port}],
        "readinessProbe": {"httpGet": {"path": healthy, "port": port}, "periodSeconds": 2, "timeoutSeconds": 3},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config"},
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _object(version: str, kind: str, **fields: object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, **fields}
