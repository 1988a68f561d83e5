"""A platform that has models whose servers are leases of the admin's account on simulated GPUs; looking at them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from sublet_hub.catalog import starter_toml
from sublet_hub.cluster.gpus import simulated
from sublet_hub.run.models import prepare_models
from sublet_hub.settings import load_settings
from tests.fixtures.platform import ROOT, Platform
from tests.fixtures.site import wait_until

FLAVOR = "simulated-gpu-1x"
IDLE_SECONDS = 25
SETTINGS = f'model_account = "user:admin"\nmodel_idle_seconds = {IDLE_SECONDS}\n'
FASTTEXT, TINY = "leased-fasttext", "leased-llama"
LEASED = {"fasttext-lid-176": FASTTEXT, "sublet-tiny-llama": TINY}


def prepare(folder: Path) -> Platform:
    """A platform in a new folder, with the models that it begins with, and each of them once more on GPUs."""
    platform = Platform(folder)
    platform.data.mkdir(mode=0o711)
    platform.data.chmod(0o711)
    (platform.data / "sublet.toml").write_text(SETTINGS + starter_toml(simulated(4)))
    prepare_models(load_settings({"SUBLET_DATA": str(platform.data)}))
    models = platform.data / "models.toml"
    _, *entries = models.read_text().split("[[models]]")
    for name, leased in LEASED.items():
        (entry,) = [each for each in entries if f'name = "{name}"' in each]
        assert " }]" in entry
        entry = entry.replace(f'name = "{name}"', f'name = "{leased}"').replace(" }]", f', flavor = "{FLAVOR}" }}]')
        models.write_text(f"{models.read_text()}\n[[models]]{entry}")
        there = platform.data / "models" / "open"
        shutil.copytree(there / name, there / leased)
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
    """The servers of the models that are leases, and not their parents."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        line = " ".join(each.info["cmdline"] or [])
        is_server = str(platform.data) in line and any(f"/{name}/" in line for name in LEASED.values())
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
    said = {"model": FASTTEXT, "input": "Wo ist hier der Bahnhof, bitte?"}
    return client.post("/services/models/v1/classify", json=said, timeout=180)
