"""What a server says of itself, minute by minute: how its GPUs and kernels were used. Counts only, and not trusted.

Nothing is metered or limited by it. It is shown to the user, and it can end a lease sooner where its pool has an idle
policy: by saying that it is idle, a server can only give up its own lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sublet_hub.domain.lease import Lease

MINUTE_MS = 60_000

SKEW_MS = 2 * MINUTE_MS
"""How far the clock of what runs the server may be off."""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU (or slice of one) over a minute. What the device doesn't tell is None: a MIG slice's utilisation."""

    device: str
    utilisation_percent: int | None
    memory_used_bytes: int
    memory_total_bytes: int

    @property
    def memory_percent(self) -> int | None:
        """Rounded up; None where the device doesn't say how much memory it has."""
        return -(-100 * self.memory_used_bytes // self.memory_total_bytes) if self.memory_total_bytes else None


@dataclass(frozen=True, slots=True)
class Activity:
    """One record: what was seen in the `seconds` up to `at_ms`. There is one a minute at most."""

    at_ms: int
    seconds: int
    gpus: tuple[GpuUse, ...]
    kernels: int
    kernels_busy: int

    @property
    def from_ms(self) -> int:
        return self.at_ms - self.seconds * 1000

    @property
    def minute_ms(self) -> int:
        """When the minute that the record is of began."""
        return minute_of(self.at_ms)

    @property
    def utilisation_percent(self) -> int | None:
        """Of the GPU that was used most; None where one isn't known, or none was seen."""
        return _most(gpu.utilisation_percent for gpu in self.gpus)

    @property
    def memory_percent(self) -> int | None:
        """Of the GPU whose memory was used most; None where one isn't known, or none was seen."""
        return _most(gpu.memory_percent for gpu in self.gpus)


def minute_of(at_ms: int) -> int:
    return at_ms - at_ms % MINUTE_MS


def _most(percents: Iterable[int | None]) -> int | None:
    most = None
    for percent in percents:
        if percent is None:
            return None
        most = percent if most is None else max(most, percent)
    return most


def is_within(lease: Lease, at_ms: int, now_ms: int) -> bool:
    """Whether the lease was held at that moment, give or take what a clock may be off."""
    begun_ms = lease.requested_at_ms if lease.started_at_ms is None else lease.started_at_ms
    over_ms = now_ms if lease.ended_at_ms is None else lease.ended_at_ms
    return begun_ms - SKEW_MS <= at_ms <= over_ms + SKEW_MS
