"""What a Dask cluster is made of, and how a refusal says what would fit."""

from __future__ import annotations

from typing import Any

import pytest

from sublet_hub.dask.commands import scheduler_arguments, worker_arguments
from sublet_hub.dask.wishes import NotOfferedError, Part, Room, part_of, room_for
from sublet_hub.hub.messages import Offer, Price, Problem, Prospect

GPU_MEMORY = 80 * 2**30
FULL = Problem(type="https://sublet.dev/problems/quota-exceeded", title="t", detail="The limit of 2 GPUs is reached.")
TAKEN = Problem(type="https://sublet.dev/problems/no-capacity", title="t", detail="All of pool gpu is leased.")


def offer(name: str = "gpu-1x", gpus: int = 1, price: int = 2, **prospect: Any) -> Offer:
    told = {"available": True, "lasts_seconds": None, "held_seconds": 600, **prospect}
    return Offer(
        flavor=name,
        title=name,
        gpu_model="",
        gpus_milli=1000 * gpus,
        gpus=gpus,
        cpus=4,
        memory_bytes=2**34,
        gpu_memory_bytes=GPU_MEMORY,
        simulated=False,
        currency="USD",
        free=None,
        tiers=(
            Price(tier="guaranteed", price_microunits_per_gpu_hour=price, price_microunits_per_hour=price * gpus),
        ),
        choices=(Prospect(account="user:alice", tier="guaranteed", **told),),
    )


def wished(*offers: Offer, **options: object) -> Part:
    return part_of(offers, options, "alice", ())


def test_what_is_left_open_is_chosen_as_for_a_server() -> None:
    dear, cheap = offer("gpu-1x", price=5), offer("small", price=1)
    assert wished(dear, cheap, flavor="", tier="", account="") == Part(
        "small", "guaranteed", "user:alice", 1, 4, 2**34, GPU_MEMORY, simulated=False
    )
    assert wished(dear, cheap, flavor="gpu-1x").flavor == "gpu-1x"


def test_a_worker_has_one_gpu_at_most() -> None:
    several = offer("gpu-2x", gpus=2)
    with pytest.raises(NotOfferedError, match="gpu-2x has 2"):
        wished(offer(), several, flavor="gpu-2x")
    assert wished(several, offer(price=9)).flavor == "gpu-1x"


def test_a_used_up_quota_refuses_a_cluster_and_a_full_pool_does_not() -> None:
    with pytest.raises(NotOfferedError, match="2 GPUs is reached"):
        wished(offer(available=False, problem=FULL))
    assert wished(offer(available=False, problem=TAKEN)).flavor == "gpu-1x"


@pytest.mark.parametrize(
    ("told", "room"),
    [
        ({"fits": None}, Room(None)),
        ({"fits": 3, "fits_problem": FULL}, Room(3, FULL.detail)),
        ({"available": False, "problem": TAKEN}, Room(0, TAKEN.detail)),
    ],
)
def test_there_is_room_as_far_as_the_api_says(told: dict[str, Any], room: Room) -> None:
    assert room_for([offer(**told)], wished(offer())) == room


def test_there_is_no_room_for_a_flavor_that_is_offered_no_more() -> None:
    assert room_for([offer("other")], wished(offer())).workers == 0


def test_a_refusal_names_the_limit_and_what_would_fit() -> None:
    assert Room(1, FULL.detail).refusal(4, 1) == (
        "4 more can't be had now. The limit of 2 GPUs is reached. 1 more worker (1 GPU) would fit."
    )
    assert Room(0, TAKEN.detail).refusal(4, 0).endswith("All of pool gpu is leased. 0 more workers would fit.")


@pytest.mark.parametrize(
    ("gpus", "of_gpu", "simulated", "command"),
    [
        (1, 10_000, False, "cuda worker --no-dashboard --device-memory-limit 8000"),
        (1, 0, False, "cuda worker --no-dashboard"),
        (1, 10_000, True, "worker --no-dashboard"),
        (0, 0, False, "worker --no-dashboard"),
    ],
)
def test_dask_cuda_runs_on_real_gpus_only(gpus: int, of_gpu: int, simulated: bool, command: str) -> None:
    part = Part("f", "guaranteed", "user:alice", gpus, 1, 2**30, of_gpu, simulated)
    assert " ".join(worker_arguments(["tls://x"], part)) == f"{command} tls://x"


def test_a_scheduler_has_our_preload_behind_the_gateways() -> None:
    arguments = scheduler_arguments(["--preload", "dask_gateway.scheduler_preload"])
    assert arguments.index("dask_gateway.scheduler_preload") < len(arguments) - 1
    assert arguments[-1].endswith("in_scheduler/preload.py")
