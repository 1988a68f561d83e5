"""The tables of `sublet.toml` that say what is leased, checked one by one, and what they mean in the domain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sublet_hub.catalog.kubernetes import KubernetesTable
from sublet_hub.catalog.strict import StrictTable
from sublet_hub.cluster.kube.placement import GPU_RESOURCE, Placement
from sublet_hub.domain.amounts import PARTS_PER_GPU, GpuParts, Micros, gpus_milli
from sublet_hub.domain.flavors import Flavor, IdlePolicy, Pool, PoolDevice, Tier
from sublet_hub.settings import SettingsError

GIB = 2**30
MOST_IDLE_MINUTES = 720

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Price = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Parts = Annotated[int, Field(ge=1, le=PARTS_PER_GPU)]


class DeviceTable(StrictTable):
    """One of a pool's `devices`."""

    uuid: Annotated[str, Field(min_length=1, max_length=200)]
    parts: Parts = PARTS_PER_GPU


class IdleTable(StrictTable):
    """The table `[pools.idle]`: when the pool's leases are ended for being idle. Without it none is.

    A GPU whose memory is filled to `memory_percent` is in use though nothing runs: a model waits there for its user's
    next cell.
    """

    after_minutes: Annotated[int, Field(ge=1, le=MOST_IDLE_MINUTES, strict=True)]
    utilisation_percent: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    memory_percent: Annotated[int, Field(ge=1, le=100, strict=True)] = 10
    tiers: Annotated[frozenset[Tier], Field(min_length=1)] = frozenset({Tier.SURPLUS})

    def to_domain(self) -> IdlePolicy:
        return IdlePolicy(self.after_minutes, self.utilisation_percent, self.memory_percent, self.tiers)


class PoolTable(StrictTable):
    """One of `[[pools]]`.

    `devices` are handed out by us, on one machine. On Kubernetes a device plugin does that: there `capacity` says how
    many may be leased at once, and `parts` how much of a GPU each of them is (7000: a whole one).
    """

    name: Name
    gpu_model: str = ""
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0
    devices: tuple[DeviceTable | str, ...] = ()
    capacity: Annotated[int, Field(ge=0, le=100_000)] | None = None
    parts: Parts | None = None
    simulated: bool = False
    kubernetes: KubernetesTable | None = None
    idle: IdleTable | None = None

    def to_domain(self) -> Pool:
        """The pool; SettingsError where fields contradict each other."""
        self._check_device_count()
        devices = tuple(
            PoolDevice(each, GpuParts(PARTS_PER_GPU))
            if isinstance(each, str)
            else PoolDevice(each.uuid, GpuParts(each.parts))
            for each in self.devices
        )
        if len({device.uuid for device in devices}) < len(devices):
            raise SettingsError(f"pools.{self.name}: a device stands there twice.")
        if len({device.parts for device in devices}) > 1:
            raise SettingsError(f"pools.{self.name}: its devices differ in size. Make one pool for each size.")
        capacity = sum(device.parts for device in devices) or (self.capacity or 0) * self.parts_per_device
        idle = None if self.idle is None else self.idle.to_domain()
        return Pool(self.name, self.gpu_model, GpuParts(capacity), devices, self.simulated, idle)

    def _check_device_count(self) -> None:
        if self.devices and self.capacity is not None:
            raise SettingsError(f"pools.{self.name}: give devices or capacity, not both.")
        if self.devices and self.parts is not None:
            raise SettingsError(f"pools.{self.name}: parts goes with capacity; of devices, each has its own.")
        if self.kubernetes is not None and self.kubernetes.is_slice and self.parts is None:
            raise SettingsError(
                f"pools.{self.name}: {self.kubernetes.resource} is a slice. Say with parts how much of a GPU each one"
                f" is: {PARTS_PER_GPU // 7} for a seventh."
            )

    def check_for_kubernetes(self) -> None:
        """SettingsError for what can't be on Kubernetes, where we don't choose the devices."""
        if self.devices:
            raise SettingsError(
                f"pools.{self.name}: on Kubernetes a device plugin hands out the devices. Give capacity, not devices."
            )

    @property
    def parts_per_device(self) -> int:
        """Parts of each of its devices; they are of one size."""
        first = self.devices[0] if self.devices else None
        if isinstance(first, DeviceTable):
            return first.parts
        return PARTS_PER_GPU if self.parts is None else self.parts


class FlavorTable(StrictTable):
    """One of `[[flavors]]`."""

    name: Name
    title: Annotated[str, Field(min_length=1, max_length=100)]
    pool: str
    gpus: Annotated[int, Field(ge=0, le=64)]
    cpus: Annotated[int, Field(ge=1, le=1024)]
    memory_gib: Annotated[int, Field(ge=1, le=100_000)]
    shm_gib: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """On Kubernetes, GiB of `/dev/shm`, a part of `memory_gib`. None: half of it."""
    prices: Annotated[dict[Tier, Price], Field(min_length=1)]

    def to_domain(self, table: PoolTable, pool: Pool) -> Flavor:
        """The flavor; SettingsError where its pool can't have it."""
        parts = self.gpus * table.parts_per_device
        if parts > pool.capacity:
            raise SettingsError(
                f"flavors.{self.name}: {self.gpus} GPUs are more than the whole pool {pool.name} has."
            )
        if self.shm_gib is not None and self.shm_gib >= self.memory_gib:
            raise SettingsError(
                f"flavors.{self.name}: shm_gib is a part of memory_gib and must be less: {self.memory_gib} or more"
                " would leave nothing for the notebook."
            )
        return Flavor(
            name=self.name,
            title=self.title,
            pool=self.pool,
            parts=GpuParts(parts),
            device_count=self.gpus,
            cpus=self.cpus,
            memory_bytes=self.memory_gib * GIB,
            prices={tier: Micros(price) for tier, price in self.prices.items()},
            gpu_memory_bytes=round(table.gpu_memory_gib * GIB) if self.gpus else 0,
        )

    def to_placement(self, table: PoolTable) -> Placement:
        """Where the flavor's pods run, and with what."""
        on = table.kubernetes or KubernetesTable()
        memory = self.memory_gib * GIB
        return Placement(
            flavor=self.name,
            pool=self.pool,
            resource=on.resource or (None if table.simulated else GPU_RESOURCE),
            gpus=self.gpus,
            gpus_milli=gpus_milli(GpuParts(self.gpus * table.parts_per_device)),
            cpus=self.cpus,
            memory_bytes=memory,
            shm_bytes=memory // 2 if self.shm_gib is None else self.shm_gib * GIB,
            node_selector=dict(on.node_selector),
            tolerations=tuple(each.to_placement() for each in on.tolerations),
            runtime_class=on.runtime_class,
        )


class Tables(StrictTable):
    """All of them."""

    pools: tuple[PoolTable, ...] = ()
    flavors: tuple[FlavorTable, ...] = ()
