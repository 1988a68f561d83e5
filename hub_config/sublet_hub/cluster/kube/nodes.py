"""How far each node can be believed: up to now while it is ready, else up to its last heartbeat."""

from __future__ import annotations

import logging

from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import LEASES, Forbidden, KubeError, NotFound
from sublet_hub.cluster.kube.objects import Lease, Node
from sublet_hub.cluster.kube.reading import Vouched
from sublet_hub.cluster.kube.reflector import Reflector

log = logging.getLogger(__name__)

HEARTBEATS = "kube-node-lease"
"""Namespace of the Leases that kubelets renew every 10 seconds.
Source: https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats"""


class Nodes:
    """The nodes, watched. A heartbeat is asked for once when a node stops being ready, not before."""

    def __init__(self, connection: Connection, reflector: Reflector[Node], lost_ms: int) -> None:
        """`lost_ms`: without a heartbeat for so long, a node is given up."""
        self._connection = connection
        self._reflector = reflector
        self._lost_ms = lost_ms
        self._version = -1
        self._by_name: dict[str, Node] = {}
        self._ready_at_ms: dict[str, int] = {}
        self._last_ms: dict[str, int] = {}

    def refresh(self, now_known_ms: int) -> None:
        """Take over what is known now; `vouch` then answers for it. `now_known_ms`: up to when pods are known."""
        snapshot = self._reflector.snapshot()
        if snapshot.version != self._version:
            self._version = snapshot.version
            self._by_name = {node.metadata.name: node for node in snapshot.items.values()}
        until = min(now_known_ms, snapshot.current_at_ms or 0)
        for name, node in self._by_name.items():
            if _is_ready(node):
                self._ready_at_ms[name] = until
                self._last_ms.pop(name, None)
        gone = self._ready_at_ms.keys() - self._by_name.keys()
        for name in [name for name in gone if until - self._ready_at_ms[name] > 2 * self._lost_ms]:
            del self._ready_at_ms[name]
            self._last_ms.pop(name, None)

    def vouch(self, name: str, now_known_ms: int) -> Vouched:
        """How far a node can be believed. A pod without a node is known as far as the API server is."""
        if not name:
            return Vouched(now_known_ms)
        node = self._by_name.get(name)
        if node is not None and _is_ready(node):
            return Vouched(self._ready_at_ms[name])
        if name not in self._last_ms:
            self._last_ms[name] = self._last_heartbeat(name, node)
        last = self._last_ms[name]
        return Vouched(last, lost=now_known_ms - last > self._lost_ms)

    def _last_heartbeat(self, name: str, node: Node | None) -> int:
        """A node's last sign of life; of one that is gone without a trace, when it was last seen ready, else 0."""
        known = self._ready_at_ms.get(name, 0)
        try:
            renewed = self._connection.get(LEASES, name, Lease, namespace=HEARTBEATS).spec.renew_time
        except (NotFound, Forbidden) as error:
            log.warning("no heartbeat of node %s: %s", name, error)
            ready = node.ready if node is not None else None
            return max(known, (ready.last_heartbeat_time if ready is not None else None) or 0)
        except KubeError as error:
            log.warning("the heartbeat of node %s can't be read now: %s", name, error)
            return known
        log.warning("node %s is not ready; its last heartbeat: %s", name, renewed)
        return renewed or known


def _is_ready(node: Node) -> bool:
    return node.ready is not None and node.ready.status == "True"
