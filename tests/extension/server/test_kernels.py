"""Which kernels are at work: by cells, not by what answers a notice."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from sublet_server.kernel_socket import KernelClient
from tests.extension.server.jupyter import PYTHON

WORK = """
import json, types
from datetime import UTC, datetime, timedelta
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from sublet_server.kernels import Kernels

begun = datetime.now(UTC)
kernel = ServerKernelManager(execution_state="idle", last_activity=begun - timedelta(hours=1))
manager = types.SimpleNamespace(list_kernel_ids=lambda: ["k"], get_kernel={"k": kernel}.__getitem__)
answers = set()
view = Kernels(manager, None, lambda name, moment: (name, moment) in answers)
found = {"at rest": sorted(view.busy(begun))}

def prints():
    kernel.last_activity = datetime.now(UTC)
    return "k", kernel.last_activity.timestamp()

answers.add(prints())
found["an answer"] = sorted(view.busy(begun))
prints()
found["a thread of the user's"] = sorted(view.busy(begun))
answers.add(prints())
found["an answer after it"] = sorted(view.busy(begun))
kernel.execution_state = "busy"
found["a cell"] = sorted(view.busy())
kernel.execution_state = "idle"
answers.add(prints())
found["a cell, then an answer"] = sorted(view.busy(begun))
found["an hour later"] = sorted(view.busy(begun + timedelta(hours=1)))
print(json.dumps(found))
"""


def test_what_a_callback_prints_is_no_work() -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    done = subprocess.run([PYTHON, "-c", WORK], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "at rest": [],
        "an answer": [],
        "a thread of the user's": ["k"],
        "an answer after it": [],
        "a cell": ["k"],
        "a cell, then an answer": ["k"],
        "an hour later": [],
    }


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


def test_when_callbacks_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    nobody: Any = None
    client = KernelClient(nobody)
    client.heed({"kernel": "k", "callbacks": 2})
    assert client.kernel == "k"
    assert not client.called_at(clock.now)
    for name in ("1", "2"):
        client.heed({"running": name})
        clock.now += 10
        assert client.called_at(clock.now)
        client.heed({"done": name, "seconds": 10, "error": None})
    assert [client.called_at(moment) for moment in (999, 1000, 1015, 1021, 1023)] == [False, True, True, True, False]
    clock.now += 100
    client.heed({"running": "3"})
    assert not client.called_at(1015)
    assert client.called_at(clock.now)
