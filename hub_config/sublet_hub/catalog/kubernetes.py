"""The tables `[pools.kubernetes]`: on which nodes a pool's pods run, and which resource its GPUs are there."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sublet_hub.catalog.strict import StrictTable
from sublet_hub.cluster.kube.placement import Toleration

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
_MIG_SLICE = re.compile(r".*/mig-([1-6])(c\.[1-6])?g\..*")

Resource = Annotated[str, Field(pattern=f"^{_DOMAIN}/{_NAME}$", max_length=300)]
"""Name of an extended resource, as a device plugin makes it known: with a domain."""

LabelKey = Annotated[str, Field(pattern=f"^({_DOMAIN}/)?{_NAME}$", max_length=317)]
LabelValue = Annotated[str, Field(pattern=f"^({_NAME})?$")]
ObjectName = Annotated[str, Field(pattern=f"^{_DOMAIN}$", max_length=253)]
"""Source of the rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and .../names/"""


class TolerationTable(StrictTable):
    """A taint of the pool's nodes that its pods tolerate, as the API has it."""

    key: LabelKey | Literal[""] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int, Field(ge=0, le=10**9, strict=True)] | None = None

    @model_validator(mode="after")
    def _as_the_api_allows(self) -> Self:
        if not self.key and self.operator != "Exists":
            raise ValueError('without a key, operator must be "Exists"')
        if self.value and self.operator == "Exists":
            raise ValueError('with operator "Exists" there is no value')
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError('toleration_seconds goes with effect "NoExecute" only')
        return self

    def to_placement(self) -> Toleration:
        return Toleration(self.key, self.operator, self.value, self.effect, self.toleration_seconds)


class KubernetesTable(StrictTable):
    """How the pods of a pool come onto its nodes."""

    resource: Resource | None = None
    """What the cluster calls one of the pool's devices. None: `nvidia.com/gpu`, and nothing for a simulated pool."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] = Field(default_factory=dict)
    tolerations: Annotated[tuple[TolerationTable, ...], Field(max_length=50)] = ()
    runtime_class: ObjectName | None = None

    @property
    def is_slice(self) -> bool:
        """Whether the resource is a MIG slice smaller than its GPU."""
        return self.resource is not None and _MIG_SLICE.fullmatch(self.resource) is not None
