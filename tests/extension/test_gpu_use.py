"""How busy GPUs are while a cell runs: NVML's figures, or none."""

from __future__ import annotations

import ctypes
import threading
import time
from decimal import Decimal
from typing import Any

import pytest

from sublet import gpu_use
from sublet.cost import CellCost
from sublet.fields import moment
from sublet.gpu_use import GpuUse, sampled
from sublet.leases import Lease
from tests.extension.conftest import LEASE

OK, NOT_FOUND, NOT_SUPPORTED = 0, 6, 3


class Nvml:
    """In the place of the driver's library: GPUs by UUID, with what each says next; None where it doesn't tell."""

    def __init__(self, gpus: dict[str, list[int | None]]) -> None:
        self.gpus = gpus
        self.calls = 0
        self.opened = 0
        self.asked = threading.Event()

    def nvmlInit_v2(self) -> int:  # noqa: N802 — NVML's names, here and below
        self.opened += 1
        return OK

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.opened -= 1
        return OK

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: Any) -> int:  # noqa: N802
        device._obj.value = index.value + 1
        return OK if index.value < len(self.gpus) else NOT_FOUND

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, device: Any) -> int:  # noqa: N802
        if uuid.decode() not in self.gpus:
            return NOT_FOUND
        device._obj.value = list(self.gpus).index(uuid.decode()) + 1
        return OK

    def nvmlDeviceGetUtilizationRates(self, device: ctypes.c_void_p, rates: Any) -> int:  # noqa: N802
        said = list(self.gpus.values())[(device.value or 0) - 1]
        self.calls += 1
        if self.calls >= 4:
            self.asked.set()
        percent = said.pop(0) if said else None
        if percent is None:
            return NOT_SUPPORTED
        rates._obj.gpu = percent
        return OK


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_use, "SAMPLE_SECONDS", 0.01)


def use_of(monkeypatch: pytest.MonkeyPatch, nvml: Nvml, env: dict[str, str]) -> GpuUse:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: nvml)
    with sampled(env) as use:
        assert nvml.asked.wait(30)
    assert nvml.opened == 0
    return use


def test_the_mean_over_samples_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml({"GPU-a": [100, 90], "GPU-b": [10, 0], "GPU-others": [100] * 9})
    use = use_of(monkeypatch, nvml, {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"})
    assert (use.percent, use.gpus) == (50, 2)


@pytest.mark.parametrize("env", [{}, {"CUDA_VISIBLE_DEVICES": "0,1"}])
def test_gpus_by_number_and_all(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    use = use_of(monkeypatch, Nvml({"GPU-a": [20, 20], "GPU-b": [40, 40]}), env)
    assert (use.percent, use.gpus) == (30, 2)


def test_a_slice_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    use = use_of(monkeypatch, Nvml({"MIG-a": []}), {"CUDA_VISIBLE_DEVICES": "MIG-a"})
    assert (use.percent, use.gpus, use.percents) == (None, 0, [])


@pytest.mark.parametrize("visible", ["", "SIM-0", "GPU-of-another"])
def test_no_gpu_of_its_own_is_no_figure(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    nvml = Nvml({"GPU-a": [100] * 9})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: nvml)
    with sampled({"CUDA_VISIBLE_DEVICES": visible}) as use:
        pass
    assert (use.percent, nvml.calls, nvml.opened) == (None, 0, 0)


def test_no_driver_is_no_figure() -> None:
    with sampled({}, library="libof-nobody.so.1") as use:
        pass
    assert use.percent is None


@pytest.fixture
def lease() -> Lease:
    return Lease.from_json({**LEASE, "simulated": False}, moment("2026-11-23T08:00:00Z"))


def test_a_cost_with_utilisation(lease: Lease) -> None:
    cost = CellCost.of(lease, 72.5, GpuUse(gpus=2, percents=[80, 90]))
    assert cost.gpu_seconds == Decimal(145)
    assert cost.cost == Decimal("72.5") * Decimal("1.6") / 3600
    assert (cost.utilisation_percent, cost.currency) == (85, "USD")
    text = str(cost)
    assert "1 min 12 s" in text
    assert "2 GPU-min 25 s (2 GPUs)" in text
    assert "85 % of 2 GPUs, on average" in text
    assert "$0.03, at $1.60 per hour for 2 GPUs" in text


def test_a_cost_without_utilisation_says_so(lease: Lease) -> None:
    assert "not known: the cell was too short" in str(CellCost.of(lease, 0.1, GpuUse()))


def test_a_lease_without_a_gpu_costs_nothing() -> None:
    free = Lease.from_json({**LEASE, "gpus_milli": 0}, moment("2026-11-23T08:00:00Z"))
    cost = CellCost.of(free, 60, GpuUse())
    assert cost.gpu_seconds == cost.cost == 0
    assert "this lease has no GPU" in str(cost)
    assert "$0.00, at $0.00 per hour for no GPU" in str(cost)


@pytest.mark.gpu
def test_a_real_gpu_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ctypes.CDLL(gpu_use.LIBRARY)
    except OSError:
        pytest.skip("no NVIDIA driver")
    latest = time.monotonic() + 30
    with sampled({}) as use:
        while not use.percents and time.monotonic() < latest:
            time.sleep(0.05)
    assert use.percent is not None
    assert 0 <= use.percent <= 100
    assert use.gpus >= 1
