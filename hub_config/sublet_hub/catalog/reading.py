"""Reading pools and flavors from `sublet.toml`. What is wrong is named, with its table and field."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from pydantic import ValidationError

from sublet_hub.catalog.tables import PoolTable, Tables
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.domain.flavors import Catalog
from sublet_hub.settings import Settings, SettingsError


def load_catalog(settings: Settings) -> Catalog:
    """The pools and flavors of a platform; SettingsError names the table and field that is wrong."""
    return _build(_tables(settings), settings)


def load_placements(settings: Settings) -> Mapping[str, Placement]:
    """Of each flavor by its name, where its pods run and with what; SettingsError as above."""
    tables = _tables(settings)
    _build(tables, settings)
    pools = {pool.name: pool for pool in tables.pools}
    return {flavor.name: flavor.to_placement(pools[flavor.pool]) for flavor in tables.flavors}


def _tables(settings: Settings) -> Tables:
    path = settings.toml_file
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"There is no {path}; `sublet up` writes it on its first start.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    try:
        return Tables.model_validate({key: content[key] for key in Tables.model_fields.keys() & content.keys()})
    except ValidationError as error:
        raise SettingsError(explain(error, path)) from None


def _build(tables: Tables, settings: Settings) -> Catalog:
    refuse_twins("pool", [pool.name for pool in tables.pools])
    refuse_twins("flavor", [flavor.name for flavor in tables.flavors])
    if settings.cluster == "kubernetes":
        for table in tables.pools:
            table.check_for_kubernetes()
    by_name: dict[str, PoolTable] = {table.name: table for table in tables.pools}
    pools = {name: table.to_domain() for name, table in by_name.items()}
    taken = [device.uuid for pool in pools.values() for device in pool.devices]
    if len(set(taken)) < len(taken):
        raise SettingsError("A device stands in two pools; it could be leased twice.")
    for flavor in tables.flavors:
        if flavor.pool not in pools:
            known = ", ".join(sorted(pools)) or "none"
            raise SettingsError(f"flavors.{flavor.name}: there is no pool {flavor.pool!r}. Pools: {known}.")
    flavors = {flavor.name: flavor.to_domain(by_name[flavor.pool], pools[flavor.pool]) for flavor in tables.flavors}
    return Catalog(pools, flavors, settings.currency)


def refuse_twins(kind: str, names: Sequence[str]) -> None:
    """SettingsError where a name stands there twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"The {kind} {twice[0]} stands there twice.")


def explain(error: ValidationError, path: Path) -> str:
    """What is wrong in a file, a line each."""
    return "\n".join(
        f"{'.'.join(map(str, problem['loc']))} in {path}: {problem['msg'].removeprefix('Value error, ')}"
        f" (it is {shorten(repr(problem['input']), 200)})"
        for problem in error.errors()
    )
