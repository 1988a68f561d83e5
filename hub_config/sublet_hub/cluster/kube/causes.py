"""Why a lease ended, as its pod has it: pure.

Source of the reasons: pkg/kubelet, pkg/controller and https://kubernetes.io/docs/concepts/workloads/pods/disruptions/.
"""

from __future__ import annotations

from sublet_hub.cluster.base import Cause
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.objects import Pod, Terminated

NEAR_DEADLINE_MS = 2_000
"""A container that ends so long before its deadline, or later, was ended by it. The warden's last no comes after the
deadline; what is left is that times are cut to the second."""

TAKEN_AWAY = frozenset(
    {"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "NodeAffinity", "Shutdown"}
)
"""Reasons of a pod that was ended for the cluster's sake ."""

FOUND_DEAD = frozenset({"ContainerStatusUnknown", "Unknown"})
"""Reasons of a container whose end nobody saw: its node went down with it. The first is the kubelet's, without times;
the second containerd's, with the moment at which it came back itself as the end (pkg/cri/server/restart.go)."""

KILLED = 137
"""The exit code after SIGKILL."""


def armed_deadline(pod: Pod) -> int | None:
    """The deadline that the pod's warden goes by; None where there is none, or it can't be read (and then the warden
    ends the lease)."""
    text = pod.metadata.annotation(names.DEADLINE) or ""
    return int(text) if text.isdecimal() else None


def cause_of(pod: Pod, over: Terminated | None, at_ms: int) -> Cause:
    """Why a lease ended at this moment; `over` is how its last container did, where that is known."""
    deadline = armed_deadline(pod)
    if pod.status.reason == "DeadlineExceeded" or (deadline is not None and at_ms >= deadline - NEAR_DEADLINE_MS):
        return "deadline"
    if pod.status.reason in TAKEN_AWAY or _is_disrupted(pod) or _was_deleted_before(pod, at_ms):
        return "evicted"
    if over is not None and over.reason in FOUND_DEAD:
        return "lost"
    # Runtimes call a container so in which anything was ended for lack of memory, a kernel of the notebook's say,
    # however it ended itself later.
    if over is not None and over.reason == "OOMKilled" and over.exit_code == KILLED:
        return "oom"
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
