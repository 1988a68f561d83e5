"""What a server tells of itself, as JSON: counts only, no names and no content."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt, StrictStr

from sublet_hub.api.models.fields import PRINTABLE, Answer, GivenMoment, Moment, Request, ms_of
from sublet_hub.domain.activity import Activity, GpuUse

MOST_RECORDS = 120
MOST_GPUS = 64

Device = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=PRINTABLE)]
Percent = Annotated[StrictInt, Field(ge=0, le=100)]
Bytes = Annotated[StrictInt, Field(ge=0, le=2**53)]
Kernels = Annotated[StrictInt, Field(ge=0, le=100_000)]


class GpuRecord(Request):
    """One GPU in a minute."""

    device: Device
    utilisation_percent: Annotated[Percent | None, Field(description="Null where it isn't known, as of MIG slices.")]
    memory_used_bytes: Bytes
    memory_total_bytes: Annotated[Bytes, Field(description="0 where it isn't known.")]

    def to_domain(self) -> GpuUse:
        return GpuUse(self.device, self.utilisation_percent, self.memory_used_bytes, self.memory_total_bytes)


class ActivityRecord(Request):
    """One minute of a server."""

    at: Annotated[GivenMoment, Field(description="When the stretch ended that it is of.")]
    seconds: Annotated[StrictInt, Field(ge=1, le=120, description="How long the stretch was.")]
    gpus: Annotated[tuple[GpuRecord, ...], Field(max_length=MOST_GPUS)]
    kernels: Kernels
    kernels_busy: Kernels

    def to_domain(self) -> Activity:
        gpus = tuple(gpu.to_domain() for gpu in self.gpus)
        return Activity(ms_of(self.at), self.seconds, gpus, self.kernels, self.kernels_busy)


class ActivityReport(Request):
    """Some minutes, in any order. Of a minute (by the clock, in UTC) that was told already the first record stays."""

    records: Annotated[tuple[ActivityRecord, ...], Field(min_length=1, max_length=MOST_RECORDS)]


class GpuModel(Answer):
    """One GPU in a minute, as the server told."""

    device: str
    utilisation_percent: int | None
    memory_used_bytes: int
    memory_total_bytes: int


class ActivityModel(Answer):
    """One minute of a server, as it told."""

    at: Moment
    seconds: int
    gpus: list[GpuModel]
    kernels: int
    kernels_busy: int
