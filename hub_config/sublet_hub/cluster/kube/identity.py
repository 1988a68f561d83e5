"""Whose a pod is: which lease it runs, who pays for it, and whether it holds GPUs that nobody pays for. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from sublet_hub.cluster.base import Claims, Stray
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.objects import Container, Pod

TERMINAL = frozenset({"Succeeded", "Failed"})
"""Phases of a pod that is over."""

_LEASE_ID = re.compile(r"[0-9a-f]{32}")
_GPU = re.compile(r"/(gpu|mig-)")


def lease_id_of(pod: Pod) -> str | None:
    """The lease that a pod runs; None where it claims to run none.

    A pod that somebody made past us, by copying one of ours or from nothing, is a lease of its own.
    """
    label = pod.metadata.label(names.LEASE)
    if label is None or claims_of(pod) is None:
        return None
    return label if _is_named_for(pod, label) else uuid.uuid5(uuid.NAMESPACE_OID, pod.metadata.uid).hex


def is_own(pod: Pod, lease_id: str) -> bool:
    """Whether we made the pod, for this lease, which `lease_id_of` has told: only then is the id on it."""
    return pod.metadata.label(names.LEASE) == lease_id


def _is_named_for(pod: Pod, lease_id: str) -> bool:
    if not _LEASE_ID.fullmatch(lease_id):
        return False
    user, server = _exact(pod, names.USER) or "", pod.metadata.annotation(names.SERVER) or ""
    return pod.metadata.name == names.pod_name(user, server, lease_id)


def claims_of(pod: Pod) -> Claims | None:
    """Who pays for what, as the pod has it; None where that is not complete."""
    user, account, flavor, tier = (_exact(pod, key) for key in names.IDENTITY[1:])
    return Claims(user, account, flavor, tier) if user and account and flavor and tier else None


def _exact(pod: Pod, key: str) -> str | None:
    """What the annotation has, else the label, where who made the pod by hand gave no more."""
    exact = pod.metadata.annotation(key)
    if exact is not None:
        return exact
    label = pod.metadata.label(key)
    return names.account_of(label) if label is not None and key == names.ACCOUNT else label


def stray_of(pod: Pod) -> Stray | None:
    """A pod that holds GPUs and is neither a lease nor a model's server; None for any other."""
    gpus = gpus_of(pod)
    if not gpus or lease_id_of(pod) is not None or pod.metadata.label(names.SERVES) is not None:
        return None
    if pod.status.phase in TERMINAL or not pod.spec.node_name:
        return None
    return Stray(pod.metadata.name, gpus)


def gpus_of(pod: Pod) -> int:
    """GPUs, or slices of them, that a pod holds: extended resources whose name speaks of a GPU or a MIG slice.

    Init containers run one after the other, and before the rest. Source:
    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    together = sum(map(_gpus_in, pod.spec.containers))
    return max([together, *map(_gpus_in, pod.spec.init_containers)])


def with_devices(containers: Iterable[Container]) -> frozenset[str]:
    """The names of those containers that hold devices of any kind."""
    return frozenset(each.name for each in containers if each.resources is not None and each.resources.limits)


def _gpus_in(container: Container) -> int:
    limits = (container.resources.limits if container.resources else None) or {}
    return sum(int(amount) for resource, amount in limits.items() if amount.isdigit() and _GPU.search(resource))


def has_warden(pod: Pod) -> bool:
    """Whether its deadline is enforced in it."""
    return any(each.name == names.WARDEN for each in (*pod.spec.containers, *pod.spec.init_containers))
