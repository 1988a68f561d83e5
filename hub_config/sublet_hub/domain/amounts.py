"""The amounts that quotas, leases and the ledger count, as integers in named types.

Every sum and product of an amount goes through here, so that units never mix and nothing is rounded by accident.

Units:
    share   parts of a GPU. 1 GPU = 7000 parts, so that a milli-GPU (7 parts) and a 1/7 MIG slice (1000 parts)
            are both whole numbers and seven slices add up to exactly one GPU.
    time    part-milliseconds: a share held for so many milliseconds.
    money   micro-units of the platform's one currency (1,000,000 = 1 USD where the currency is USD).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

PARTS_PER_GPU = 7000
PARTS_PER_MILLI_GPU = 7
MS_PER_SECOND = 1000
MS_PER_HOUR = 3_600_000
GPU_TIME_PER_GPU_SECOND = PARTS_PER_GPU * MS_PER_SECOND

LARGEST_LIMIT = 10**12
"""The largest number a limit may have, in the base unit of its kind: 31,700 GPU-years, or a million USD.

It keeps every product and sum of amounts inside a signed 64-bit integer, the widest that the databases store.
"""

GpuParts = NewType("GpuParts", int)
"""A share of GPUs, in parts: 7000 is one GPU."""

GpuTime = NewType("GpuTime", int)
"""GPU time in part-milliseconds: 7,000,000 is one GPU-second."""

Micros = NewType("Micros", int)
"""Money in micro-units of the platform's currency."""

Ms = NewType("Ms", int)
"""A moment (milliseconds since the epoch, UTC) or a length of time (milliseconds)."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a lease uses or a hold reserves: GPU time, money and model tokens together.

    Entries of the ledger, holds and balances are all amounts, so they are added and compared in one place.
    """

    gpu_time: GpuTime = GpuTime(0)
    money: Micros = Micros(0)
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            GpuTime(self.gpu_time + other.gpu_time),
            Micros(self.money + other.money),
            self.tokens + other.tokens,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            GpuTime(self.gpu_time - other.gpu_time),
            Micros(self.money - other.money),
            self.tokens - other.tokens,
        )

    def __neg__(self) -> Amount:
        return ZERO - self

    def clamped(self) -> Amount:
        """The same amount with nothing below zero."""
        return Amount(GpuTime(max(0, self.gpu_time)), Micros(max(0, self.money)), max(0, self.tokens))


ZERO = Amount()


def gpu_time(parts: GpuParts, duration_ms: int) -> GpuTime:
    """GPU time of a share held for so many milliseconds."""
    return GpuTime(parts * duration_ms)


def gpu_seconds(time: GpuTime) -> int:
    """Whole GPU-seconds for an API or a page, rounded half up."""
    return (2 * time + GPU_TIME_PER_GPU_SECOND) // (2 * GPU_TIME_PER_GPU_SECOND)


def from_gpu_seconds(seconds: int) -> GpuTime:
    return GpuTime(seconds * GPU_TIME_PER_GPU_SECOND)


def gpus_milli(parts: GpuParts) -> int:
    """Milli-GPUs for an API, rounded half up: a 1/7 slice shows as 143."""
    return (2 * parts + PARTS_PER_MILLI_GPU) // (2 * PARTS_PER_MILLI_GPU)


def cost(parts: GpuParts, duration_ms: int, price_micros_per_gpu_hour: Micros) -> Micros:
    """Price of a share held for a time, rounded down to a micro-unit.

    Charge a lease by the difference of two costs since its start, never by a sum of costs of slices: then the
    rounding is made once, and the slices add up to the whole whatever their lengths.
    """
    return Micros(parts * duration_ms * price_micros_per_gpu_hour // (PARTS_PER_GPU * MS_PER_HOUR))
