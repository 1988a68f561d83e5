"""What every operation of the store needs, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from sublet_hub.clock import Clock
from sublet_hub.domain.flavors import Catalog
from sublet_hub.domain.models import NO_MODELS, ModelCatalogue
from sublet_hub.domain.policy import Policy
from sublet_hub.storage.store import Store


@dataclass(frozen=True, slots=True)
class Books:
    """The store, what is for lease, the times that rule leases, the clock, the key of the audit chain, and the models
    that there are."""

    store: Store
    catalog: Catalog
    policy: Policy
    clock: Clock
    audit_key: bytes = field(repr=False)
    models: ModelCatalogue = NO_MODELS


METER = "meter"
"""The name under which the meter notes that it is alive."""

DEFAULT_LOCK = "default"
"""Lock of the default quota. It sorts before `group:`, `pool:` and `user:`, so it may be taken before those."""
