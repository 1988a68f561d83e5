"""The spawner of Kubernetes: leases, run as pods."""

from __future__ import annotations

from sublet_hub.hub.lease_mixin import LeaseMixin
from sublet_hub.hub.pod_spawner import PodSpawner


class LeaseKubeSpawner(LeaseMixin, PodSpawner):
    """Every server a lease, as a pod of its own."""
