"""The pod of a lease: what we ask of the cluster for a grant, as pure functions from names to fields of the API.

KubeSpawner builds a pod as it is configured; `lease_pod` lays over it what makes it the pod of a lease. Ours come
last, so that neither options nor hooks take them off. Fields are named as in the API, in camel case:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.lease_pods import (
    Json,
    PodLease,
    PodSettings,
    container_security,
    metadata,
    pod_security,
    resources,
    scheduling,
)
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.cluster.kube.warden import Warden, with_warden
from sublet_hub.domain.lease import EndReason
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.pod_volumes import HOME, RUNTIME, PodVolume, lease_volumes


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
        "metadata": {**pod["metadata"], **_merged(pod["metadata"], metadata(lease_of(grant)))},
        "spec": {
            **spec,
            **_merged(spec, scheduling(grant.tier, placement, settings)),
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


def lease_of(grant: Grant) -> PodLease:
    """What the pod says of the lease."""
    return PodLease(
        id=grant.id,
        user=grant.user,
        account=grant.account,
        flavor=grant.flavor,
        tier=grant.tier,
        server_name=grant.server_name,
        deadline_ms=round(grant.deadline_at.timestamp() * 1000),
        deadline_reason=grant.deadline_reason or EndReason.LIMIT.value,
    )


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
