"""`sublet.cluster()` on what a server holds: with real Dask and Dask-CUDA, and the GPUs of a small NVML."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sublet
from sublet.dask import own, share
from sublet.dask.devices import Gpu
from sublet.dask.share import GIB, Share, workers_bytes
from tests.extension.clusters.platform_says import says
from tests.extension.conftest import Platform
from tests.fixtures.nvml import compile_nvml
from tests.fixtures.platform import ROOT

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
SCRIPT = Path(__file__).with_name("own_cluster.py")
FAKE_RMM = """
asked = None
def reinitialize(**pool):
    global asked
    asked = pool["initial_pool_size"]
"""
DEVICES = """
import dataclasses, json, os
from sublet.dask.devices import gpus
print(json.dumps([dataclasses.astuple(each) for each in gpus(os.environ)]))
"""
H100 = Gpu("GPU-1", "Fake GPU", 80 * GIB)


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_nvml(tmp_path_factory.mktemp("nvml")).parent


def environment(**more: str) -> dict[str, str]:
    """Of a server outside the platform, with nothing of this process's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT / "extensions"), **more}


def run(*, settings: dict[str, Any] | None = None, **env: str) -> tuple[dict[str, Any], str]:
    """What the script found, and what was said in stderr."""
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    done = subprocess.run(
        [PYTHON, SCRIPT, json.dumps(settings or {})],
        env=environment(**env), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def kept_to_oneself(found: dict[str, Any]) -> bool:
    return not found["others get in"] and found["dashboard"] == 200 and set(found["guessed"]) == {404}


@pytest.mark.slow
def test_on_processors(nvml: Path) -> None:
    """On a machine with GPUs of which this lease has none."""
    found, said = run(
        settings={"n_workers": 2}, CUDA_VISIBLE_DEVICES="SIM-0", SUBLET_SIMULATED="1", CPU_LIMIT="2.0",
        MEM_LIMIT=str(4 * GIB), LD_LIBRARY_PATH=str(nvml),
    )  # fmt: skip
    assert found["class"] == "LocalCluster"
    assert found["computed"]
    assert [(each["memory"], each["threads"]) for each in found["workers"]] == [(3 * GIB // 2, 1)] * 2
    assert kept_to_oneself(found)
    assert (
        "The GPUs of this server are simulated, so this is a Dask cluster on its processors:"
        " 2 CPU workers with 1.5 GiB of memory each. It costs nothing beyond the lease.\n"
    ) in said


@pytest.mark.slow
def test_a_worker_on_each_gpu(nvml: Path, tmp_path: Path) -> None:
    """Dask-CUDA itself, with an RMM that only notes what it is asked for."""
    (tmp_path / "rmm.py").write_text(FAKE_RMM)
    found, said = run(
        CUDA_VISIBLE_DEVICES="GPU-2,MIG-100", MEM_LIMIT=str(8 * GIB), LD_LIBRARY_PATH=str(nvml),
        PYTHONPATH=f"{ROOT / 'extensions'}:{tmp_path}",
    )  # fmt: skip
    assert found["class"] == "LocalCUDACluster"
    assert found["computed"]
    assert [each["gpus"] for each in found["workers"]] == ["GPU-2,MIG-100", "MIG-100,GPU-2"]
    for each in found["workers"]:
        assert (each["data"], each["memory"]) == ("DeviceHostFile", 7 * GIB // 2)
        # Of the slice's 10 GiB; Dask-CUDA itself would take it for the whole GPU that it is cut from.
        assert (each["gpu_memory"], each["pool"]) == (8 * GIB, 5 * GIB)
    assert kept_to_oneself(found)
    assert "A Dask cluster on this server's 2 GPUs (Fake GPU and Fake slice): 2 GPU workers with 3.5 GiB" in said


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("GPU-2,MIG-100", [["GPU-2", "Fake GPU", 80 * GIB], ["MIG-100", "Fake slice", 10 * GIB]]),
        (" 1", [["1", "Fake GPU", 80 * GIB]]),
        (None, [["GPU-1", "Fake GPU", 80 * GIB], ["GPU-2", "Fake GPU", 80 * GIB]]),
        ("", []),
        ("SIM-0,SIM-1", []),
    ],
)
def test_the_gpus_of_a_server(nvml: Path, visible: str | None, expected: list[object]) -> None:
    named = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices(LD_LIBRARY_PATH=str(nvml), NVML_GPUS="2", **named) == expected


def test_a_machine_without_a_driver_has_no_gpus(nvml: Path) -> None:
    assert devices(LD_LIBRARY_PATH=str(nvml), NVML_FAKE="init=9") == []


def test_a_gpu_that_does_not_answer_is_no_reason_to_go_on_without(nvml: Path) -> None:
    done = ask_devices(LD_LIBRARY_PATH=str(nvml), CUDA_VISIBLE_DEVICES="GPU-of-another")
    assert "NotHere: The GPUs of this server don't answer" in done.stderr


def devices(**env: str) -> object:
    return json.loads(ask_devices(**env).stdout)


def ask_devices(**env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DEVICES]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=60, check=False)


def test_spilling_and_the_pool_are_of_the_smallest_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "rmm")
    found = [H100, Gpu("MIG-1", "Fake slice", 10_000_000_001)]
    settings = own.cuda_settings(found, Share(8, 60 * GIB), {})
    assert settings == {
        "CUDA_VISIBLE_DEVICES": ["GPU-1", "MIG-1"],
        "memory_limit": 30 * GIB,
        "device_memory_limit": 8_000_000_000,
        "rmm_pool_size": 5_000_000_000 - 5_000_000_000 % 256,
    }


def test_a_chip_without_memory_of_its_own_spills_nothing_from_it() -> None:
    settings = own.cuda_settings([Gpu("GPU-1", "Chip", None)], Share(8, GIB), {})
    assert settings["device_memory_limit"] is None
    assert "rmm_pool_size" not in settings


@pytest.mark.parametrize(
    ("installed", "gpus", "env", "ucx"),
    [
        (True, 2, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        (True, 1, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        (False, 2, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        (True, 2, {}, False),
    ],
)
def test_ucx_is_taken_where_nobody_else_is_in_the_network(
    monkeypatch: pytest.MonkeyPatch, installed: bool, gpus: int, env: dict[str, str], ucx: bool
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed and name == "distributed_ucxx")
    settings = {**own.guarded(env), **own.cuda_settings([H100] * gpus, Share(8, GIB), env)}
    assert (settings.get("protocol"), settings["security"]) == (("ucx", None) if ucx else (None, True))


@pytest.mark.parametrize(
    ("there", "left"), [(2 * GIB, GIB * 3 // 2), (4 * GIB, 3 * GIB), (64 * GIB, 64 * GIB - 64 * GIB // 10)]
)
def test_memory_stays_for_the_notebook_itself(there: int, left: int) -> None:
    assert workers_bytes(there) == left


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen processors and 64 GiB, as Dask tells them."""
    for name, module in {
        "distributed.system": SimpleNamespace(MEMORY_LIMIT=64 * GIB),
        "dask.system": SimpleNamespace(CPU_COUNT=16),
        "distributed.deploy.utils": SimpleNamespace(nprocesses_nthreads=lambda cpus: (cpus // 2, 2)),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("machine")
def test_the_least_of_machine_jupyterhub_and_flavor(platform: Platform) -> None:
    assert share.share({}) == Share(16, workers_bytes(64 * GIB))
    assert share.share({"CPU_LIMIT": "3.5", "MEM_LIMIT": str(GIB)}) == Share(3, workers_bytes(GIB))
    says(platform, cpus=8, memory_bytes=32 * GIB)
    assert share.share() == Share(8, workers_bytes(32 * GIB))
    platform.status = 503  # it is away: what the machine says is enough to go on
    platform.answers = {}
    assert share.share() == Share(16, workers_bytes(64 * GIB))


@pytest.mark.usefixtures("machine")
def test_as_many_workers_as_memory_allows() -> None:
    assert Share(8, 60 * GIB).cpu_workers() == (4, 2)
    assert Share(8, 2 * GIB + 1).cpu_workers() == (2, 4)
    assert Share(8, GIB // 2).cpu_workers() == (1, 8)
    assert own.cpu_settings(Share(8, 60 * GIB), {"n_workers": 3})["threads_per_worker"] == 2


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(sublet.NotHere, match=r"Dask clusters need dask: .* -m pip install dask"):
        sublet.cluster()


def test_the_dashboard_goes_through_the_server_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/train/"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jupyter_server_proxy")
    assert own.dashboard_link(env) == f"/user/alice/train/proxy/absolute/{{port}}/{own.SECRET}/status"
    guarded = own.guarded(env)
    port = guarded["dashboard_address"].rpartition(":")[2]
    assert guarded["scheduler_kwargs"]["http_prefix"] == f"/user/alice/train/proxy/absolute/{port}/{own.SECRET}"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert own.dashboard_link(env) == f"http://127.0.0.1:{{port}}/{own.SECRET}/status"
