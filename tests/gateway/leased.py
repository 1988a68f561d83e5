"""A platform whose models' servers are leases of the admin's account on simulated GPUs, and looking at those."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from sublet_hub.catalog import STARTER_MODELS, starter_toml
from sublet_hub.cluster.gpus import simulated
from sublet_hub.models_store import Store
from sublet_hub.run.models import _fill
from tests.fixtures.platform import ROOT, Platform
from tests.fixtures.site import wait_until

FLAVOR = "simulated-gpu-1x"
IDLE_SECONDS = 25
SETTINGS = f'model_account = "user:admin"\nmodel_idle_seconds = {IDLE_SECONDS}\n'
SCRIPTS = ("chat.py", "classify.py")


def prepare(folder: Path, made: Path) -> Platform:
    """A platform in a new folder, with the models that it begins with, on GPUs; `made` is what setup has made."""
    platform = Platform(folder)
    platform.data.mkdir(mode=0o711)
    platform.data.chmod(0o711)
    (platform.data / "sublet.toml").write_text(SETTINGS + starter_toml(simulated(4)))
    store = Store(platform.data / "models")
    store.prepare()
    _fill(store, made)
    models = STARTER_MODELS.read_text()
    for start in ("fasttext", "transformers"):
        assert f'start = "{start}" }}' in models
        models = models.replace(f'start = "{start}" }}', f'start = "{start}", flavor = "{FLAVOR}" }}')
    (platform.data / "models.toml").write_text(models)
    return platform


def leases(platform: Platform, model: str, *states: str) -> list[dict[str, Any]]:
    """Leases of a model's servers in these states (any: none named), as the command shows them, newest first."""
    command = [sys.executable, "-m", "sublet_hub.cli", "leases", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=platform.environment, capture_output=True, text=True, timeout=120, check=True
    )
    return [
        lease
        for lease in json.loads(done.stdout)
        if lease["server_name"].startswith(f"model:{model}-") and (not states or lease["state"] in states)
    ]


def lease_of(platform: Platform, model: str) -> dict[str, Any]:
    """The one that runs, or comes to, in a moment."""
    wait_until(lambda: leases(platform, model, "active"), 60, f"a server of {model} is an active lease")
    (found,) = leases(platform, model, "active")
    return found


def processes(platform: Platform) -> list[psutil.Process]:
    """All of the models' servers, their first processes apart, and not the parents."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        line = " ".join(each.info["cmdline"] or [])
        is_server = str(platform.data) in line and any(script in line for script in SCRIPTS)
        if is_server and "supervisor" not in line:
            found.append(each)
    return found


def process_of(platform: Platform, model: str) -> psutil.Process:
    (found,) = [each for each in processes(platform) if f"/{model}/" in " ".join(each.cmdline())]
    return found


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def seen_end(process: psutil.Process, seconds: float) -> tuple[float, float]:
    """Between which moments a process has ended."""
    deadline = time.monotonic() + seconds
    last = time.time()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        last = time.time()
        assert time.monotonic() < deadline, f"process {process.pid} has not ended in {seconds} s"
        time.sleep(0.02)
    return last, time.time()


def limit(platform: Platform, **limits: int) -> None:
    """Set the quota of the account that pays for the servers."""
    said = [{"what": what, "limit": most, "window": None, "flavor": None} for what, most in limits.items()]
    with platform.admin() as admin:
        quota = {"limits": said, "time_zone": "UTC"}
        admin.put("/hub/api/quotas/users/admin", json=quota).raise_for_status()


def stop(platform: Platform, lease_id: str, **how: object) -> Mapping[str, Any]:
    """As the admin page does it."""
    with platform.admin() as admin:
        answer = admin.post(f"/services/sublet/api/leases/{lease_id}/stop", json=how)
        found: Mapping[str, Any] = answer.raise_for_status().json()
        return found


def classify(client: httpx.Client) -> httpx.Response:
    said = {"model": "fasttext-lid-176", "input": "Wo ist hier der Bahnhof, bitte?"}
    return client.post("/services/models/v1/classify", json=said, timeout=180)
