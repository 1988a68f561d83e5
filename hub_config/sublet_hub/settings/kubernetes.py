"""Settings that only matter where leases are pods. The Helm chart sets those that depend on the cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sublet_hub.settings.kinds import Names, Seconds, none_if_said, split_list

OptionalText = Annotated[str | None, BeforeValidator(none_if_said)]
ModelServers = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+=https?://[^\s,]+$", max_length=2000)], ...],
    BeforeValidator(split_list),
]
UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class KubernetesSettings(BaseModel):
    """What a pod of a lease is made from. Unused where `cluster` is `local`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    cluster: Literal["local", "kubernetes"] = "local"
    """Where leases run: as processes on this machine, or as pods."""

    kube_namespace: OptionalText = None
    """Namespace of the leases' pods. None: the platform's own."""

    kube_release: str = "sublet"
    """Name that the platform's own objects begin with: the Helm release."""

    kube_notebook_image: str = "sublet/notebook:0.1.0"
    """Image that users' servers run."""

    kube_warden_image: str = "sublet/warden:0.1.0"
    """Image of the container that holds a lease's deadline in its pod."""

    kube_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the two images."""

    kube_image_pull_secrets: Names = ()
    """Names of the secrets with which nodes fetch the two images."""

    kube_user_id: UserId = 1000
    """User and group id of users' servers, and group id of their homes. Never root."""

    kube_home_gib: Annotated[int, Field(ge=0, le=100_000)] = 10
    """GiB of each user's home, a PersistentVolumeClaim that is kept when the server ends. 0: none, and all that a
    user leaves in a server ends with it."""

    kube_home_storage_class: OptionalText = None
    """Storage class of homes. None: the cluster's default."""

    kube_models_claim: OptionalText = None
    """PersistentVolumeClaim that holds the store of models, as `sublet models` fills it. Servers have it at
    `/models`, read-only: what is open, and the gated models whose licences are accepted for them. None: none."""

    kube_model_servers: ModelServers = ()
    """Models' servers that are pods of the platform's own, as `MODEL=ADDRESS`, the address up to and with `/v1`. They
    come before the catalogue's."""

    kube_vllm_image: str = "vllm/vllm-openai:v0.30.0"
    """Image of models' servers that are leases and `start = "vllm"`. The others run from the notebook's."""

    kube_model_start_seconds: Seconds = 900
    """Seconds that a model's server that is a lease may take, from when its lease is granted, until it answers. It
    must have begun to run within `grant_ttl_seconds`; what is left is for loading the model."""

    kube_cpu_reserved_percent: Annotated[int, Field(ge=1, le=100)] = 100
    """How much of a flavor's CPUs is set aside for each server on its node, in percent. 100: all, so that no server
    slows another. Less: more servers fit on a node, and share what is not set aside; each still uses its flavor's
    CPUs at most. Memory and GPUs are always set aside whole."""

    kube_priority_class_guaranteed: OptionalText = None
    """Priority class of `guaranteed` leases. None: the cluster's default."""

    kube_priority_class_surplus: OptionalText = None
    """Priority class of `surplus` leases; lower than that of `guaranteed`. None: the cluster's default."""

    kube_lost_node_seconds: Seconds = 300
    """Seconds without a sign of life of a node after which its leases are closed, at the last one."""

    kube_poll_seconds: Seconds = 5
    """Seconds between two looks of the hub at what it knows of each server. No request to the cluster is made; until
    the hub has looked, its pages lead to a server that may have ended."""
