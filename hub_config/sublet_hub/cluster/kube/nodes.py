"""How far each node can be believed: up to now while it is ready, else up to its last sign of life.

A kubelet that is alive says itself when it is not ready (its container runtime is down, say): then nothing is known
of its containers for a while, and nothing is lost. Of one that has fallen silent the control plane says so, 40 to 50
seconds later; its last sign of life is its Lease, which it renews every 10 seconds.
"""

from __future__ import annotations

import logging

from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import LEASES, Forbidden, KubeError, NotFound
from sublet_hub.cluster.kube.objects import Lease, Node
from sublet_hub.cluster.kube.reading import Vouched
from sublet_hub.cluster.kube.reflector import Reflector

log = logging.getLogger(__name__)

HEARTBEATS = "kube-node-lease"
"""Namespace of the nodes' Leases. Source: https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats"""


class Nodes:
    """The nodes, watched. A heartbeat is asked for once when a node falls silent, not before."""

    def __init__(self, connection: Connection, reflector: Reflector[Node], lost_ms: int) -> None:
        """`lost_ms`: without a heartbeat for so long, a node is given up."""
        self._connection = connection
        self._reflector = reflector
        self._lost_ms = lost_ms
        self._version = -1
        self._nodes_until_ms = 0
        self._by_name: dict[str, Node] = {}
        self._ready_at_ms: dict[str, int] = {}
        """Up to when each node was ready."""
        self._last_ms: dict[str, int] = {}
        """Heartbeats of the nodes that are silent or gone."""
        self._silent_since_ms: dict[str, int] = {}
        self._vouched: dict[str, Vouched] = {}
        """What was answered since the last refresh."""

    def refresh(self, now_known_ms: int) -> None:
        """Take over what is known now; `vouch` then answers for it. `now_known_ms`: up to when pods are known."""
        snapshot = self._reflector.snapshot()
        self._nodes_until_ms = snapshot.current_at_ms or 0
        if snapshot.version != self._version:
            self._version = snapshot.version
            self._by_name = {node.metadata.name: node for node in snapshot.items.values()}
        until = min(now_known_ms, self._nodes_until_ms)
        for name, node in self._by_name.items():
            if _said(node) == "True":
                self._ready_at_ms[name] = until
            if _said(node) in {"True", "False"}:
                self._last_ms.pop(name, None)
                self._silent_since_ms.pop(name, None)
        for known in (self._ready_at_ms, self._last_ms, self._silent_since_ms):
            for name in known.keys() - self._by_name.keys() - self._vouched.keys():
                del known[name]  # the node is gone, and so is what ran there
        self._vouched = {}

    def vouch(self, name: str, now_known_ms: int) -> Vouched:
        """How far a node can be believed. A pod without a node is known as far as the API server is."""
        if name not in self._vouched:
            self._vouched[name] = self._believed(name) if name else Vouched(now_known_ms)
        return self._vouched[name]

    def _believed(self, name: str) -> Vouched:
        node = self._by_name.get(name)
        said = _said(node)
        if said == "True":
            return Vouched(self._ready_at_ms[name])
        if said == "False":
            assert node is not None
            assert node.ready is not None
            return Vouched(node.ready.last_transition_time or self._ready_at_ms.get(name, 0))
        # By the clock of the nodes' copy: while that is not current, a node may be back, or new, without our knowing.
        silent_since = self._silent_since_ms.setdefault(name, self._nodes_until_ms)
        last = self._heartbeat(name, node)
        if last is None:
            return Vouched(self._ready_at_ms.get(name, 0))
        return Vouched(last, lost=self._nodes_until_ms - (last or silent_since) > self._lost_ms)

    def _heartbeat(self, name: str, node: Node | None) -> int | None:
        """A silent node's last sign of life; 0 where it left none, None while that can't be found out."""
        if name not in self._last_ms:
            try:
                self._last_ms[name] = self._ask(name, node)
            except KubeError as error:
                log.warning("the heartbeat of node %s can't be read now: %s", name, error)
                return None
        return self._last_ms[name]

    def _ask(self, name: str, node: Node | None) -> int:
        ready = node.ready if node is not None else None
        signs = [self._ready_at_ms.get(name), ready.last_heartbeat_time if ready is not None else None]
        try:
            renewed = self._connection.get(LEASES, name, Lease, namespace=HEARTBEATS).spec.renew_time
        except (NotFound, Forbidden) as error:
            log.warning("no heartbeat of node %s: %s", name, error)
        else:
            log.warning("node %s is silent; its last heartbeat: %s", name, renewed)
            if renewed is not None:
                return renewed
        return max((each for each in signs if each is not None), default=0)


def _said(node: Node | None) -> str:
    """What a node says of its readiness, or the control plane in its stead: True, False or Unknown."""
    return node.ready.status if node is not None and node.ready is not None else "Unknown"
