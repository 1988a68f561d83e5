"""GPU discovery, through the real NVML bindings onto a small NVML of our own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sublet_hub.cluster import gpus
from tests.cluster.conftest import compile_library

NVML = """
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

/* Two GPUs: 0 is whole (and of a model without MIG), 1 is cut into 3/7 and 1/7 with an empty slot between.
   A MIG slice's handle is 100 + its slot. The NVML_FAKE environment variable makes a call fail. */
static int failing(const char *call) {
    const char *wanted = getenv("NVML_FAKE");
    size_t length = strlen(call);
    return wanted && !strncmp(wanted, call, length) && wanted[length] == '=' ? atoi(wanted + length + 1) : 0;
}
typedef long handle;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned other[6], gpu_slices, compute_slices; unsigned long long megabytes; } attributes;

int nvmlInitWithFlags(unsigned flags) { return failing("init"); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int error) { return "as asked"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return failing("count"); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *out) { *out = index + 1; return 0; }
int nvmlDeviceGetMinorNumber(handle gpu, unsigned *minor) { *minor = gpu - 1; return failing("minor"); }
int nvmlDeviceGetUUID(handle gpu, char *out, unsigned size) {
    return snprintf(out, size, gpu >= 100 ? "MIG-%ld" : "GPU-%ld", gpu) < 0;
}
int nvmlDeviceGetName(handle gpu, char *out, unsigned size) {
    return snprintf(out, size, gpu >= 100 ? "Fake X MIG" : "Fake X") < 0;
}
int nvmlDeviceGetMemoryInfo(handle gpu, memory *out) { out->total = 80ull << 30; return 0; }
int nvmlDeviceGetMigMode(handle gpu, unsigned *current, unsigned *pending) {
    *current = *pending = gpu == 2;
    return gpu == 1 ? 3 /* not supported */ : 0;
}
int nvmlDeviceGetMaxMigDeviceCount(handle gpu, unsigned *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(handle gpu, unsigned slot, handle *out) {
    *out = 100 + slot;
    return slot == 0 || slot == 2 ? failing("slice") : 6 /* not found */;
}
int nvmlDeviceGetAttributes_v2(handle gpu, attributes *out) {
    memset(out, 0, sizeof *out);
    out->compute_slices = gpu == 100 ? 3 : 1;
    out->gpu_slices = 3;
    out->megabytes = gpu == 100 ? 40000 : 10000;
    return 0;
}
"""
SHOW = """
import dataclasses, json
from sublet_hub.cluster import gpus
try:
    print(json.dumps([dataclasses.asdict(device) for device in gpus.discover()]))
except gpus.GpuDiscoveryError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small NVML."""
    return compile_library(tmp_path_factory.mktemp("nvml"), "libnvidia-ml.so.1", NVML).parent


def discovered(nvml: Path, fault: str = "") -> object:
    """What a process finds that loads this NVML."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml), "NVML_FAKE": fault}
    found = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


def test_whole_gpus_and_mig_slices_are_found(nvml: Path) -> None:
    whole = {"uuid": "GPU-1", "model": "Fake X", "parts": 7000, "memory_bytes": 80 << 30, "node": "/dev/nvidia0"}
    slices = {"model": "Fake X MIG", "node": "/dev/nvidia1"}
    assert discovered(nvml) == [
        {**whole, "simulated": False},
        {**slices, "uuid": "MIG-100", "parts": 3000, "memory_bytes": 40000 << 20, "simulated": False},
        {**slices, "uuid": "MIG-102", "parts": 1000, "memory_bytes": 10000 << 20, "simulated": False},
    ]


def test_a_driver_that_does_not_say_which_file_a_gpu_is(nvml: Path) -> None:
    found = discovered(nvml, "minor=3")
    assert isinstance(found, list)
    assert [device["node"] for device in found] == [None, None, None]


def test_no_driver_is_no_gpus(nvml: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    assert discovered(nvml, "init=9") == []  # driver not loaded
    assert discovered(nvml / "elsewhere") == []


@pytest.mark.parametrize("fault", ["init=4", "init=18", "count=15", "minor=999", "slice=15"])
def test_a_driver_that_fails_is_an_error(nvml: Path, fault: str) -> None:
    found = discovered(nvml, fault)
    assert isinstance(found, str)
    assert "NVIDIA driver" in found


@pytest.mark.gpu
def test_the_gpus_of_this_machine() -> None:
    devices = gpus.discover()
    if not devices:
        pytest.skip("needs an NVIDIA GPU")
    assert len({device.uuid for device in devices}) == len(devices)
    for device in devices:
        assert device.uuid.startswith(("GPU-", "MIG-"))
        assert 0 < device.parts <= gpus.PARTS_PER_GPU
        assert device.memory_bytes > 0
        assert not device.simulated


def test_simulated_gpus_say_so() -> None:
    devices = gpus.simulated(2)
    assert [device.uuid for device in devices] == ["SIM-0", "SIM-1"]
    assert all(device.simulated and "Simulated" in device.model and device.parts == 7000 for device in devices)
