"""A user's server with our two extensions, and the same without them, as in one environment and side by side.

Both are JupyterLab from the environment of users' servers. The one is a lease of a real api, which it follows; in the
other `sublet_server` is switched off and the JupyterLab extension isn't there, and nothing else differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sublet_hub.settings import Settings
from tests.bench.api_alone import api_process, change_default_quota, fill, hub_of_names
from tests.fixtures.platform import ROOT, free_port, wait_until

PROGRAM = ROOT / ".venv-notebook" / "bin" / "jupyter-lab"
EXTENSIONS = ROOT / ".venv-notebook" / "share" / "jupyter" / "labextensions"
START_SECONDS = 120.0
GPU_SECONDS = 1_000_000
OURS = "@sublet/lab"

QUIET = {
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}
"""JupyterLab's own questions to the world, which would only add noise."""


@dataclass(frozen=True)
class LabServer:
    """A running server. It asks for no token: it lives for some minutes, on a port of this machine alone."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)


@contextmanager
def platform_of(count: int) -> Iterator[tuple[Settings, list[dict[str, str]]]]:
    """An api with so many leases, and the environment of each lease's server."""
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as folder, hub_of_names() as hub_port:
        settings = Settings(data=Path(folder), port=free_port(), hub_port=hub_port)
        leases = fill(settings, count)
        with api_process(settings), httpx.Client(base_url=settings.api_url, timeout=60) as admin:
            change_default_quota(admin, GPU_SECONDS)
            yield settings, [_lease_environment(settings, number, lease) for number, lease in enumerate(leases)]


def _lease_environment(settings: Settings, number: int, lease_id: str) -> dict[str, str]:
    return {
        "SUBLET_API_URL": f"{settings.api_url}/services/sublet/api",
        "SUBLET_LEASE_ID": lease_id,
        "SUBLET_SIMULATED": "1",
        "JUPYTERHUB_API_TOKEN": f"user{number}",
        "CUDA_VISIBLE_DEVICES": "SIM-0",
    }


@contextmanager
def lab_server(lease: dict[str, str] | None) -> Iterator[LabServer]:
    """A server of that lease, or one without our extensions."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sub", ignore_cleanup_errors=True)))
        _configure(folder, ours=lease is not None)
        port = free_port()
        command = [
            str(PROGRAM), "--no-browser", "--allow-root", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder / 'home'}",
            "--LabApp.expose_app_in_browser=True",
        ]  # fmt: skip
        environment = {
            "PATH": f"{PROGRAM.parent}:{os.defpath}",
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "run"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            **(lease or {}),
        }
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, cwd=folder / "home", stdout=output, stderr=output)
        stack.callback(_end, process)
        server = LabServer(process, f"http://127.0.0.1:{port}", log)
        wait_until(lambda: _is_ready(server, ours=lease is not None), START_SECONDS, "JupyterLab's server answers")
        yield server


def _configure(folder: Path, *, ours: bool) -> None:
    for name in ("home", "config", "run", "labextensions"):
        (folder / name).mkdir(parents=True)
    for name, settings in QUIET.items():
        path = folder / "settings" / "@jupyterlab" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings), encoding="utf-8")
    if not ours:
        off = {
            "ServerApp": {"jpserver_extensions": {"sublet_server": False}},
            "LabServerApp": {"labextensions_path": [str(folder / "labextensions")]},
        }
        (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(off), encoding="utf-8")
        # JupyterLab loads an extension that is merely disabled, so we show it all others.
        for extension in EXTENSIONS.iterdir():
            if extension.name != OURS.partition("/")[0]:
                (folder / "labextensions" / extension.name).symlink_to(extension)


def _is_ready(server: LabServer, *, ours: bool) -> bool:
    """Whether it answers, and follows its lease or knows nothing of leases, as it should."""
    assert server.process.poll() is None, server.log.read_text(errors="replace")
    with server.client as client:
        try:
            if not client.get("/api/status").is_success:
                return False
        except httpx.TransportError:
            return False
        state = client.get("/sublet/state")
        assert state.status_code == (200 if ours else 404), state.text
        page = client.get("/lab").text
        assert (f'"name": "{OURS}"' in page) is ours, "the page names what it loads"
        return not ours or state.json()["lease"] is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
