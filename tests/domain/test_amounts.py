"""Amounts: exact for slices of GPUs, and money that adds up whatever the slices' lengths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.amounts import (
    LARGEST_LIMIT,
    PARTS_PER_GPU,
    Amount,
    GpuParts,
    GpuTime,
    Micros,
    cost,
    from_gpu_seconds,
    gpu_seconds,
    gpu_time,
    gpus_milli,
)
from sublet_hub.domain.quota import RAW_PER_UNIT


def test_seven_sevenths_are_one_gpu() -> None:
    assert 7 * gpu_time(GpuParts(1000), 3_600_000) == gpu_time(GpuParts(PARTS_PER_GPU), 3_600_000)


def test_a_gpu_hour_costs_its_price() -> None:
    assert cost(GpuParts(PARTS_PER_GPU), 3_600_000, Micros(2_340_000)) == 2_340_000


def test_shares_show_in_milli_gpus() -> None:
    assert [gpus_milli(GpuParts(parts)) for parts in (0, 1000, 3000, 7000, 14000)] == [0, 143, 429, 1000, 2000]


def test_gpu_seconds_round_half_up() -> None:
    assert gpu_seconds(GpuTime(7_000_000)) == 1
    assert gpu_seconds(GpuTime(10_499_999)) == 1
    assert gpu_seconds(GpuTime(10_500_000)) == 2
    assert gpu_seconds(from_gpu_seconds(36_000)) == 36_000


def test_the_largest_limit_fits_a_64_bit_integer_in_every_unit() -> None:
    assert LARGEST_LIMIT * max(RAW_PER_UNIT.values()) < 2**63


def test_nothing_is_negative_when_clamped() -> None:
    assert Amount(GpuTime(-1), Micros(2), -3).clamped() == Amount(GpuTime(0), Micros(2), 0)


@given(
    parts=st.integers(1, 8 * PARTS_PER_GPU),
    price=st.integers(0, 10**8),
    cuts=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
)
def test_slices_add_up_to_the_whole(parts: int, price: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts)]
    costs = [cost(GpuParts(parts), edge, Micros(price)) for edge in edges]
    slices = [after - before for before, after in pairwise(costs)]
    assert sum(slices) == cost(GpuParts(parts), edges[-1], Micros(price))
    assert all(slice_ >= 0 for slice_ in slices)
