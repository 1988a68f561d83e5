"""Leases as pods of one namespace: the `Cluster` that the meter sees and steers.

Nothing is remembered but copies of what the API server holds, so a meter that was away learns the same as one that
never was: the finalizer keeps every pod of a lease until its end has been posted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sublet_hub.clock import Clock, SystemClock
from sublet_hub.cluster.base import LeaseUnknownError, Observed, Stray
from sublet_hub.cluster.kube import names, reading
from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import NODES, PODS, KubeError, NotFound
from sublet_hub.cluster.kube.mirror import Deleted, Snapshot
from sublet_hub.cluster.kube.nodes import Nodes
from sublet_hub.cluster.kube.objects import Node, Object, Pod
from sublet_hub.cluster.kube.reflector import Pace, Reflector
from sublet_hub.cluster.kube.warden import lowered_active_deadline

BLIND_MS = 30_000
"""Without news of pods for so long, the platform can't see what runs."""

FIRST_LIST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class KubeOptions:
    """`namespace` empty: our own. `lost_node_seconds`: without a heartbeat for so long, a node is given up."""

    namespace: str = ""
    lost_node_seconds: int = 300


class KubeCluster:
    """See `Cluster`."""

    def __init__(
        self,
        connection: Connection,
        options: KubeOptions,
        on_change: Callable[[], None] = lambda: None,
        *,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`on_change` is called, in another thread, when a pod has changed."""
        self._connection = connection
        self._namespace = options.namespace or connection.namespace
        self._clock = clock or SystemClock()
        self._pods = Reflector(
            connection,
            PODS,
            Pod,
            namespace=self._namespace,
            keep_deleted=lambda pod: reading.lease_id_of(pod) is not None,
            on_change=on_change,
            pace=pace,
            clock=clock,
        )
        self._node_reflector = Reflector(connection, NODES, Node, pace=pace, clock=clock)
        self._nodes = Nodes(connection, self._node_reflector, options.lost_node_seconds * 1000)
        self._index = _Index()

    def start(self) -> None:
        """Begin to watch, and wait for the first lists; KubeError where they can't be had."""
        for reflector in (self._pods, self._node_reflector):
            reflector.start()
        for reflector in (self._pods, self._node_reflector):
            if not reflector.wait_synced(FIRST_LIST_SECONDS):
                raise KubeError(f"the cluster can't be seen: {reflector.trouble}")

    def close(self) -> None:
        """Stop watching."""
        self._pods.close()
        self._node_reflector.close()

    def observe(self) -> Sequence[Observed]:
        """See `Cluster.observe`. Asks the API server nothing."""
        snapshot = self._pods.snapshot()
        known_ms = snapshot.current_at_ms or 0
        self._nodes.refresh(known_ms)
        self._index.follow(snapshot)
        seen = [
            reading.read(pod, lease_id, self._nodes.vouch(pod.spec.node_name, known_ms))
            for lease_id, pod in self._index.pods.items()
        ]
        return seen + [_read_deleted(lease_id, gone) for lease_id, gone in self._index.deleted.items()]

    def strays(self) -> Sequence[Stray]:
        """See `Cluster.strays`."""
        self._index.follow(self._pods.snapshot())
        return self._index.strays

    def trouble(self) -> str | None:
        """See `Cluster.trouble`."""
        known_ms = self._pods.current_at_ms() or 0
        if self._clock.now_ms() - known_ms <= BLIND_MS:
            return None
        return f"what runs in namespace {self._namespace} can't be seen: {self._pods.trouble or 'no news'}"

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        """See `Cluster.arm`. The warden follows when the kubelet has written the annotation out to it."""
        pod = self._pod(lease_id)
        annotations = {names.DEADLINE: str(deadline_ms), names.DEADLINE_REASON: reason}
        change: dict[str, object] = {"metadata": {"uid": pod.metadata.uid, "annotations": annotations}}
        lowered = lowered_active_deadline(
            pod.spec.active_deadline_seconds, pod.status.start_time, deadline_ms, reason
        )
        if lowered is not None:
            change["spec"] = {"activeDeadlineSeconds": lowered}
        self._patch(lease_id, pod, change)

    def stop(self, lease_id: str) -> None:
        """See `Cluster.stop`. The pod has the grace that it was made with."""
        self._delete(self._pod(lease_id))

    def forget(self, lease_id: str) -> None:
        """See `Cluster.forget`. The pod's object goes, and its name is free."""
        gone = self._index.deleted.get(lease_id)
        if gone is not None:
            self._pods.drop(gone.last.metadata.uid)
        pod = self._index.pods.get(lease_id)
        if pod is None:
            return
        finalizers = list(pod.metadata.finalizers)
        if names.FINALIZER in finalizers:
            rest = [each for each in finalizers if each != names.FINALIZER]
            path = "/metadata/finalizers"
            change = [
                {"op": "test", "path": path, "value": finalizers},
                {"op": "replace", "path": path, "value": rest},
            ]
            try:
                self._connection.patch(PODS, pod.metadata.name, change, Object, how="json", namespace=self._namespace)
            except NotFound:
                return
        self._delete(pod)

    def withdraw(self, lease_id: str) -> bool:
        """See `Cluster.withdraw`. Where no pod was made, the spawner makes none for a grant that is so old."""
        pod = self._index.pods.get(lease_id)
        if pod is None:
            gone = self._index.deleted.get(lease_id)
            return gone is None or _read_deleted(lease_id, gone).started_at_ms is None
        seen = reading.read(pod, lease_id, self._nodes.vouch(pod.spec.node_name, self._pods.current_at_ms() or 0))
        if seen.started_at_ms is not None:
            return False
        self._delete(pod)
        return seen.ended_at_ms is not None

    def _pod(self, lease_id: str) -> Pod:
        pod = self._index.pods.get(lease_id)
        if pod is None:
            raise LeaseUnknownError(lease_id)
        return pod

    def _patch(self, lease_id: str, pod: Pod, change: dict[str, object]) -> None:
        try:
            self._connection.patch(PODS, pod.metadata.name, change, Object, namespace=self._namespace)
        except NotFound as error:
            raise LeaseUnknownError(lease_id) from error

    def _delete(self, pod: Pod) -> None:
        if pod.metadata.deletion_timestamp is not None:
            return
        try:
            self._connection.delete(PODS, pod.metadata.name, uid=pod.metadata.uid, namespace=self._namespace)
        except NotFound:
            return


class _Index:
    """Pods by lease, as of one snapshot."""

    def __init__(self) -> None:
        self._version = -1
        self._ids: dict[str, str | None] = {}
        self.pods: dict[str, Pod] = {}
        self.deleted: dict[str, Deleted[Pod]] = {}
        self.strays: tuple[Stray, ...] = ()

    def follow(self, snapshot: Snapshot[Pod]) -> None:
        """Take over a snapshot, where it is a new one."""
        if snapshot.version == self._version:
            return
        self._version = snapshot.version
        # What a pod is a lease of never changes, so it is worked out once.
        every = {**{uid: gone.last for uid, gone in snapshot.deleted.items()}, **snapshot.items}
        known = self._ids
        self._ids = {uid: known[uid] if uid in known else reading.lease_id_of(pod) for uid, pod in every.items()}
        self.pods = {lease_id: pod for uid, pod in snapshot.items.items() if (lease_id := self._ids[uid]) is not None}
        self.deleted = {
            lease_id: gone
            for uid, gone in snapshot.deleted.items()
            if (lease_id := self._ids[uid]) is not None and lease_id not in self.pods
        }
        found = (reading.stray_of(pod) for uid, pod in snapshot.items.items() if self._ids[uid] is None)
        self.strays = tuple(stray for stray in found if stray is not None)


def _read_deleted(lease_id: str, gone: Deleted[Pod]) -> Observed:
    """A pod that went without waiting for us: somebody took the finalizer off, or never put it on."""
    return reading.read_deleted(gone.last, lease_id, gone.noticed_at_ms, missed=gone.missed)
