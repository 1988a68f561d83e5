"""What the platform told this server by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

NEEDED = ("SUBLET_API_URL", "JUPYTERHUB_API_TOKEN", "SUBLET_LEASE_ID")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where to ask, with which token, and which lease this is."""

    api_url: str
    token: str = field(repr=False)
    lease_id: str

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Surroundings | None:
        """From environment variables; None outside of a lease."""
        values = [env.get(name, "") for name in NEEDED]
        if not all(values) or urlsplit(values[0]).scheme not in {"http", "https"}:
            return None
        return cls(values[0].rstrip("/"), values[1], values[2])


def visible_devices(env: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the lease's devices: `CUDA_VISIBLE_DEVICES` on one machine, `NVIDIA_VISIBLE_DEVICES` in a pod.

    Simulated ones are left out: nobody can measure them. `all` stands for all that NVML shows.
    """
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        chosen = env.get("NVIDIA_VISIBLE_DEVICES", "")
    names = (name.strip() for name in chosen.split(","))
    return tuple(name for name in names if name and name not in {"void", "none"} and not name.startswith("SIM-"))
