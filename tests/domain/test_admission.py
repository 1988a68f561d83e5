"""Admission: the tightest limit binds and is named; the first hold is what it leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.admission import Draw, first_slice, lasts_ms
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND, GpuParts, GpuTime, Micros, cost, gpu_time
from sublet_hub.domain.errors import QuotaExceeded
from sublet_hub.domain.quota import LimitState, What
from tests.fixtures.factories import HOUR, NOW, state

ONE_GPU = Draw("gpu-1x", GpuParts(7000), Micros(2_000_000))
NO_GPU = Draw("cpu", GpuParts(0), Micros(0))


def first(draw: Draw, *states: LimitState) -> int:
    return first_slice(draw, states, 600_000, 10_000).hold_ms


def test_plenty_left_holds_the_usual_slice() -> None:
    assert first(ONE_GPU, state(What.GPU_SECONDS, 36_000), state(What.GPUS, 1)) == 600_000


def test_little_left_holds_just_that() -> None:
    assert first(ONE_GPU, state(What.GPU_SECONDS, 36_000, used=35_910 * GPU_TIME_PER_GPU_SECOND)) == 90_000


def test_what_others_hold_is_not_left() -> None:
    with pytest.raises(QuotaExceeded):
        first(ONE_GPU, state(What.GPU_SECONDS, 3600, held=3595 * GPU_TIME_PER_GPU_SECOND))


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (state(What.GPU_SECONDS, 3600, used=3600 * GPU_TIME_PER_GPU_SECOND), "3600 GPU-seconds per day"),
        (state(What.MONEY, 100, used=100), "100 micro-units of money per day"),
        (state(What.GPUS, 1, used=7000), "1 GPUs at once"),
        (state(What.LEASES, 1, used=1), "1 leases at once"),
        (state(What.LEASE_SECONDS, 5), "5 seconds"),
    ],
)
def test_a_refusal_names_the_limit(binding: LimitState, words: str) -> None:
    plenty = state(What.GPU_SECONDS, 10**6)
    with pytest.raises(QuotaExceeded, match=words) as refused:
        first(ONE_GPU, plenty, binding)
    assert refused.value.detail_fields["subject"] == "user:alice"
    limit = refused.value.detail_fields["limit"]
    assert isinstance(limit, dict)
    assert limit["what"] == binding.limit.what.value
    assert refused.value.retry_at_ms == (NOW + 24 * HOUR if binding.window else None)


def test_without_a_gpu_gpu_time_does_not_bind() -> None:
    assert first(NO_GPU, state(What.GPU_SECONDS, 0), state(What.MONEY, 0), state(What.GPUS, 0)) == 600_000
    with pytest.raises(QuotaExceeded):
        first(NO_GPU, state(What.LEASES, 0))


@given(
    parts=st.sampled_from([1000, 7000, 14000]),
    limit=st.integers(0, 10**6),
    used=st.integers(0, 10**6),
    price=st.integers(1, 10**8),
    money=st.booleans(),
)
def test_what_is_held_fits(parts: int, limit: int, used: int, price: int, money: bool) -> None:
    draw = Draw("gpu-1x", GpuParts(parts), Micros(price))
    if money:
        limited = state(What.MONEY, limit, used=used)
    else:
        limited = state(What.GPU_SECONDS, limit, used=used * GPU_TIME_PER_GPU_SECOND)
    lasts = lasts_ms(draw, limited)
    assert lasts is not None
    needed = cost(draw.parts, lasts, Micros(price)) if money else gpu_time(draw.parts, lasts)
    assert needed <= limited.left
    one_more = cost(draw.parts, lasts + 1, Micros(price)) if money else GpuTime(gpu_time(draw.parts, lasts + 1))
    assert one_more >= limited.left or one_more + 1 > limited.left
