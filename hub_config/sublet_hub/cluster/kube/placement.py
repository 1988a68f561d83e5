"""Where the pods of a flavor run, and with what: parsed from the catalog once, turned into pod fields by the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

GPU_RESOURCE: Final = "nvidia.com/gpu"
"""What NVIDIA's device plugin calls a GPU, unless MIG slices have names of their own."""


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint that pods tolerate. Empty: any. Without `seconds`, for ever."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Of one flavor. `gpus_milli` says how much of GPUs it has, as leases tell it; `gpus` how many devices that is,
    each one of `resource`. None: the cluster is asked for no device, since there is none. `shm_bytes` is the part of
    `memory_bytes` that may be shared memory."""

    flavor: str
    pool: str
    gpus: int
    gpus_milli: int
    cpus: int
    memory_bytes: int
    shm_bytes: int
    resource: str | None = GPU_RESOURCE
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    runtime_class: str | None = None

    @property
    def devices(self) -> int:
        """How many devices the cluster hands to one pod."""
        return 0 if self.resource is None else self.gpus
