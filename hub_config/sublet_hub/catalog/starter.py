"""What a new platform begins with: its `sublet.toml`, and its default quota."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from sublet_hub.domain.amounts import PARTS_PER_GPU
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.settings import Settings

GIB = 2**30
STARTER_MODELS = Path(__file__).with_name("starter_models.toml")
"""The first content of `models.toml`, where the files of its models are at hand."""

GUARANTEED_PRICE = 2_000_000
SURPLUS_PRICE = 800_000
"""Prices in a starter file, in micro-units per GPU-hour: a start for the owner to change, not a
recommendation."""


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
