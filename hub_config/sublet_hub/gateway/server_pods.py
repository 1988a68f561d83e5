"""The pod of a model's server that is a lease: a lease's pod like a user's server's, in which an engine serves one
model to the gateway. Pure functions from a grant to fields of the API, in camel case.

It sees its model alone, read-only; its image and arguments are those of the chart's `models.servers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.capabilities import Capabilities
from sublet_hub.cluster.kube.lease_pods import (
    Json,
    PodLease,
    PodSettings,
    container_security,
    metadata,
    pod_security,
    quantity,
    resources,
    scheduling,
)
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.cluster.kube.warden import LEAST_GRACE_SECONDS, Warden, with_warden
from sublet_hub.domain.models import Model, Start, Upstream
from sublet_hub.gateway.places import SCRIPTS, SCRIPTS_FOLDER

PORT: Final = 8000
GRACE_SECONDS: Final = LEAST_GRACE_SECONDS
"""From SIGTERM to SIGKILL: it has nothing to save, and its GPU is waited for."""

FILES: Final = "/serving/model"
TMP: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
TMP_LIMIT: Final = "20Gi"


@dataclass(frozen=True, slots=True)
class ServerPodSettings:
    """What is the same in all of them. `release`: what the platform's own objects are called."""

    pods: PodSettings
    models_claim: str
    notebook_image: str
    vllm_image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...] = ()
    release: str = "sublet"


@dataclass(frozen=True, slots=True)
class Owner:
    """The gateway that starts a server: its pod, and which run of the process in it."""

    name: str
    uid: str
    run: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One server: what it serves, how, and on which lease."""

    model: Model
    upstream: Upstream
    lease: PodLease
    placement: Placement


def server_pod(wanted: Wanted, settings: ServerPodSettings, owner: Owner, capabilities: Capabilities) -> Json:
    """The whole pod. The cluster itself takes it away when the pod of its owner is gone, which needs none of us."""
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(wanted, settings, owner),
        "spec": {
            **scheduling(wanted.lease.tier, wanted.placement, settings.pods),
            "securityContext": pod_security(settings.pods.user_id),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "activeDeadlineSeconds": settings.pods.hard_cap_seconds,
            "imagePullSecrets": [{"name": each} for each in settings.image_pull_secrets],
            "containers": [_container(wanted, settings)],
            "volumes": _volumes(wanted.placement, settings.models_claim),
        },
    }
    warden = Warden(
        image=settings.pods.warden_image,
        capabilities=capabilities,
        grace_seconds=GRACE_SECONDS,
        image_pull_policy=settings.image_pull_policy,
        notebook_port=PORT,
    )
    return with_warden(pod, warden)


def _metadata(wanted: Wanted, settings: ServerPodSettings, owner: Owner) -> Json:
    ours = metadata(wanted.lease)
    return {
        **ours,
        "name": wanted.lease.pod_name,
        "labels": {
            **ours["labels"],
            # Network policies go by the first, and so keep all but the gateway away.
            names.SERVES: names.label_value(wanted.model.name),
            names.GATEWAY: names.label_value(owner.name),
            names.GATEWAY_RUN: owner.run,
            "app.kubernetes.io/name": "sublet",
            "app.kubernetes.io/instance": settings.release,
            "app.kubernetes.io/managed-by": "sublet-gateway",
        },
        "annotations": {**ours["annotations"], names.GATEWAY: owner.name, names.GATEWAY_UID: owner.uid},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}],
    }


def _container(wanted: Wanted, settings: ServerPodSettings) -> Json:
    start = wanted.upstream.start
    assert start is not None, "only those are started that have to be"
    mounts = [
        {"name": "tmp", "mountPath": TMP},
        {"name": "models", "mountPath": FILES, "subPath": wanted.model.folder, "readOnly": True},
    ]
    if wanted.placement.shm_bytes:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - the place of shared memory
    return {
        # The meter and the warden know by this name whose end is the lease's.
        "name": names.NOTEBOOK,
        "image": settings.vllm_image if start == "vllm" else settings.notebook_image,
        "imagePullPolicy": settings.image_pull_policy,
        **_ENGINES[start](wanted),
        "workingDir": TMP,
        "env": [{"name": name, "value": value} for name, value in _environment(wanted.placement).items()],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": resources(wanted.placement, settings.pods.cpu_reserved_percent),
        "securityContext": {**container_security(settings.pods.user_id), "readOnlyRootFilesystem": True},
        "volumeMounts": mounts,
    }


def _vllm(wanted: Wanted) -> Json:
    """vLLM's options: https://docs.vllm.ai/en/v0.30.0/cli/serve/"""
    devices = wanted.placement.devices
    arguments = [FILES, "--served-model-name", wanted.model.name, "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - a pod's own
    if devices > 1:
        arguments += ["--tensor-parallel-size", str(devices)]
    arguments += ["--disable-uvicorn-access-log", *wanted.upstream.arguments]
    return {"command": ["vllm", "serve"], "args": _exact(arguments)}


def _script(wanted: Wanted) -> Json:
    """A program of ours, which the image with Python need not have: it comes with the pod."""
    assert wanted.upstream.start is not None, "only those are started that have to be"
    text = (SCRIPTS_FOLDER / SCRIPTS[wanted.upstream.start]).read_text(encoding="utf-8")
    arguments = [text, f"0.0.0.0:{PORT}", wanted.model.name, FILES]
    return {"command": ["python", "-I", "-c"], "args": _exact(arguments)}


_ENGINES: Final[Mapping[Start, Callable[[Wanted], Json]]] = {
    "vllm": _vllm,
    "transformers": _script,
    "fasttext": _script,
}


def _exact(arguments: list[str]) -> list[str]:
    """As they stand: Kubernetes would put variables of the environment in the place of `$(NAME)`."""
    return [each.replace("$", "$$") for each in arguments]


def _environment(placement: Placement) -> dict[str, str]:
    """All that it is told. It has no network, and no home but /tmp. The name spares PyTorch a look into a list of
    users."""
    env = {
        "HOME": TMP,
        "USER": "sublet",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": f"{TMP}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{TMP}/torchinductor",
        "TRITON_CACHE_DIR": f"{TMP}/triton",
        "OMP_NUM_THREADS": str(placement.cpus),
    }
    if not placement.devices:
        # Else some images would see every GPU of the node.
        env |= {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    return env


def _volumes(placement: Placement, models_claim: str) -> list[Json]:
    volumes: list[Json] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_LIMIT}},
        {"name": "models", "persistentVolumeClaim": {"claimName": models_claim, "readOnly": True}},
    ]
    if placement.shm_bytes:
        memory = {"medium": "Memory", "sizeLimit": quantity(placement.shm_bytes)}
        volumes.append({"name": "shm", "emptyDir": memory})
    return volumes
