"""The few fields of Kubernetes' objects that the meter reads, decoded straight from JSON; all others are skipped.

A field is named as in the API, in snake case, and is absent (None or empty) where the API server leaves it out.
Times are milliseconds since the epoch. Of labels and annotations only ours are kept, of resource limits only
devices: what is decoded is also what is held in memory, for every pod. The fields are those of the API reference,
https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

from datetime import UTC, datetime
from sys import intern
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr

from sublet_hub.cluster.kube.names import PREFIX

_KUBELET = "kubelet"


class Ms(int):
    """A moment in milliseconds since the epoch; RFC 3339 in JSON, with or without a fraction of a second."""

    __slots__ = ()


def ms(text: str) -> Ms:
    """Read a time as the API writes it: to the second, or to the microsecond in Leases."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return Ms(round(at.timestamp() * 1000))


def micro_time(at_ms: int) -> str:
    """Write a time as Leases have it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Part(msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """Part of an object. Without cycles, so that the garbage collector need not look at tens of thousands of them."""


class Written(_Part, frozen=True, gc=False):
    """Who last wrote which part of an object (`managedFields`), and when."""

    manager: str = ""
    time: Ms | None = None
    subresource: str = ""
    """Empty on servers before 1.22, which don't tell."""


class Metadata(_Part, frozen=True, gc=False):
    """What every object has."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    """Opaque: to be handed back, never to be compared by size."""
    creation_timestamp: Ms | None = None
    deletion_timestamp: Ms | None = None
    """When the grace period of a deletion ends or ended."""
    deletion_grace_period_seconds: int | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] | None = None
    """Ours only; see `label`."""
    annotations: dict[str, str] | None = None
    """Ours only."""
    managed_fields: tuple[Written, ...] = ()
    """The kubelet's only: for a pod, when its status was last written."""

    def __post_init__(self) -> None:
        """Keep what is ours, once in memory for all objects that share it."""
        if self.labels is not None:
            force_setattr(self, "labels", _ours(self.labels))
        if self.annotations is not None:
            force_setattr(self, "annotations", _ours(self.annotations))
        if self.managed_fields:
            kept = tuple(each for each in self.managed_fields if each.manager == _KUBELET)
            force_setattr(self, "managed_fields", kept)

    def label(self, name: str) -> str | None:
        """The value of a label of ours, or None."""
        return None if self.labels is None else self.labels.get(name)

    def annotation(self, name: str) -> str | None:
        """The value of an annotation of ours, or None."""
        return None if self.annotations is None else self.annotations.get(name)


def _ours(every: dict[str, str]) -> dict[str, str] | None:
    return {intern(key): value for key, value in every.items() if key.startswith(PREFIX)} or None


class Object(_Part, frozen=True, gc=False):
    """Anything that can be listed and watched."""

    metadata: Metadata


class Condition(_Part, frozen=True, gc=False):
    """One of an object's conditions."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = ""
    last_transition_time: Ms | None = None
    last_heartbeat_time: Ms | None = None

    def __post_init__(self) -> None:
        """Share the few texts there are."""
        force_setattr(self, "type", intern(self.type))
        force_setattr(self, "reason", intern(self.reason))


class Resources(_Part, frozen=True, gc=False):
    """What a container may use. Only devices are kept: resources with a domain in their name (nvidia.com/gpu)."""

    limits: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Drop CPU, memory and the like."""
        if self.limits is not None:
            devices = {intern(name): intern(amount) for name, amount in self.limits.items() if "/" in name}
            force_setattr(self, "limits", devices or None)


class Container(_Part, frozen=True, gc=False):
    """A container as asked for."""

    name: str
    resources: Resources | None = None

    def __post_init__(self) -> None:
        """Share what is the same in all pods."""
        force_setattr(self, "name", intern(self.name))
        if self.resources is not None and self.resources.limits is None:
            force_setattr(self, "resources", None)


class PodSpec(_Part, frozen=True, gc=False):
    """A pod as asked for."""

    node_name: str = ""
    active_deadline_seconds: int | None = None
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()

    def __post_init__(self) -> None:
        """Pods share their nodes."""
        force_setattr(self, "node_name", intern(self.node_name))


class Waiting(_Part, frozen=True, gc=False):
    """A container that does not run yet, or not again yet."""

    reason: str = ""


class Running(_Part, frozen=True, gc=False):
    """A container that runs."""

    started_at: Ms | None = None


class Terminated(_Part, frozen=True, gc=False):
    """A container that has ended. Its message is not read: it is what the user's code wrote."""

    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    started_at: Ms | None = None
    finished_at: Ms | None = None


class State(_Part, frozen=True, gc=False):
    """What a container does: one of the three, or none of them while nobody knows."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Part, frozen=True, gc=False):
    """A container as the kubelet found it."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: State = State()
    last_state: State = State()

    def __post_init__(self) -> None:
        """Share what is the same in all pods."""
        force_setattr(self, "name", intern(self.name))


class PodStatus(_Part, frozen=True, gc=False):
    """A pod as the kubelet found it."""

    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown", ""] = ""
    reason: str = ""
    """Of a pod that failed as a whole: Evicted, DeadlineExceeded, Preempting, NodeLost, …"""
    message: str = ""
    start_time: Ms | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True, gc=False):
    """A pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeSpec(_Part, frozen=True, gc=False):
    """A node as asked for."""

    unschedulable: bool = False


class NodeStatus(_Part, frozen=True, gc=False):
    """A node as its kubelet, or the control plane in its stead, found it."""

    conditions: tuple[Condition, ...] = ()


class Node(Object, frozen=True, gc=False):
    """A node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> Condition | None:
        """Whether its kubelet is at work: the condition `Ready`."""
        return next((each for each in self.status.conditions if each.type == "Ready"), None)


class LeaseSpec(_Part, frozen=True, gc=False):
    """Who holds a Lease, and since and until when."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: Ms | None = None
    renew_time: Ms | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True, gc=False):
    """A coordination Lease (a node's heartbeat, the leader's claim): nothing to do with leases of GPUs."""

    spec: LeaseSpec = LeaseSpec()


class ListMetadata(_Part, frozen=True, gc=False):
    """What a page of a list says of the list."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


ObjectT = TypeVar("ObjectT", bound=Object)


class Page(_Part, Generic[ObjectT], frozen=True, gc=False):
    """A page of a list."""

    metadata: ListMetadata
    items: tuple[ObjectT, ...] | None = None
    """None where an old server says `null` for an empty list."""


class Event(_Part, frozen=True, gc=False):
    """One line of a watch. The object is decoded by what the type says."""

    type: str
    object: msgspec.Raw


class Status(_Part, frozen=True, gc=False):
    """How the API server says that something failed."""

    code: int = 0
    reason: str = ""
    message: str = ""


class VersionInfo(_Part, frozen=True, gc=False):
    """The API server's version; `minor` may have a `+` after the number."""

    major: str
    minor: str


def _from_json(wanted: type, value: object) -> Any:
    if wanted is Ms and isinstance(value, str):
        return ms(value)
    raise NotImplementedError(wanted)


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of one of the types above; keep it, since making one takes its time."""
    return msgspec.json.Decoder(kind, dec_hook=_from_json)
