"""What a pod tells of its lease: pure, from the pod's own record and how long its node has vouched for it.

A lease began when its container was started and ended when its container was found dead, as the container runtime
noted it and the kubelet wrote it down. Those times outlive us. They are cut to the second, both of them, so a lease
is metered to less than a second more or less than it lasted. They are of the node's clock; a span has no other.

Where an end was not written down, nothing later is claimed than somebody vouches for; each case says below how far
off that can be. Seen on Kubernetes 1.20: evictions throw the containers' records away, and deletions do at times, so
that the end is when the kubelet told of it, which on a busy node may be seconds later; a pod past its
`activeDeadlineSeconds` is said to have failed up to its grace period before its containers end. Since 1.24 a pod is
over only when all of its containers are, and their records stay.

Source of what the fields mean: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet_hub.cluster.base import Cause, Observed
from sublet_hub.cluster.kube import identity, names
from sublet_hub.cluster.kube.causes import FOUND_DEAD, armed_deadline, cause_of
from sublet_hub.cluster.kube.identity import TERMINAL
from sublet_hub.cluster.kube.objects import ContainerStatus, Pod, Terminated

SETTLED_MS = 10_000
"""A pod that was deleted without grace so long ago, and of which no container was seen to start, starts none."""

REJECTED_MS = 2_000
"""A pod that its kubelet rejects is over sooner than so after the kubelet heard of it."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """How far a pod's node can be believed: everything up to `until_ms` would have been heard of; 0 where nobody
    knows. `lost`: nothing was heard for so long that the node is given up."""

    until_ms: int
    lost: bool = False


def read(pod: Pod, lease_id: str, vouched: Vouched) -> Observed:
    """What a pod tells of its lease. Of later than its node vouches for, nothing is claimed."""
    statuses = _holding(pod, lease_id)
    started = _start(pod, statuses)
    ended_at, cause, exit_code = _end(pod, lease_id, statuses, started, vouched)
    alive = None if started is None or ended_at is not None else max(started, vouched.until_ms)
    return Observed(
        lease_id=lease_id,
        started_at_ms=started,
        ended_at_ms=ended_at,
        cause=cause,
        exit_code=exit_code,
        armed_deadline_ms=armed_deadline(pod),
        alive_at_ms=alive,
        claims=identity.claims_of(pod),
        guarded=identity.has_warden(pod),
    )


def read_deleted(pod: Pod, lease_id: str, gone_at_ms: int, *, missed: bool) -> Observed:
    """What a pod told of its lease whose object is gone.

    Where its end was not written down, it is the moment at which the object went. After a deletion without grace its
    containers may have run on for a few seconds: the finalizer, while it is on, keeps that from happening. If nobody
    saw the object go (`missed`), `gone_at_ms` is the last moment at which it is known to have been there.
    """
    seen = read(pod, lease_id, Vouched(gone_at_ms))
    if seen.ended_at_ms is not None:
        return seen
    at = max(gone_at_ms, seen.started_at_ms or 0, _last_word(pod) or 0)
    return Observed(
        lease_id=lease_id,
        started_at_ms=seen.started_at_ms,
        ended_at_ms=at,
        cause="lost" if missed else "evicted",
        exit_code=None,
        armed_deadline_ms=seen.armed_deadline_ms,
        claims=seen.claims,
    )


def _holding(pod: Pod, lease_id: str) -> Sequence[ContainerStatus]:
    """The containers that make the lease: in a pod of ours what the user runs. In a pod that somebody else made, all,
    since the GPUs are free only after the last; of what runs before them, those that hold devices."""
    if _is_ours(pod, lease_id):
        return [each for each in pod.status.container_statuses if each.name == names.NOTEBOOK]
    before = identity.with_devices(pod.spec.init_containers)
    if not before:
        return pod.status.container_statuses
    early = (each for each in pod.status.init_container_statuses if each.name in before)
    return [*early, *pod.status.container_statuses]


def _is_ours(pod: Pod, lease_id: str) -> bool:
    return identity.is_own(pod, lease_id) and any(each.name == names.NOTEBOOK for each in pod.spec.containers)


def _start(pod: Pod, statuses: Sequence[ContainerStatus]) -> int | None:
    """When the first of the containers was started.

    Where its record is gone with the start in it, that is not later than when the kubelet took the pod up, before it
    fetched the image: what is then charged too much is that, and only if nobody saw the lease run.
    """
    started = min((at for each in statuses if (at := _started_at(each)) is not None), default=None)
    took_up, last = pod.status.start_time, _last_word(pod)
    if started is not None or pod.status.phase not in TERMINAL or took_up is None or last is None:
        return started
    is_record_lost = all(each.state.terminated is not None for each in statuses)  # also: there are none
    ran = (is_record_lost and last - took_up >= REJECTED_MS) or (_unready_at(pod) or 0) > took_up
    return took_up if ran else None


def _started_at(status: ContainerStatus) -> int | None:
    for state in (status.last_state, status.state):  # a container that was started again began with its first run
        if state.terminated is not None and state.terminated.started_at:
            return state.terminated.started_at
        if state.running is not None and state.running.started_at:
            return state.running.started_at
    return None


_End = tuple[int | None, Cause | None, int | None]
_NOT_ENDED: _End = (None, None, None)


def _end(pod: Pod, lease_id: str, statuses: Sequence[ContainerStatus], started: int | None, vouched: Vouched) -> _End:
    """When and why a lease ended, with what exit code: all None while it hasn't, as far as is known."""
    over = [each.state.terminated for each in statuses if each.state.terminated is not None]
    runs = any(each.state.running is not None for each in statuses)
    terminal = pod.status.phase in TERMINAL
    is_whole = len(over) == len(statuses) and _is_ours(pod, lease_id)
    if over and (is_whole or (terminal and not runs)):
        last = max(over, key=lambda each: each.finished_at or 0)
        at = max(_finished_at(pod, last, started or 0) or vouched.until_ms, started or 0)
        return at, cause_of(pod, last, at), last.exit_code
    # Who fails a pod whose containers it saw running is the kubelet if it says why. The control plane does so too,
    # for a pod whose node is gone, and knows nothing of its containers.
    if terminal and (pod.status.reason or not runs):
        at = _last_ready(pod, started) or _last_word(pod) or vouched.until_ms
        return at, cause_of(pod, None, at), None
    if started is None and _never_starts(pod, vouched):
        return vouched.until_ms, "evicted", None
    if vouched.lost and (started is not None or pod.metadata.deletion_timestamp is not None):
        until = vouched.until_ms or _unready_at(pod) or 0
        return max(until, started or 0, _last_word(pod) or 0), "lost", None
    return _NOT_ENDED


def _finished_at(pod: Pod, over: Terminated, started: int) -> int | None:
    """When a container ended. Of one that was found dead: when the control plane gave its node up, at most 50 seconds
    after the node's end, or if the node was back before that, when it was."""
    if over.reason not in FOUND_DEAD:
        return over.finished_at or _last_word(pod)
    known = (over.finished_at, _last_word(pod), _last_ready(pod, started))
    return min((each for each in known if each), default=None)


def _never_starts(pod: Pod, vouched: Vouched) -> bool:
    deleted_at = pod.metadata.deletion_timestamp
    if deleted_at is None:
        return False
    if not pod.spec.node_name:
        return True
    # The kubelet takes the grace back to nothing when it is through with the pod.
    return pod.metadata.deletion_grace_period_seconds == 0 and vouched.until_ms > deleted_at + SETTLED_MS


def _last_word(pod: Pod) -> int | None:
    """When the kubelet last wrote the pod's status, which for a pod that is over is when it was found to be.

    API servers of 1.20 move this time only when other fields are written than before, as they are for a reason.
    """
    return max((each.time for each in pod.metadata.managed_fields if each.time is not None), default=None)


def _last_ready(pod: Pod, started: int | None) -> int | None:
    """When the pod stopped being ready, as it does with its containers, if it was ready since then."""
    unready = _unready_at(pod)
    return unready if unready is not None and started is not None and unready > started else None


def _unready_at(pod: Pod) -> int | None:
    """Since when the pod is not ready any more, which the control plane writes too when it gives a node up."""
    times = (
        each.last_transition_time for each in pod.status.conditions if each.type == "Ready" and each.status == "False"
    )
    return next(times, None)
