"""What is kept of a cluster is found again, also where another version kept it."""

from __future__ import annotations

from dataclasses import asdict

from sublet_hub.dask.cluster_config import LeasedClusterConfig, part_in
from sublet_hub.dask.wishes import Part

PART = Part("gpu-1x", "surplus", "group:lab", 1, 4, 2**34, 2**36, simulated=True)


def test_a_part_is_found_again() -> None:
    assert part_in(LeasedClusterConfig(**asdict(PART)).to_dict()) == PART


def test_what_an_earlier_version_did_not_keep_is_not_known() -> None:
    kept = LeasedClusterConfig(**asdict(PART)).to_dict()
    del kept["gpu_memory_bytes"]
    assert part_in(kept).gpu_memory_bytes == 0
    assert part_in(kept).flavor == "gpu-1x"
