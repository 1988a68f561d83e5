"""`sublet.toml`: what a new platform gets, and what is said when the tables are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.catalog import default_quota, load_catalog, load_placements, starter_toml
from sublet_hub.cluster.gpus import Device, simulated
from sublet_hub.cluster.kube.placement import Placement, Toleration
from sublet_hub.domain.amounts import PARTS_PER_GPU
from sublet_hub.domain.flavors import Catalog, IdlePolicy, Tier
from sublet_hub.domain.quota import What, check_quota
from sublet_hub.settings import Settings, SettingsError, load_settings

POOL = '[[pools]]\nname = "p"\ndevices = ["a", "b"]\n'
IDLE = "[pools.idle]\nafter_minutes = 45\n"
FLAVOR = (
    '[[flavors]]\nname = "f"\ntitle = "F"\npool = "p"\ngpus = 1\ncpus = 1\nmemory_gib = 1\nprices = {surplus = 5}\n'
)


ON_KUBERNETES = """
[[pools]]
name = "p"
capacity = 14
parts = 1000

[pools.kubernetes]
resource = "nvidia.com/mig-1g.10gb"
node_selector = {"nvidia.com/gpu.product" = "NVIDIA-H100-80GB-HBM3", rack = ""}
tolerations = [
  {key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule"},
  {key = "owner", value = "vision", effect = "NoExecute", toleration_seconds = 60},
]
runtime_class = "nvidia"

[[flavors]]
name = "f"
title = "F"
pool = "p"
gpus = 2
cpus = 4
memory_gib = 32
shm_gib = 8
prices = {surplus = 5}
"""


def settings_in(folder: Path, toml: str, cluster: str = "local") -> Settings:
    (folder / "sublet.toml").write_text(toml, encoding="utf-8")
    return load_settings({"SUBLET_DATA": str(folder), "SUBLET_CLUSTER": cluster})


def catalog_of(folder: Path, toml: str) -> Catalog:
    return load_catalog(settings_in(folder, toml))


def placement_of(folder: Path, toml: str) -> Placement:
    return load_placements(settings_in(folder, toml, "kubernetes"))["f"]


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


def test_an_idle_policy_reads_as_written_and_is_for_surplus_unless_it_says_more(tmp_path: Path) -> None:
    assert catalog_of(tmp_path, POOL + FLAVOR).pools["p"].idle is None
    assert catalog_of(tmp_path, POOL + IDLE + FLAVOR).pools["p"].idle == IdlePolicy(
        45, 5, 10, frozenset({Tier.SURPLUS})
    )
    whole = (
        POOL + IDLE + 'utilisation_percent = 1\nmemory_percent = 100\ntiers = ["surplus", "guaranteed"]\n' + FLAVOR
    )
    assert catalog_of(tmp_path, whole).pools["p"].idle == IdlePolicy(45, 1, 100, frozenset(Tier))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (POOL + IDLE.replace("45", "0") + FLAVOR, "pools.0.idle.after_minutes"),
        (POOL + IDLE.replace("45", "721") + FLAVOR, "pools.0.idle.after_minutes"),
        (POOL + IDLE.replace("after_minutes", "minutes") + FLAVOR, "pools.0.idle.after_minutes"),
        (POOL + IDLE + "memory_percent = 0\n" + FLAVOR, "pools.0.idle.memory_percent"),
        (POOL + IDLE + "utilisation_percent = 1.5\n" + FLAVOR, "pools.0.idle.utilisation_percent"),
        (POOL + IDLE + "tiers = []\n" + FLAVOR, "pools.0.idle.tiers"),
        (POOL + IDLE + 'tiers = ["cheap"]\n' + FLAVOR, "pools.0.idle.tiers"),
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
        (POOL + "parts = 1000\n", "parts goes with capacity"),
        ("[[pools]]\nname = 'Bad Name'\n", "pools.0.name"),
        (ON_KUBERNETES.replace("parts = 1000\n", ""), "pools.p: nvidia.com/mig-1g.10gb is a slice"),
        (ON_KUBERNETES.replace("parts = 1000\n", "parts = 7001\n"), "pools.0.parts"),
        (ON_KUBERNETES.replace("nvidia.com/mig-1g.10gb", "gpu"), "pools.0.kubernetes.resource"),
        (ON_KUBERNETES.replace("resource =", "resources ="), "pools.0.kubernetes.resources"),
        (ON_KUBERNETES.replace('rack = ""', 'rack = "a b"'), "pools.0.kubernetes.node_selector.rack"),
        (ON_KUBERNETES.replace("rack", '"ra ck"'), "pools.0.kubernetes.node_selector.ra ck"),
        (ON_KUBERNETES.replace('"nvidia"', '"N V"'), "pools.0.kubernetes.runtime_class"),
        (ON_KUBERNETES.replace('"NoSchedule"', '"No"'), "pools.0.kubernetes.tolerations.0.effect"),
        (ON_KUBERNETES.replace('"Exists"', '"In"'), "pools.0.kubernetes.tolerations.0.operator"),
        (
            ON_KUBERNETES.replace('"NoExecute"', '"NoSchedule"'),
            'toleration_seconds goes with effect "NoExecute" only',
        ),
        (ON_KUBERNETES.replace('key = "owner", ', ""), 'without a key, operator must be "Exists"'),
        (ON_KUBERNETES.replace('value = "vision"', 'value = "v", operator = "Exists"'), "there is no value"),
        (
            ON_KUBERNETES.replace("toleration_seconds = 60", "tolerationSeconds = 60"),
            "tolerations.1.tolerationSeconds",
        ),
        (ON_KUBERNETES.replace("shm_gib = 8", "shm_gib = 32"), "flavors.f: shm_gib is a part of memory_gib"),
        (ON_KUBERNETES.replace("gpus = 2", "gpus = 15"), "more than the whole pool"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace(".", r"\.")):
        catalog_of(tmp_path, toml)


def test_a_placement_reads_as_written(tmp_path: Path) -> None:
    assert placement_of(tmp_path, ON_KUBERNETES) == Placement(
        flavor="f",
        pool="p",
        gpus=2,
        gpus_milli=286,
        cpus=4,
        memory_bytes=32 * 2**30,
        shm_bytes=8 * 2**30,
        resource="nvidia.com/mig-1g.10gb",
        node_selector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "rack": ""},
        tolerations=(
            Toleration("nvidia.com/gpu", "Exists", "", "NoSchedule"),
            Toleration("owner", "Equal", "vision", "NoExecute", 60),
        ),
        runtime_class="nvidia",
    )


def test_capacity_counts_slices_of_so_many_parts(tmp_path: Path) -> None:
    catalog = load_catalog(settings_in(tmp_path, ON_KUBERNETES, "kubernetes"))
    assert (catalog.pools["p"].capacity, catalog.pools["p"].devices) == (14 * 1000, ())
    assert (catalog.flavors["f"].parts, catalog.flavors["f"].device_count) == (2 * 1000, 2)


def test_a_pool_without_a_table_has_whole_gpus_anywhere_and_half_of_the_memory_shared(tmp_path: Path) -> None:
    placement = placement_of(tmp_path, POOL.replace('devices = ["a", "b"]', "capacity = 2") + FLAVOR)
    assert placement == Placement("f", "p", 1, 1000, 1, 2**30, 2**29, "nvidia.com/gpu")
    assert placement.devices == 1


def test_simulated_gpus_are_asked_of_no_cluster_unless_it_offers_them(tmp_path: Path) -> None:
    pool = POOL.replace('devices = ["a", "b"]', "capacity = 2\nsimulated = true")
    assert placement_of(tmp_path, pool + FLAVOR).devices == 0
    offered = '[pools.kubernetes]\nresource = "nvidia.com/gpu"\n'
    assert placement_of(tmp_path, pool + offered + FLAVOR).devices == 1


def test_devices_can_not_be_named_on_kubernetes(tmp_path: Path) -> None:
    assert load_catalog(settings_in(tmp_path, POOL + FLAVOR)).pools["p"].capacity == 2 * PARTS_PER_GPU
    for load in (load_catalog, load_placements):
        with pytest.raises(SettingsError, match=r"pools\.p: on Kubernetes .* Give capacity, not devices\."):
            load(settings_in(tmp_path, POOL + FLAVOR, "kubernetes"))


@pytest.mark.parametrize(
    "resource", ["nvidia.com/mig-7g.80gb", "nvidia.com/gpu", "amd.com/gpu", "nvidia.com/gpu.shared"]
)
def test_what_is_no_slice_is_a_whole_gpu(tmp_path: Path, resource: str) -> None:
    toml = ON_KUBERNETES.replace("parts = 1000\n", "").replace("nvidia.com/mig-1g.10gb", resource)
    assert placement_of(tmp_path, toml).gpus_milli == 2000


def test_the_default_quota_is_a_valid_one(tmp_path: Path) -> None:
    quota = default_quota(settings_in(tmp_path, 'time_zone = "Europe/Berlin"\ndefault_gpus = "none"\n'))
    assert check_quota(quota, frozenset()) == quota
    assert quota.time_zone == "Europe/Berlin"
    assert {limit.what for limit in quota.limits} == {What.GPU_SECONDS, What.LEASES, What.LEASE_SECONDS}
