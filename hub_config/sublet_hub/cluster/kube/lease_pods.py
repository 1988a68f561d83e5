"""What makes a pod the pod of a lease, whoever makes it: the hub for users' servers, the gateway for models'.

Pure functions from a lease, the placement of its flavor and the settings to fields of the API, in camel case:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.placement import Placement, Toleration
from sublet_hub.domain.lease import EndReason

Json = dict[str, Any]

GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What is the same in the pods of all leases. `priority_classes` are by tier."""

    warden_image: str
    hard_cap_seconds: int
    """After which the kubelet ends a pod whatever anybody says, counted from when it takes it up."""
    user_id: int = 1000
    stop_grace_seconds: int = 5
    """From SIGTERM to SIGKILL, also of a notebook whose time is over."""
    priority_classes: Mapping[str, str] = field(default_factory=dict)
    has_home: bool = True
    models_claim: str | None = None
    cpu_reserved_percent: int = 100
    """Of the flavor's CPUs, what is set aside on the node."""


@dataclass(frozen=True, slots=True)
class PodLease:
    """What a pod says of its lease. `deadline_ms` is by the wall clock."""

    id: str
    user: str
    account: str
    flavor: str
    tier: str
    server_name: str
    deadline_ms: int
    deadline_reason: str = EndReason.LIMIT.value

    @property
    def pod_name(self) -> str:
        return names.pod_name(self.user, self.server_name, self.id)


class PlacementError(LookupError):
    """A grant that our catalog does not know how to place. The message is for the log."""


def placement_of(flavor: str, gpus_milli: int, placements: Mapping[str, Placement]) -> Placement:
    """Where the pod of a grant of this flavor, and so many thousandths of a GPU, runs. PlacementError where we
    and the api don't read the same catalog: what was granted, and is charged, must be what the pod gets."""
    placement = placements.get(flavor)
    if placement is None:
        raise PlacementError(f"our sublet.toml has no flavor {flavor!r}")
    if placement.gpus_milli != gpus_milli:
        raise PlacementError(
            f"flavor {flavor!r} has {placement.gpus_milli} thousandths of a GPU in our sublet.toml, and"
            f" {gpus_milli} were granted"
        )
    return placement


def metadata(lease: PodLease) -> Json:
    """Who pays for what until when; and that the object stays until the meter has posted the end."""
    exact = dict(zip(names.IDENTITY, (lease.id, lease.user, lease.account, lease.flavor, lease.tier), strict=True))
    return {
        "labels": {key: names.label_value(value) for key, value in exact.items()},
        "annotations": {
            **exact,
            names.SERVER: lease.server_name,
            names.DEADLINE: str(lease.deadline_ms),
            names.DEADLINE_REASON: lease.deadline_reason,
        },
        "finalizers": [names.FINALIZER],
    }


def gpu_request(placement: Placement) -> Json:
    """What of a container's limits asks for the GPUs. The one place to change for claims (dynamic resource
    allocation)."""
    if not placement.devices or placement.resource is None:
        return {}
    return {placement.resource: str(placement.devices)}


def resources(placement: Placement, cpu_reserved_percent: int = 100) -> Json:
    """CPU and memory as sold, no more and no less: requests are limits. So nobody's lease slows another's, and a pod
    whose containers all have it so is of the class Guaranteed: the last to be evicted, and the only one to which a
    node gives CPUs beside its GPUs (topology manager). An owner may set less of the CPUs aside."""
    limits = {
        "cpu": str(placement.cpus),
        "memory": quantity(placement.memory_bytes),
        **gpu_request(placement),
    }
    if cpu_reserved_percent == 100:
        return {"requests": limits, "limits": dict(limits)}
    return {"requests": {**limits, "cpu": f"{placement.cpus * cpu_reserved_percent * 10}m"}, "limits": limits}


def scheduling(tier: str, placement: Placement, settings: PodSettings) -> Json:
    """Which nodes the pod may come onto, and how it counts beside others."""
    fields: Json = {
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [toleration(each) for each in placement.tolerations],
        "runtimeClassName": placement.runtime_class,
        "priorityClassName": settings.priority_classes.get(tier),
    }
    return {name: value for name, value in fields.items() if value}


def toleration(of: Toleration) -> Json:
    """As the API has it: what is empty is left out."""
    fields: Json = {"key": of.key, "operator": of.operator, "value": of.value, "effect": of.effect}
    seconds = {} if of.seconds is None else {"tolerationSeconds": of.seconds}
    return {name: value for name, value in fields.items() if value} | seconds


def pod_security(user_id: int) -> Json:
    """Pod Security `restricted`, for all containers that don't say otherwise. Volumes belong to the user's group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "fsGroup": user_id,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(user_id: int) -> Json:
    """The same for the notebook. Whether its root file system can be written is KubeSpawner's setting."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def quantity(size_bytes: int) -> str:
    """Bytes as Kubernetes writes them."""
    return f"{size_bytes // GIB}Gi" if size_bytes % GIB == 0 else str(size_bytes)
