"""The pod of a lease: what we ask of the cluster for a grant, as pure functions from names to fields of the API.

KubeSpawner builds a pod as it is configured; `lease_pod` lays over it what makes it the pod of a lease. Ours come
last, so that neither options nor hooks take them off. Fields are named as in the API, in camel case:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.placement import Placement, Toleration
from sublet_hub.cluster.kube.warden import Warden, with_warden
from sublet_hub.domain.lease import EndReason
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.pod_volumes import HOME, RUNTIME, PodVolume, lease_volumes, quantity

Json = dict[str, Any]


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


class PlacementError(LookupError):
    """A grant that the hub's catalog does not know how to place. The message is for the log."""


def placement_of(grant: Grant, placements: Mapping[str, Placement]) -> Placement:
    """Where a grant's pod runs. PlacementError where hub and api don't read the same catalog: what was granted, and
    is charged, must be what the pod gets."""
    placement = placements.get(grant.flavor)
    if placement is None:
        raise PlacementError(f"the hub's sublet.toml has no flavor {grant.flavor!r}")
    if placement.gpus_milli != grant.gpus_milli:
        raise PlacementError(
            f"flavor {grant.flavor!r} has {placement.gpus_milli} thousandths of a GPU in the hub's sublet.toml, and"
            f" {grant.gpus_milli} were granted"
        )
    return placement


def lease_pod(
    pod: Json, grant: Grant, placement: Placement, settings: PodSettings, home_claim: str, warden: Warden
) -> Json:
    """KubeSpawner's pod with all that makes it the pod of a lease. UnguardedError where its deadline would not hold
    in it."""
    spec = pod["spec"]
    home = home_claim if settings.has_home else None
    wanted = lease_volumes(placement.shm_bytes, home, settings.models_claim, grant.models)
    taken = {mount["mountPath"] for each in spec["containers"] for mount in each.get("volumeMounts") or ()}
    volumes = [each for each in wanted if not taken & {each.path, each.path.removesuffix(f"/{each.sub_path}")}]
    made = {
        **pod,
        "metadata": {**pod["metadata"], **_merged(pod["metadata"], metadata(grant))},
        "spec": {
            **spec,
            **_merged(spec, scheduling(grant, placement, settings)),
            **_merged(spec, {"securityContext": pod_security(settings.user_id)}),
            "automountServiceAccountToken": False,
            # Else every Service of the namespace is told in the environment.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.stop_grace_seconds,
            "activeDeadlineSeconds": settings.hard_cap_seconds,
            "volumes": [*(spec.get("volumes") or ()), *{each.name: each.volume for each in volumes}.values()],
            "containers": [
                _notebook(each, placement, settings, volumes) if each["name"] == names.NOTEBOOK else each
                for each in spec["containers"]
            ],
        },
    }
    return with_warden(made, warden)


def metadata(grant: Grant) -> Json:
    """Who pays for what until when; and that the object stays until the meter has posted the end."""
    exact = dict(zip(names.IDENTITY, (grant.id, grant.user, grant.account, grant.flavor, grant.tier), strict=True))
    return {
        "labels": {key: names.label_value(value) for key, value in exact.items()},
        "annotations": {
            **exact,
            names.SERVER: grant.server_name,
            names.DEADLINE: str(round(grant.deadline_at.timestamp() * 1000)),
            names.DEADLINE_REASON: grant.deadline_reason or EndReason.LIMIT.value,
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


def environment(grant: Grant, placement: Placement) -> dict[str, str]:
    """What the notebook is told of its share of the node: a library that counts the node's CPUs starts a thread on
    each, to be throttled.

    Without a GPU it is told that there is none: with NVIDIA's container runtime, an image that says
    NVIDIA_VISIBLE_DEVICES=all, as many do, would be shown every GPU of the node. With one, the device plugin says
    which, and nothing of ours may stand in its way.
    """
    env = {
        "HOME": HOME,
        "CPU_LIMIT": str(placement.cpus),
        "MEM_LIMIT": str(placement.memory_bytes),
        "OMP_NUM_THREADS": str(placement.cpus),
        "JUPYTER_RUNTIME_DIR": RUNTIME,
    }
    if not placement.devices:
        env |= {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    if grant.simulated:
        env["SUBLET_SIMULATED"] = "1"
    return env


def scheduling(grant: Grant, placement: Placement, settings: PodSettings) -> Json:
    """Which nodes the pod may come onto, and how it counts beside others."""
    fields: Json = {
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [toleration(each) for each in placement.tolerations],
        "runtimeClassName": placement.runtime_class,
        "priorityClassName": settings.priority_classes.get(grant.tier),
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


def _notebook(container: Json, placement: Placement, settings: PodSettings, volumes: list[PodVolume]) -> Json:
    security = {**(container.get("securityContext") or {}), **container_security(settings.user_id)}
    return {
        **container,
        "resources": resources(placement, settings.cpu_reserved_percent),
        "securityContext": security,
        "volumeMounts": [*(container.get("volumeMounts") or ()), *(each.mount for each in volumes)],
    }


def _merged(given: Json, ours: Json) -> Json:
    """Each of our fields, put together with what is given: tables key by key (ours win), lists one after another."""
    both: Json = {}
    for name, value in ours.items():
        if isinstance(value, dict):
            both[name] = {**(given.get(name) or {}), **value}
        elif isinstance(value, list):
            both[name] = [*(given.get(name) or ()), *value]
        else:
            both[name] = value
    return both
