"""Leases as pods of one namespace: the `Cluster` that the meter sees and steers.

Nothing is remembered but copies of what the API server holds, so a meter that was away learns the same as one that
never was: the finalizer keeps every pod of a lease until its end has been posted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet_hub.clock import Clock, SystemClock
from sublet_hub.cluster.base import LeaseUnknownError, Observed, Stray
from sublet_hub.cluster.kube import identity, names, reading
from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import NODES, PODS, Conflict, KubeError, NotFound
from sublet_hub.cluster.kube.index import Index
from sublet_hub.cluster.kube.nodes import Nodes
from sublet_hub.cluster.kube.objects import Node, Object, Pod
from sublet_hub.cluster.kube.reflector import Pace, Reflector
from sublet_hub.cluster.kube.warden import lowered_active_deadline
from sublet_hub.domain.lease import EndReason

BLIND_MS = 30_000
"""Without news of pods for so long, the platform can't see what runs."""

FIRST_LIST_SECONDS = 60.0

PLANNED = frozenset({EndReason.USER, EndReason.IDLE})
"""What may be taken back (decision 013)."""


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
        *,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._namespace = options.namespace or connection.namespace
        self._clock = clock or SystemClock()
        self._pods = Reflector(
            connection,
            PODS,
            Pod,
            namespace=self._namespace,
            keep_deleted=lambda pod: identity.lease_id_of(pod) is not None,
            pace=pace,
            clock=clock,
        )
        self._node_reflector = Reflector(connection, NODES, Node, pace=pace, clock=clock)
        self._nodes = Nodes(connection, self._node_reflector, options.lost_node_seconds * 1000)
        self._index = Index()

    def start(self, wait_seconds: float = FIRST_LIST_SECONDS) -> None:
        """Begin to watch, and wait for the first lists; KubeError where they can't be had."""
        for reflector in (self._pods, self._node_reflector):
            reflector.start()
        for reflector in (self._pods, self._node_reflector):
            if not reflector.wait_synced(wait_seconds):
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
        return list(self._index.read_all(lambda pod: self._nodes.vouch(pod.spec.node_name, known_ms)))

    def strays(self) -> Sequence[Stray]:
        """See `Cluster.strays`."""
        self._index.follow(self._pods.snapshot())
        return self._index.strays

    def trouble(self) -> str | None:
        """See `Cluster.trouble`."""
        for reflector, what in (
            (self._pods, f"what runs in namespace {self._namespace}"),
            (self._node_reflector, "nodes"),
        ):
            if self._clock.now_ms() - (reflector.current_at_ms() or 0) > BLIND_MS:
                return f"{what} can't be seen: {reflector.trouble or 'no news'}"
        return None

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        """See `Cluster.arm`. The warden follows when the kubelet has written the annotation out to it.

        A pod that was made past us is made to hold: the finalizer keeps its end from vanishing, and where it has no
        warden, its `activeDeadlineSeconds` is the only deadline that holds without us, though it can't be moved out
        again. So one that its user may take back is left to the meter, which stops the pod then (`Observed.guarded`).
        """
        pod = self._pod(lease_id)
        metadata: dict[str, object] = {
            "uid": pod.metadata.uid,
            "annotations": {names.DEADLINE: str(deadline_ms), names.DEADLINE_REASON: reason},
        }
        if names.FINALIZER not in pod.metadata.finalizers and pod.metadata.deletion_timestamp is None:
            metadata["finalizers"] = [*pod.metadata.finalizers, names.FINALIZER]
            metadata["resourceVersion"] = pod.metadata.resource_version  # nobody else's may come back by this
        change: dict[str, object] = {"metadata": metadata}
        lowered = lowered_active_deadline(
            pod.spec.active_deadline_seconds,
            pod.status.start_time,
            deadline_ms,
            reason if identity.has_warden(pod) or reason in PLANNED else EndReason.ADMIN,
        )
        if lowered is not None:
            change["spec"] = {"activeDeadlineSeconds": lowered}
        try:
            self._connection.patch(PODS, pod.metadata.name, change, Object, namespace=self._namespace)
        except NotFound as error:
            raise LeaseUnknownError(lease_id) from error

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
        try:
            self._release(pod)
        except NotFound:
            return
        self._delete(pod)

    def withdraw(self, lease_id: str) -> bool:
        """See `Cluster.withdraw`. Where no pod was made, the spawner makes none for a grant that is so old; that none
        was made must be known, though."""
        if self.trouble() is not None:
            return False
        pod = self._index.pods.get(lease_id)
        if pod is None:
            gone = self._index.deleted.get(lease_id)
            return gone is None or self._index.read_deleted(lease_id, gone).started_at_ms is None
        seen = reading.read(pod, lease_id, self._nodes.vouch(pod.spec.node_name, self._pods.current_at_ms() or 0))
        if seen.started_at_ms is not None:
            return False
        self._delete(pod)
        return seen.ended_at_ms is not None

    def _release(self, pod: Pod) -> None:
        """Take our finalizer off, where it is still on, and nobody else's."""
        held = list(pod.metadata.finalizers)
        if names.FINALIZER not in held:
            return
        path = "/metadata/finalizers"
        change = [
            {"op": "test", "path": "/metadata/uid", "value": pod.metadata.uid},
            {"op": "test", "path": path, "value": held},
            {"op": "replace", "path": path, "value": [each for each in held if each != names.FINALIZER]},
        ]
        self._connection.patch(PODS, pod.metadata.name, change, Object, how="json", namespace=self._namespace)

    def _pod(self, lease_id: str) -> Pod:
        pod = self._index.pods.get(lease_id)
        if pod is None:
            raise LeaseUnknownError(lease_id)
        return pod

    def _delete(self, pod: Pod) -> None:
        if pod.metadata.deletion_timestamp is not None:
            return
        try:
            self._connection.delete(PODS, pod.metadata.name, uid=pod.metadata.uid, namespace=self._namespace)
        except (NotFound, Conflict):  # it is gone, and another may have its name
            return
