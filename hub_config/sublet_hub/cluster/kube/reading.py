"""What a pod tells of its lease: pure, from the pod's own record and how long its node has vouched for it.

A lease began when its container was started and ended when its container was found dead, as the kubelet wrote it
down. Those times outlive us, are to the second, and are of the node's clock.

Source of what the fields mean: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sublet_hub.cluster.base import Cause, Claims, Observed, Stray
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.objects import ContainerStatus, Pod, Terminated

NEAR_DEADLINE_MS = 5_000
"""A container that ends so long before its deadline, or later, was ended by it: the warden says no a moment early,
and times are to the second."""

TERMINAL = frozenset({"Succeeded", "Failed"})
TAKEN_AWAY = frozenset(
    {"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "NodeAffinity", "Shutdown"}
)
"""Reasons of a pod that was ended for the cluster's sake (pkg/kubelet, pkg/controller)."""

SETTLED_MS = 10_000
"""A pod that was deleted without grace so long ago, and of which no container was seen to start, starts none."""

_LEASE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Vouched:
    """How far a pod's node can be believed: everything up to `until_ms` would have been heard of. `lost`: nothing was
    heard for so long that the node is given up."""

    until_ms: int
    lost: bool = False


def lease_id_of(pod: Pod) -> str | None:
    """The lease that a pod runs; None where it claims to run none.

    A pod that somebody made past us, by copying one of ours or from nothing, is a lease of its own.
    """
    label = pod.metadata.label(names.LEASE)
    if label is None or claims_of(pod) is None:
        return None
    return label if _is_own(pod, label) else uuid.uuid5(uuid.NAMESPACE_OID, pod.metadata.uid).hex


def _is_own(pod: Pod, lease_id: str) -> bool:
    if not _LEASE_ID.fullmatch(lease_id):
        return False
    user, server = _exact(pod, names.USER) or "", pod.metadata.annotation(names.SERVER) or ""
    return pod.metadata.name == names.pod_name(user, server, lease_id)


def claims_of(pod: Pod) -> Claims | None:
    """Who pays for what, as the pod has it; None where that is not complete."""
    user, account, flavor, tier = (_exact(pod, key) for key in names.IDENTITY[1:])
    return Claims(user, account, flavor, tier) if user and account and flavor and tier else None


def _exact(pod: Pod, key: str) -> str | None:
    return pod.metadata.annotation(key) or pod.metadata.label(key)


def stray_of(pod: Pod) -> Stray | None:
    """A pod that holds GPUs and is no lease; None for any other."""
    gpus = gpus_of(pod)
    if not gpus or lease_id_of(pod) is not None or pod.status.phase in TERMINAL or not pod.spec.node_name:
        return None
    return Stray(pod.metadata.name, gpus)


def gpus_of(pod: Pod) -> int:
    """GPUs, or slices of them, that a pod asks for: extended resources whose name speaks of a GPU or a MIG slice."""
    every = (*pod.spec.containers, *pod.spec.init_containers)
    limits = [each.resources.limits for each in every if each.resources and each.resources.limits]
    return sum(
        int(amount)
        for named in limits
        for resource, amount in named.items()
        if amount.isdigit() and re.search(r"/(gpu|mig-)", resource)
    )


def read(pod: Pod, lease_id: str, vouched: Vouched) -> Observed:
    """What a pod tells of its lease. Of later than its node vouches for, nothing is claimed."""
    statuses = _holding(pod)
    started = min((at for each in statuses if (at := _started_at(each)) is not None), default=None)
    ended_at, cause, exit_code = _end(pod, statuses, started, vouched)
    alive = None if started is None or ended_at is not None else max(started, vouched.until_ms)
    return Observed(
        lease_id=lease_id,
        started_at_ms=started,
        ended_at_ms=ended_at,
        cause=cause,
        exit_code=exit_code,
        armed_deadline_ms=armed_deadline(pod),
        alive_at_ms=alive,
        claims=claims_of(pod),
    )


def read_deleted(pod: Pod, lease_id: str, noticed_at_ms: int, *, missed: bool) -> Observed:
    """What a pod told of its lease whose object is gone. Where its end was not written down, it is the moment at
    which the object went, or, if nobody saw that, the last moment at which the kubelet wrote of it."""
    seen = read(pod, lease_id, Vouched(noticed_at_ms))
    if seen.ended_at_ms is not None:
        return seen
    at = (_last_word(pod) or seen.started_at_ms or noticed_at_ms) if missed else noticed_at_ms
    return replace(seen, ended_at_ms=at, cause="lost" if missed else "evicted", alive_at_ms=None)


def armed_deadline(pod: Pod) -> int | None:
    """The deadline that the pod's warden goes by; None where there is none, or it can't be read (and then the warden
    ends the lease)."""
    text = pod.metadata.annotation(names.DEADLINE) or ""
    return int(text) if text.isdecimal() else None


def _holding(pod: Pod) -> Sequence[ContainerStatus]:
    """The containers that make the lease: what the user runs; all of them in a pod that somebody else made."""
    ours = [each for each in pod.status.container_statuses if each.name == names.NOTEBOOK]
    return ours or pod.status.container_statuses


def _is_ours(pod: Pod) -> bool:
    return any(each.name == names.NOTEBOOK for each in pod.spec.containers)


def _started_at(status: ContainerStatus) -> int | None:
    for state in (status.last_state, status.state):  # a container that was started again began with its first run
        if state.terminated is not None and state.terminated.started_at:
            return state.terminated.started_at
        if state.running is not None and state.running.started_at:
            return state.running.started_at
    return None


_End = tuple[int | None, Cause | None, int | None]
_NOT_ENDED: _End = (None, None, None)


def _end(pod: Pod, statuses: Sequence[ContainerStatus], started: int | None, vouched: Vouched) -> _End:
    """When and why a lease ended, with what exit code: all None while it hasn't, as far as is known."""
    over = [each.state.terminated for each in statuses if each.state.terminated is not None]
    final = _is_ours(pod) or pod.status.phase in TERMINAL
    if statuses and len(over) == len(statuses) and final:
        last = max(over, key=lambda each: each.finished_at or 0)
        at = last.finished_at or _last_word(pod) or vouched.until_ms
        return at, _cause(pod, last, at), last.exit_code
    if pod.status.phase in TERMINAL:  # the kubelet has thrown the containers' records away, as it did before 1.22
        at = _last_word(pod) or vouched.until_ms
        return at, _cause(pod, None, at), None
    if started is None and _never_starts(pod, vouched):
        return vouched.until_ms, "evicted", None
    if vouched.lost and (started is not None or pod.metadata.deletion_timestamp is not None):
        return max(vouched.until_ms, started or 0, _last_word(pod) or 0), "lost", None
    return _NOT_ENDED


def _never_starts(pod: Pod, vouched: Vouched) -> bool:
    deleted_at = pod.metadata.deletion_timestamp
    if deleted_at is None:
        return False
    if not pod.spec.node_name:
        return True
    return pod.metadata.deletion_grace_period_seconds == 0 and vouched.until_ms > deleted_at + SETTLED_MS


def _last_word(pod: Pod) -> int | None:
    """When the kubelet last wrote the pod's status, which for a pod that is over is when it was found to be."""
    return max((each.time for each in pod.metadata.managed_fields if each.time is not None), default=None)


def _cause(pod: Pod, over: Terminated | None, at_ms: int) -> Cause:
    deadline = armed_deadline(pod)
    if over is not None and over.reason == "OOMKilled":
        return "oom"
    if pod.status.reason == "DeadlineExceeded" or (deadline is not None and at_ms >= deadline - NEAR_DEADLINE_MS):
        return "deadline"
    if pod.status.reason in TAKEN_AWAY or _is_disrupted(pod) or _was_deleted_before(pod, at_ms):
        return "evicted"
    return "exited"


def _is_disrupted(pod: Pod) -> bool:
    """Whether the cluster says that it needed the pod gone (since Kubernetes 1.26)."""
    return any(each.type == "DisruptionTarget" and each.status == "True" for each in pod.status.conditions)


def _was_deleted_before(pod: Pod, at_ms: int) -> bool:
    """Whether the deletion was asked for before the container ended. By whom is not written: if it was one of us, the
    lease's own order says so, and counts."""
    deleted_at = pod.metadata.deletion_timestamp
    if deleted_at is None:
        return False
    return deleted_at - 1000 * (pod.metadata.deletion_grace_period_seconds or 0) <= at_ms
