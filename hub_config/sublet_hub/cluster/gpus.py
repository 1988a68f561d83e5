"""The GPUs of this machine, through NVIDIA's management library (NVML); or simulated ones where there are none.

A driver that is there but fails is an error, never "no GPUs": leases would quietly move to the simulated pool.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS_PER_GPU = 7000
"""A whole GPU in parts, so that a seventh or a quarter (the smallest MIG slices) is a whole number of them."""
_DRIVER_NODE = Path("/dev/nvidiactl")
_SIMULATED_MEMORY_BYTES = 16 * 1024**3


class GpuDiscoveryError(Exception):
    """The GPU driver is installed but doesn't answer as it should. The message says what it said."""


@dataclass(frozen=True)
class Device:
    """What can be given to a lease: a GPU, or a MIG slice of one."""

    uuid: str
    """What `CUDA_VISIBLE_DEVICES` takes."""
    model: str
    parts: int
    """How much of a GPU it is, in seven-thousandths."""
    memory_bytes: int
    simulated: bool = False
    node: str | None = None
    """The device file of the GPU it is (in); None where the driver doesn't say."""


def simulated(count: int = 4) -> tuple[Device, ...]:
    """Devices for a machine without GPUs, plainly named so."""
    return tuple(
        Device(f"SIM-{index}", "Simulated GPU", PARTS_PER_GPU, _SIMULATED_MEMORY_BYTES, simulated=True)
        for index in range(count)
    )


def discover() -> tuple[Device, ...]:
    """List what this machine has, in the driver's order; empty without a driver or a GPU.

    Raises `GpuDiscoveryError` when the driver fails.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value in _absent(pynvml) and not _DRIVER_NODE.exists():
            return ()
        raise GpuDiscoveryError(f"the NVIDIA driver does not start: {error}") from error
    try:
        count = pynvml.nvmlDeviceGetCount()
        return tuple(device for index in range(count) for device in _devices(pynvml, index))
    except pynvml.NVMLError as error:
        raise GpuDiscoveryError(f"the NVIDIA driver does not say what GPUs there are: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def _absent(nvml: Any) -> frozenset[int]:
    """What NVML answers on a machine that simply has no GPU."""
    return frozenset({nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED})


def _devices(nvml: Any, index: int) -> Iterator[Device]:
    """List one GPU: itself, or its MIG slices when it is cut up (then it can't be used whole)."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    node = _node(nvml, handle)
    if not _is_cut_up(nvml, handle):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle).total
        yield Device(nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), PARTS_PER_GPU, memory, node=node)
        return
    slices = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)  # that the GPU has in all: seven, on some models four
    for slot in range(slices):
        slice_handle = _slice(nvml, handle, slot)
        if slice_handle is not None:
            yield _slice_device(nvml, slice_handle, slices, node)


def _slice_device(nvml: Any, handle: Any, slices: int, node: str | None) -> Device:
    """Describe a MIG device. Several may share the memory of a GPU instance; its compute is its own."""
    attributes = nvml.nvmlDeviceGetAttributes(handle)
    return Device(
        uuid=nvml.nvmlDeviceGetUUID(handle),
        model=nvml.nvmlDeviceGetName(handle),
        parts=PARTS_PER_GPU * attributes.computeInstanceSliceCount // slices,
        memory_bytes=attributes.memorySizeMB * 1024**2,
        node=node,
    )


def _is_cut_up(nvml: Any, handle: Any) -> bool:
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError_NotSupported:
        return False
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _slice(nvml: Any, handle: Any, slot: int) -> Any:
    """Get the MIG slice in a slot; None for an empty one."""
    try:
        return nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot)
    except nvml.NVMLError_NotFound:
        return None


def _node(nvml: Any, handle: Any) -> str | None:
    try:
        return f"/dev/nvidia{nvml.nvmlDeviceGetMinorNumber(handle)}"
    except nvml.NVMLError_NotSupported:
        return None
