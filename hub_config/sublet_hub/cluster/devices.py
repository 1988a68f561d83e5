"""Which device files of GPUs a lease must not open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sublet_hub.cluster import gpus

DEVICES = Path("/dev")
SIMULATED_PREFIX = "SIM-"


def other_device_nodes(leased: Sequence[str]) -> tuple[Path, ...]:
    """The GPUs of this machine that none of the leased devices is (in).

    Raises gpus.GpuDiscoveryError where real devices are leased and the driver doesn't say which they are.
    """
    present = tuple(sorted(DEVICES.glob("nvidia[0-9]*")))
    real = {uuid for uuid in leased if not uuid.startswith(SIMULATED_PREFIX)}
    if not present or not real:
        return present
    kept = {device.node for device in gpus.discover() if device.uuid in real}
    return tuple(path for path in present if str(path) not in kept)
