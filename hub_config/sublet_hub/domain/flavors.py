"""What can be leased: pools of devices, and the flavors that users pick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sublet_hub.domain.amounts import GpuParts, Micros
from sublet_hub.domain.errors import NotFound


class Tier(StrEnum):
    """`guaranteed` ends only by its own limits; `surplus` is cheaper and may be reclaimed with notice."""

    GUARANTEED = "guaranteed"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class PoolDevice:
    """One GPU, or one MIG slice of a GPU, that a lease can hold whole."""

    uuid: str
    parts: GpuParts


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """When a pool's leases are ended for being idle: for `after_minutes` no kernel was busy, and each GPU was used by
    less than `utilisation_percent` and its memory by less than `memory_percent`. Only leases of `tiers`."""

    after_minutes: int
    utilisation_percent: int = 5
    memory_percent: int = 10
    tiers: frozenset[Tier] = frozenset({Tier.SURPLUS})


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one model in one place with one owner.

    `devices` names each device where we hand them out ourselves (one machine); where something else does
    (Kubernetes) it is empty and `capacity` alone counts. `simulated` pools have no hardware behind them. Without an
    `idle` policy nothing of the pool is ended for being idle.
    """

    name: str
    gpu_model: str
    capacity: GpuParts
    devices: tuple[PoolDevice, ...] = ()
    simulated: bool = False
    idle: IdlePolicy | None = None


@dataclass(frozen=True, slots=True)
class Flavor:
    """What a user can pick: so many devices of a pool, with CPU and memory, at a price per tier.

    `parts` is the share of GPUs that one lease holds; 0 for a flavor without a GPU. `device_count` is how many
    of the pool's devices that is. `prices` are in micro-units per GPU-hour; a tier without a price isn't offered.
    """

    name: str
    title: str
    pool: str
    parts: GpuParts
    device_count: int
    cpus: int
    memory_bytes: int
    prices: Mapping[Tier, Micros]
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """All pools and flavors, and the currency of their prices (ISO 4217)."""

    pools: Mapping[str, Pool]
    flavors: Mapping[str, Flavor]
    currency: str = "USD"

    def flavor(self, name: str) -> Flavor:
        """The flavor of that name; NotFound names those there are."""
        try:
            return self.flavors[name]
        except KeyError:
            known = ", ".join(sorted(self.flavors)) or "none"
            raise NotFound(f"There is no flavor {name!r}. Flavors: {known}.", field="flavor") from None

    def price(self, flavor: Flavor, tier: Tier) -> Micros:
        """Micro-units per GPU-hour; NotFound where the flavor isn't offered in that tier."""
        try:
            return flavor.prices[tier]
        except KeyError:
            raise NotFound(f"Flavor {flavor.name!r} is not offered as {tier.value}.", field="tier") from None


def free_devices(pool: Pool, taken: frozenset[str]) -> tuple[PoolDevice, ...]:
    """The pool's devices that no open lease holds, in the pool's own order."""
    return tuple(device for device in pool.devices if device.uuid not in taken)


def fits(pool: Pool, flavor: Flavor, taken_parts: int, taken_devices: frozenset[str]) -> int:
    """How many more leases of a flavor its pool has room for now."""
    if flavor.parts == 0:
        return 2**31
    by_capacity = (pool.capacity - taken_parts) // flavor.parts
    if not pool.devices:
        return max(0, by_capacity)
    return max(0, min(by_capacity, len(free_devices(pool, taken_devices)) // flavor.device_count))
