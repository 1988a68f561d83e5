"""Grants, placements and pods for tests of what becomes of them on Kubernetes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sublet_hub.cluster.kube.capabilities import Capabilities
from sublet_hub.cluster.kube.lease_pods import PodSettings
from sublet_hub.cluster.kube.placement import Placement, Toleration
from sublet_hub.cluster.kube.warden import Warden
from sublet_hub.hub.messages import Grant

GIB = 2**30
LEASE = "0123456789abcdef0123456789abcdef"
DEADLINE = datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC)
DEADLINE_MS = "1795435200500"

OLD, NEW = (
    Capabilities(native_sidecars=False, probe_grace=False),
    Capabilities(native_sidecars=True, probe_grace=True),
)

SETTINGS = PodSettings(
    warden_image="warden:1",
    hard_cap_seconds=700_000,
    user_id=1234,
    stop_grace_seconds=7,
    priority_classes={"surplus": "sublet-surplus"},
    models_claim="models",
)


def placement(**fields: Any) -> Placement:
    return Placement(
        **{
            "flavor": "h100-2x",
            "pool": "h100",
            "gpus": 2,
            "gpus_milli": 2000,
            "cpus": 16,
            "memory_bytes": 128 * GIB,
            "shm_bytes": 32 * GIB,
            "node_selector": {"gpu": "h100"},
            "tolerations": (Toleration("nvidia.com/gpu", "Exists", "", "NoSchedule"),),
            "runtime_class": "nvidia",
            **fields,
        }
    )


CPU = placement(
    flavor="cpu", pool="cpu", gpus=0, gpus_milli=0, node_selector={}, tolerations=(), runtime_class=None, shm_bytes=0
)


def grant(**fields: Any) -> Grant:
    return Grant.model_validate(
        {
            "id": LEASE,
            "user": "Ada@Example.org",
            "account": "group:ml",
            "flavor": "h100-2x",
            "tier": "surplus",
            "state": "granted",
            "started_at": None,
            "ended_at": None,
            "deadline_at": DEADLINE,
            "deadline_reason": "quota",
            "end_reason": None,
            "simulated": False,
            "currency": "USD",
            "server_name": "big one",
            "gpus_milli": 2000,
            "devices": (),
            "held_seconds": 600,
            **fields,
        }
    )


def warden(capabilities: Capabilities = NEW) -> Warden:
    return Warden("warden:1", capabilities, SETTINGS.stop_grace_seconds)


def plain_pod(**notebook: Any) -> dict[str, Any]:
    """A pod as KubeSpawner makes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "jupyter-ada",
            "labels": {"component": "singleuser-server"},
            "annotations": {"hub.jupyter.org/username": "Ada@Example.org"},
        },
        "spec": {
            "containers": [
                {
                    "name": "notebook",
                    "image": "notebook:1",
                    "env": [{"name": "A", "value": "b"}],
                    "ports": [{"containerPort": 8888, "name": "notebook-port"}],
                    "resources": {"limits": {}, "requests": {}},
                    **notebook,
                }
            ],
            "restartPolicy": "OnFailure",
            "volumes": [],
        },
    }
