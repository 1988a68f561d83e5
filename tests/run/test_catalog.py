"""`sublet.toml`: what a new platform gets, and what is said when the tables are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.catalog import default_quota, load_catalog, starter_toml
from sublet_hub.cluster.gpus import Device, simulated
from sublet_hub.domain.amounts import PARTS_PER_GPU
from sublet_hub.domain.flavors import Catalog, Tier
from sublet_hub.domain.quota import What, check_quota
from sublet_hub.settings import Settings, SettingsError, load_settings

POOL = '[[pools]]\nname = "p"\ndevices = ["a", "b"]\n'
FLAVOR = (
    '[[flavors]]\nname = "f"\ntitle = "F"\npool = "p"\ngpus = 1\ncpus = 1\nmemory_gib = 1\nprices = {surplus = 5}\n'
)


def settings_in(folder: Path, toml: str) -> Settings:
    (folder / "sublet.toml").write_text(toml, encoding="utf-8")
    return load_settings({"SUBLET_DATA": str(folder)})


def catalog_of(folder: Path, toml: str) -> Catalog:
    return load_catalog(settings_in(folder, toml))


def test_a_machine_without_gpus_starts_with_four_simulated_ones_and_cpu(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, starter_toml(simulated(4)))
    assert list(catalog.flavors) == ["simulated-gpu-1x", "simulated-gpu-2x", "simulated-gpu-4x", "cpu"]
    pool = catalog.pools["simulated-gpu"]
    assert pool.simulated
    assert pool.capacity == 4 * PARTS_PER_GPU
    assert "Simulated" in catalog.flavors["simulated-gpu-1x"].title
    assert (catalog.flavors["cpu"].parts, catalog.flavors["cpu"].gpu_memory_bytes) == (0, 0)


def test_slices_and_whole_gpus_of_one_model_become_two_pools(tmp_path: Path) -> None:
    devices = [
        Device("GPU-1", 'NVIDIA "A100" 80GB', 7000, 80 * 2**30),
        Device("MIG-1", 'NVIDIA "A100" 80GB', 1000, 10 * 2**30),
        Device("MIG-2", 'NVIDIA "A100" 80GB', 1000, 10 * 2**30),
    ]
    catalog = catalog_of(tmp_path, starter_toml(devices))
    assert catalog.pools["a100-80gb"].capacity == 7000
    assert catalog.pools["a100-80gb-1000"].capacity == 2000
    assert catalog.flavors["a100-80gb-1000-1x"].parts == 1000
    assert catalog.flavors["a100-80gb-1x"].gpu_memory_bytes == 80 * 2**30
    assert catalog.pools["a100-80gb"].gpu_model == 'NVIDIA "A100" 80GB'


def test_a_flavor_reads_as_written(tmp_path: Path) -> None:
    flavor = catalog_of(tmp_path, POOL + FLAVOR).flavors["f"]
    assert (flavor.parts, flavor.device_count, flavor.memory_bytes) == (7000, 1, 2**30)
    assert flavor.prices == {Tier.SURPLUS: 5}


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (POOL + FLAVOR.replace('pool = "p"', 'pool = "q"'), "no pool 'q'"),
        (POOL + FLAVOR.replace("gpus = 1", "gpus = 3"), "more than the whole pool"),
        (POOL + FLAVOR.replace("surplus = 5", "surplus = 5.5"), "flavors.0.prices.surplus"),
        (POOL + FLAVOR.replace("surplus = 5", "cheap = 5"), "flavors.0.prices.cheap"),
        (POOL + FLAVOR.replace("cpus = 1", "cpu = 1"), "flavors.0.cpu"),
        (POOL + FLAVOR + FLAVOR, "flavor f stands there twice"),
        (POOL.replace('"b"', '"a"'), "twice"),
        (POOL + POOL.replace('"p"', '"q"'), "two pools"),
        (POOL + "capacity = 2\n", "not both"),
        ('[[pools]]\nname = "p"\ndevices = ["a", {uuid = "b", parts = 10}]\n', "differ in size"),
        ("[[pools]]\nname = 'Bad Name'\n", "pools.0.name"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace(".", r"\.")):
        catalog_of(tmp_path, toml)


def test_the_default_quota_is_a_valid_one(tmp_path: Path) -> None:
    quota = default_quota(settings_in(tmp_path, 'time_zone = "Europe/Berlin"\ndefault_gpus = "none"\n'))
    assert check_quota(quota, frozenset()) == quota
    assert quota.time_zone == "Europe/Berlin"
    assert {limit.what for limit in quota.limits} == {What.GPU_SECONDS, What.LEASES, What.LEASE_SECONDS}
