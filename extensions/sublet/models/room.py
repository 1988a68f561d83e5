"""Whether a model fits into the memory of the GPU (or of the lease), said before it is tried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sublet.asking import Surroundings
from sublet.errors import DoesNotFit, SubletError
from sublet.models.licences import asked
from sublet.models.store import StoredModel

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The memory that a container may use, in bytes, or `max`. Source: the kernel's cgroup-v2 document."""
GIB = 2**30


def check_room(model: StoredModel, device: str, torch: Any) -> None:
    """DoesNotFit where a device has less memory than the model needs, with the flavors that have enough."""
    there = _memory_of(device, torch)
    if there is None or model.memory_bytes <= there:
        return
    what = "This lease" if device == "cpu" else f"The GPU {device}"
    raise DoesNotFit(
        f"{model.name} needs {model.memory_bytes / GIB:.1f} GiB of memory. {what} has {there / GIB:.1f} GiB."
        f" {_elsewhere(model.name)}"
    )


def _memory_of(device: str, torch: Any) -> int | None:
    """Bytes in all, used or not; None where that can't be told."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device != "cpu":
        return None
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return None
    return int(limit) if limit.isdecimal() else None


def _elsewhere(name: str) -> str:
    try:
        flavors = asked(Surroundings.of(os.environ), name)["flavors"]
    except (SubletError, LookupError, TypeError):
        return "Take a flavor with more memory."
    if not flavors:
        return "No flavor here has so much; call it by its name at OPENAI_BASE_URL, if it is served."
    return f"It fits into {' or '.join(flavors)}."
