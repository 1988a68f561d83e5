"""What a notebook's container has mounted, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sublet_hub.cluster.kube.lease_pods import Json, quantity

HOME: Final = "/home/jovyan"
"""Where the notebook image has its home."""

TMP: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
RUNTIME: Final = f"{TMP}/jupyter"
"""For what Jupyter keeps of running kernels: of no use to the next server, so not in the home."""

SHM: Final = "/dev/shm"  # noqa: S108 - the place of shared memory
MODELS: Final = "/models"
"""Where a lease has the store of models."""


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of the pod, mounted into the notebook; with `sub_path`, only that folder of it. `source` is of one
    key, as the API has it. One volume may be mounted several times."""

    name: str
    path: str
    source: Json
    read_only: bool = False
    sub_path: str | None = None

    @property
    def volume(self) -> Json:
        return {"name": self.name, **self.source}

    @property
    def mount(self) -> Json:
        read_only = {"readOnly": True} if self.read_only else {}
        sub_path = {"subPath": self.sub_path} if self.sub_path is not None else {}
        return {"name": self.name, "mountPath": self.path, **sub_path, **read_only}


def lease_volumes(
    shm_bytes: int, home_claim: str | None, models_claim: str | None, gated_models: Sequence[str] = ()
) -> list[PodVolume]:
    """The volumes of a lease. Without a claim the home ends with the pod.

    Shared memory counts as the container's memory; PyTorch's loaders pass their batches through it, and the 64 MiB
    that containers have otherwise are soon too few.
    """
    home: Json = {"emptyDir": {}} if home_claim is None else {"persistentVolumeClaim": {"claimName": home_claim}}
    volumes = [PodVolume("sublet-home", HOME, home), PodVolume("sublet-tmp", TMP, {"emptyDir": {}})]
    if shm_bytes:
        memory = {"medium": "Memory", "sizeLimit": quantity(shm_bytes)}
        volumes.append(PodVolume("sublet-shm", SHM, {"emptyDir": memory}))
    if models_claim is not None:
        volumes += model_volumes(models_claim, gated_models)
    return volumes


def model_volumes(claim: str, gated_models: Sequence[str]) -> list[PodVolume]:
    """What a lease sees of the store of models: all that is open, and each gated model that it may read. The others
    are not in its container, so that a licence is more than courtesy."""
    source: Json = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    return [
        PodVolume("sublet-models", f"{MODELS}/{folder}", source, read_only=True, sub_path=folder)
        for folder in ("open", *(f"gated/{name}" for name in sorted(set(gated_models))))
    ]
