"""Pools and flavors, read from `sublet.toml` into the domain's catalog; and the file's first content.

Format: see `starter_toml`, which is what a new platform gets, and docs/settings.md.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sublet_hub.domain.amounts import PARTS_PER_GPU, GpuParts, Micros
from sublet_hub.domain.flavors import Catalog, Flavor, Pool, PoolDevice, Tier
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.settings import Settings, SettingsError

GIB = 2**30
GUARANTEED_PRICE = 2_000_000
SURPLUS_PRICE = 800_000
"""Prices in a starter file, in micro-units per GPU-hour: a start for the owner to change, not a
recommendation."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Price = Annotated[int, Field(ge=0, le=10**12, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Device(_Strict):
    uuid: Annotated[str, Field(min_length=1, max_length=200)]
    parts: Annotated[int, Field(ge=1, le=PARTS_PER_GPU)] = PARTS_PER_GPU


class _Pool(_Strict):
    name: Name
    gpu_model: str = ""
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0
    devices: tuple[_Device | str, ...] = ()
    capacity: Annotated[int, Field(ge=0, le=100_000)] | None = None
    simulated: bool = False

    def to_domain(self) -> Pool:
        devices = tuple(
            PoolDevice(each, GpuParts(PARTS_PER_GPU))
            if isinstance(each, str)
            else PoolDevice(each.uuid, GpuParts(each.parts))
            for each in self.devices
        )
        if devices and self.capacity is not None:
            raise SettingsError(f"pools.{self.name}: give devices or capacity, not both.")
        if len({device.uuid for device in devices}) < len(devices):
            raise SettingsError(f"pools.{self.name}: a device stands there twice.")
        if len({device.parts for device in devices}) > 1:
            raise SettingsError(f"pools.{self.name}: its devices differ in size. Make one pool for each size.")
        capacity = sum(device.parts for device in devices) or (self.capacity or 0) * PARTS_PER_GPU
        return Pool(self.name, self.gpu_model, GpuParts(capacity), devices, self.simulated)


class _Flavor(_Strict):
    name: Name
    title: Annotated[str, Field(min_length=1, max_length=100)]
    pool: str
    gpus: Annotated[int, Field(ge=0, le=64)]
    cpus: Annotated[int, Field(ge=1, le=1024)]
    memory_gib: Annotated[int, Field(ge=1, le=100_000)]
    prices: Annotated[dict[Tier, Price], Field(min_length=1)]

    def to_domain(self, pool: Pool, gpu_memory_gib: float) -> Flavor:
        per_device = pool.devices[0].parts if pool.devices else PARTS_PER_GPU
        parts = self.gpus * per_device
        if parts > pool.capacity:
            raise SettingsError(
                f"flavors.{self.name}: {self.gpus} GPUs are more than the whole pool {pool.name} has."
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
            gpu_memory_bytes=round(gpu_memory_gib * GIB) if self.gpus else 0,
        )


class _Tables(_Strict):
    pools: tuple[_Pool, ...] = ()
    flavors: tuple[_Flavor, ...] = ()


class FoundDevice(Protocol):
    """What we need to know of a device that discovery found."""

    @property
    def uuid(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def parts(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def simulated(self) -> bool: ...


def load_catalog(settings: Settings) -> Catalog:
    """The pools and flavors of a platform; SettingsError names the table and field that is wrong."""
    path = settings.toml_file
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"There is no {path}; `sublet up` writes it on its first start.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    try:
        tables = _Tables.model_validate({key: content[key] for key in _Tables.model_fields.keys() & content.keys()})
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    return _build(tables, settings.currency)


def _build(tables: _Tables, currency: str) -> Catalog:
    for kind, names in (
        ("pool", [p.name for p in tables.pools]),
        ("flavor", [f.name for f in tables.flavors]),
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SettingsError(f"The {kind} {twice[0]} stands there twice.")
    pools = {pool.name: pool.to_domain() for pool in tables.pools}
    memory = {pool.name: pool.gpu_memory_gib for pool in tables.pools}
    taken = [device.uuid for pool in pools.values() for device in pool.devices]
    if len(set(taken)) < len(taken):
        raise SettingsError("A device stands in two pools; it could be leased twice.")
    for flavor in tables.flavors:
        if flavor.pool not in pools:
            known = ", ".join(sorted(pools)) or "none"
            raise SettingsError(f"flavors.{flavor.name}: there is no pool {flavor.pool!r}. Pools: {known}.")
    flavors = {flavor.name: flavor.to_domain(pools[flavor.pool], memory[flavor.pool]) for flavor in tables.flavors}
    return Catalog(pools, flavors, currency)


def _explain(error: ValidationError, path: Path) -> str:
    return "\n".join(
        f"{'.'.join(map(str, problem['loc']))} in {path}: {problem['msg']} (it is {problem['input']!r})"
        for problem in error.errors()
    )


def default_quota(settings: Settings) -> Quota:
    """The default quota that a new platform begins with."""
    wanted = (
        (What.GPU_SECONDS, settings.default_gpu_seconds_per_week, "week"),
        (What.MONEY, settings.default_money_microunits_per_month, "month"),
        (What.GPUS, settings.default_gpus, None),
        (What.LEASES, settings.default_leases, None),
        (What.LEASE_SECONDS, settings.default_lease_seconds, None),
    )
    limits = tuple(Limit(what, limit, window) for what, limit, window in wanted if limit is not None)
    return Quota(limits, settings.time_zone)


def starter_toml(devices: Sequence[FoundDevice]) -> str:
    """First content of `sublet.toml`: a pool per model and size of the devices found, flavors of them, and
    `cpu`."""
    groups: dict[tuple[str, int], list[FoundDevice]] = {}
    for device in devices:
        groups.setdefault((device.model, device.parts), []).append(device)
    sections = [_HEAD]
    for (model, parts), members in groups.items():
        sections.append(_pool_toml(model, parts, members))
        sections.extend(_flavor_toml(model, parts, count, members) for count in _counts(len(members)))
    return "\n".join([*sections, _CPU])


def _counts(total: int) -> list[int]:
    """1, 2, 4, ... devices per flavor, and all of them."""
    return sorted({2**n for n in range(7) if 2**n <= total} | {min(total, 64)})


def _slug(model: str, parts: int) -> str:
    slice_of = "" if parts == PARTS_PER_GPU else f"-{parts}"
    base = re.sub(r"[^a-z0-9]+", "-", model.lower().removeprefix("nvidia")).strip("-") or "gpu"
    return base[:40].strip("-") + slice_of


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are all among TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _pool_toml(model: str, parts: int, members: Sequence[FoundDevice]) -> str:
    lines = "".join(f"  {{ uuid = {_quoted(device.uuid)}, parts = {device.parts} }},\n" for device in members)
    return (
        f'[[pools]]\nname = "{_slug(model, parts)}"\ngpu_model = {_quoted(model)}\n'
        f"gpu_memory_gib = {round(members[0].memory_bytes / GIB, 1)}\n"
        f"simulated = {str(members[0].simulated).lower()}\ndevices = [\n{lines}]\n"
    )


def _flavor_toml(model: str, parts: int, count: int, members: Sequence[FoundDevice]) -> str:
    share = count / len(members)
    slug = _slug(model, parts)
    return (
        f'[[flavors]]\nname = "{slug}-{count}x"\ntitle = {_quoted(f"{count} × {model}")}\n'
        f'pool = "{slug}"\ngpus = {count}\n'
        f"cpus = {max(1, int((os.cpu_count() or 1) * share))}\n"
        f"memory_gib = {max(1, int(psutil.virtual_memory().total / GIB * share))}\n"
        f"prices = {{ guaranteed = {GUARANTEED_PRICE}, surplus = {SURPLUS_PRICE} }}\n"
    )


_HEAD = """\
# What this platform leases. Written on the first start from what was found on this machine; yours to edit.
# Start again for a change to take effect. Any setting may stand here too, above the first table, for example:
#   currency = "EUR"
#   contact = "gpu-admins@example.org"
# `sublet doctor` checks this file. A flavor that open leases still use should not be taken out.
#
# A pool is GPUs of one model: `devices` by UUID (or MIG UUID), `parts` the share of a GPU (7000 is a whole
# one). A flavor is what users pick: so many of a pool's devices. `prices` are in micro-units of the currency
# per GPU-hour (2000000 is 2.00), by tier; a tier without a price isn't offered.
"""

_CPU = """\
[[pools]]
name = "cpu"
capacity = 0

[[flavors]]
name = "cpu"
title = "CPU only"
pool = "cpu"
gpus = 0
cpus = 1
memory_gib = 2
prices = { guaranteed = 0 }
"""
