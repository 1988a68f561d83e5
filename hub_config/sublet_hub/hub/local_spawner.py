"""The spawner of one machine: leases, run by supervising parents."""

from __future__ import annotations

from sublet_hub.hub.lease_mixin import LeaseMixin
from sublet_hub.hub.supervised_spawner import SupervisedSpawner


class LocalLeaseSpawner(LeaseMixin, SupervisedSpawner):
    """Every server a lease, on this machine."""
