"""The pods of leases, by lease, and what was last read from each: what hasn't changed is not read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sublet_hub.cluster.base import Observed, Stray
from sublet_hub.cluster.kube import identity, reading
from sublet_hub.cluster.kube.mirror import Deleted, Snapshot
from sublet_hub.cluster.kube.objects import Pod
from sublet_hub.cluster.kube.reading import Vouched

_Read = tuple[Pod, Vouched, Observed]


class Index:
    """Follows the copy of the pods, snapshot by snapshot."""

    def __init__(self) -> None:
        self._version = -1
        self._ids: dict[str, str] = {}
        self._read: dict[str, _Read] = {}
        """By lease."""
        self.pods: dict[str, Pod] = {}
        self.deleted: dict[str, Deleted[Pod]] = {}
        """Of leases whose pods are no more."""
        self.strays: tuple[Stray, ...] = ()

    def follow(self, snapshot: Snapshot[Pod]) -> None:
        """Take over a snapshot, where it is a new one."""
        if snapshot.version == self._version:
            return
        self._version = snapshot.version
        before, self._ids = self._ids, {}
        self.pods, self.deleted, strays = {}, {}, []
        for uid, gone in snapshot.deleted.items():
            lease_id = before.get(uid) or identity.lease_id_of(gone.last)
            if lease_id is not None:
                self._ids[uid] = lease_id
                self.deleted[lease_id] = gone
        for uid, pod in snapshot.items.items():
            # Which lease a pod runs is worked out once: labels that are taken off later free nobody.
            lease_id = before.get(uid) or identity.lease_id_of(pod)
            if lease_id is not None:
                self._ids[uid] = lease_id
                self.pods[lease_id] = pod
            elif (stray := identity.stray_of(pod)) is not None:
                strays.append(stray)
        self.strays = tuple(strays)

    def read_all(self, vouch: Callable[[Pod], Vouched]) -> Iterator[Observed]:
        """What all pods tell, also those that are no more."""
        earlier, self._read = self._read, {}
        for lease_id, pod in self.pods.items():
            found = _read(lease_id, pod, vouch(pod), earlier.get(lease_id))
            self._read[lease_id] = found
            yield found[2]
        for lease_id, gone in self.deleted.items():
            if lease_id in self.pods:
                continue
            if lease_id in earlier:
                self._read[lease_id] = earlier[lease_id]
            yield self.read_deleted(lease_id, gone)

    def read_deleted(self, lease_id: str, gone: Deleted[Pod]) -> Observed:
        """What a pod told that is no more: somebody took the finalizer off, or never put it on."""
        at_ms = gone.noticed_at_ms
        if gone.missed and lease_id in self._read:
            at_ms = self._read[lease_id][2].alive_at_ms or at_ms
        return reading.read_deleted(gone.last, lease_id, at_ms, missed=gone.missed)


def _read(lease_id: str, pod: Pod, vouched: Vouched, earlier: _Read | None) -> _Read:
    if earlier is None or earlier[0] is not pod or earlier[1].lost != vouched.lost or not earlier[2].running:
        return pod, vouched, reading.read(pod, lease_id, vouched)
    if earlier[1].until_ms == vouched.until_ms:
        return earlier
    started = earlier[2].started_at_ms or 0
    return pod, vouched, replace(earlier[2], alive_at_ms=max(started, vouched.until_ms))
