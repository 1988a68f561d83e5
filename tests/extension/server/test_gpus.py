"""GPU use through the real NVML bindings onto a small NVML of our own, and whose processes are on a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sublet_server.gpus import GpuSample, NoGpusError, Nvml, Sampler
from tests.extension.server.conftest import Start
from tests.extension.server.jupyter import PYTHON
from tests.extension.server.stand_in import StandIn
from tests.fixtures.nvml import compile_nvml

SHOW = """
import dataclasses, json, sys
from sublet_server.gpus import NoGpusError, Nvml
try:
    print(json.dumps([dataclasses.asdict(each) for each in Nvml(sys.argv[1].split(",")).sample()]))
except NoGpusError as error:
    print(json.dumps(str(error)))
"""
WHOLE = {
    "device": "GPU-1", "utilisation_percent": 42, "memory_used_bytes": 3 << 30, "memory_total_bytes": 80 << 30,
    "processes": [{"pid": 11, "memory_used_bytes": 2 << 30}, {"pid": 12, "memory_used_bytes": None}],
}  # fmt: skip
SLICE = WHOLE | {
    "device": "MIG-100", "utilisation_percent": None, "memory_total_bytes": 10 << 30, "processes": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small NVML."""
    return compile_nvml(tmp_path_factory.mktemp("nvml")).parent


def sampled(nvml: Path, names: str, fault: str = "") -> object:
    """What a process finds that loads this NVML."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml), "NVML_FAKE": fault}
    command = [sys.executable, "-c", SHOW, names]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


def test_only_what_nvml_tells_is_told(nvml: Path) -> None:
    assert sampled(nvml, "GPU-1,MIG-100") == [WHOLE, SLICE]
    assert sampled(nvml, "MIG-100,GPU-of-another") == [SLICE]
    assert sampled(nvml, "0") == sampled(nvml, "all") == [WHOLE]
    assert sampled(nvml, "GPU-1", "memory=15") == []
    assert sampled(nvml, "GPU-1", "processes=999") == [WHOLE | {"processes": []}]


def test_no_driver_and_no_device_are_said_so(nvml: Path) -> None:
    assert str(sampled(nvml, "GPU-1", "init=9")).startswith("NVML: ")  # driver not loaded
    assert sampled(nvml, "GPU-of-another") == "NVML knows none of this lease's devices"


def test_sampling_goes_on_after_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[GpuSample, ...]] = []
    tries: Iterator[Exception | None] = iter([RuntimeError("the driver is away"), None])
    second = threading.Event()

    class Trouble:
        def __init__(self, names: object) -> None:
            pass

        def sample(self) -> tuple[GpuSample, ...]:
            trouble = next(tries)
            if trouble is not None:
                raise trouble
            second.set()
            return ()

    monkeypatch.setattr("sublet_server.gpus.Nvml", Trouble)
    monkeypatch.setattr("sublet_server.gpus.AFTER_TROUBLE_SECONDS", 0.01)
    said: list[str] = []
    log: Any = type("Log", (), {"exception": lambda self, text, *args: said.append(text)})()
    sampler = Sampler(["GPU-1"], 1000, heard.append, log)
    sampler.start()
    assert second.wait(30)
    sampler.end()
    sampler.join(30)
    assert not sampler.is_alive()
    assert heard == [()]
    assert said == ["Sublet: the GPUs were not sampled"]


def test_without_the_bindings_there_is_nothing_to_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoGpusError, match="not installed"):
        Nvml(["GPU-1"])


def test_a_server_shows_its_gpu(platform: StandIn, start: Start, nvml: Path, tmp_path: Path) -> None:
    bindings = find_spec("pynvml")
    assert bindings is not None
    assert bindings.origin is not None
    shutil.copy(bindings.origin, tmp_path)
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-1", "LD_LIBRARY_PATH": str(nvml), "PYTHONPATH": str(tmp_path)}
    server = start(environment)
    gpu = server.until(lambda state: state["gpu"])["gpu"]
    nobody = [{"kernel": None, "memory_used_bytes": each["memory_used_bytes"]} for each in PROCESSES]
    assert gpu == {"gpus": [WHOLE | {"processes": nobody}]}


PROCESSES: list[dict[str, Any]] = [{"memory_used_bytes": 2 << 30}, {"memory_used_bytes": None}]

OWNERS = """
import json, subprocess, sys, types
from sublet_server import kernels

with_gpu = set()
kernels._has_gpu_open = with_gpu.__contains__
script = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
kernel = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
grandchild = int(kernel.stdout.readline())
other = subprocess.Popen(["sleep", "60"])
try:
    running = types.SimpleNamespace(provisioner=types.SimpleNamespace(pid=kernel.pid))
    manager = types.SimpleNamespace(list_kernel_ids=lambda: ["k1", "gone"], get_kernel={"k1": running}.__getitem__)
    pids = [kernel.pid, grandchild, other.pid, 2**22 + 1]
    view = kernels.Kernels(manager, None)
    unseen = view.of_processes(set(pids))
    with_gpu |= set(pids)
    found = view.of_processes(set(pids))
    print(json.dumps([unseen, [found.get(pid) for pid in pids]]))
finally:
    for each in (kernel, other):
        each.kill()
    import os
    os.kill(grandchild, 9)
"""


def test_a_process_is_its_kernels_or_a_child_of_it_or_nobodys() -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    found = subprocess.run([PYTHON, "-c", OWNERS], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [{}, ["k1", "k1", None, None]]
