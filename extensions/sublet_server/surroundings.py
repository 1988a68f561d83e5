"""What the platform told this server by its environment."""

from __future__ import annotations

from collections.abc import Mapping

from sublet.asking import Surroundings
from sublet.errors import NotInALease


def surroundings(env: Mapping[str, str]) -> Surroundings | None:
    """Where to ask, with which token, and which lease this is; None outside of a lease."""
    try:
        return Surroundings.of(env)
    except NotInALease:
        return None


def visible_devices(env: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the lease's devices: `CUDA_VISIBLE_DEVICES` on one machine, `NVIDIA_VISIBLE_DEVICES` in a pod.

    Simulated ones are left out: nobody can measure them. `all` stands for all that NVML shows.
    """
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        chosen = env.get("NVIDIA_VISIBLE_DEVICES", "")
    names = (name.strip() for name in chosen.split(","))
    return tuple(name for name in names if name and name not in {"void", "none"} and not name.startswith("SIM-"))
