"""A real JupyterLab with our extension in it, a server that tells it what the test says, and a real browser."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.lab import documents
from tests.fixtures.browser import Contexts

expect.set_options(timeout=30_000)

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
ENVIRONMENT = Path(os.environ.get("LAB_TEST_ENVIRONMENT", ROOT / ".venv-notebook"))
"""Where JupyterLab and Notebook are."""

APPS = ("lab", "notebook")
PICTURES = os.environ.get("LAB_TEST_PICTURES")
"""A folder for screenshots, such as docs/images."""

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "one",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": "import torch\n\nmodel = torch.nn.Linear(4096, 4096)\n"
            "optimizer = torch.optim.AdamW(model.parameters())\n\n"
            "for step in range(100_000):\n    train(model, optimizer, step)",
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
SETTINGS = {
    "docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
}


class Lab:
    """A running server: what it tells is set here, and what it was asked is read here."""

    def __init__(self, url: str, token: str, home: Path) -> None:
        self.url = url
        self.token = token
        self.home = home
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"token {token}"}, timeout=10)

    def tell(self, state: documents.Document) -> None:
        self._script("state", state)

    def ask_to_save(self, seconds: float) -> None:
        self._script("save", {"id": "save-1", "until": documents.moment(seconds), "why": "It stops."})

    def answer(self, path: str, status: int, body: Any) -> None:
        self._script("answer", {"path": path, "status": status, "body": body})

    def hang_up(self, refuse: bool) -> None:
        self._script("hang-up", {"refuse": refuse})

    def asked(self, path: str) -> list[Any]:
        """The bodies of all requests to this route since the test began."""
        return [body for name, body in self._log()["log"] if name == path]

    def wait_asked(self, path: str, times: int = 1) -> list[Any]:
        wait_for(lambda: len(self.asked(path)) >= times, f"{times} requests of {path}")
        return self.asked(path)

    @property
    def streams(self) -> int:
        return int(self._log()["streams"])

    def reset(self) -> None:
        self.hang_up(refuse=False)
        self._script("forget", {})
        self.answer("quota", 200, documents.quota())
        self.answer("flavors", 200, documents.flavors())
        self.answer("models", 200, documents.models())
        for path in ("saved", "dismiss"):
            self.answer(path, 204, None)
        for path in ("stop", "keep"):
            self.answer(path, 200, documents.lease())
        for left in self.home.glob("Untitled*.ipynb"):
            left.unlink()
        (self.home / "train.ipynb").write_text(json.dumps(NOTEBOOK), encoding="utf-8")
        (self.home / "notes.md").write_text("train(model, optimizer, step)\n", encoding="utf-8")
        self.tell(documents.state())

    def saved_source(self) -> str:
        cells = json.loads((self.home / "train.ipynb").read_text(encoding="utf-8"))["cells"]
        return "".join("".join(cell["source"]) for cell in cells)

    def _script(self, what: str, body: Any) -> None:
        self.client.post(f"/sublet/script/{what}", json=body).raise_for_status()

    def _log(self) -> dict[str, Any]:
        answer = self.client.get("/sublet/script/log")
        answer.raise_for_status()
        log: dict[str, Any] = answer.json()
        return log


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module", params=APPS)
def app(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(app: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    program = ENVIRONMENT / "bin" / f"jupyter-{app}"
    if not program.exists():
        pytest.skip(f"no {program.name} in .venv-notebook: run `make setup`")
    folder = tmp_path_factory.mktemp(app)
    home, settings = folder / "home", folder / "settings"
    home.mkdir()
    for name, content in SETTINGS.items():
        path = settings / "@jupyterlab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    token = secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "jupyter_server_config.json").write_text(
        json.dumps(
            {
                "IdentityProvider": {"token": token},
                # so that a test can change the theme
                "LabApp": {"expose_app_in_browser": True},
                "JupyterNotebookApp": {"expose_app_in_browser": True},
                "ServerApp": {
                    "jpserver_extensions": {"sublet_server": False, "standin": True},
                    "root_dir": str(home),
                    "ip": "127.0.0.1",
                    "port": port,
                    "port_retries": 0,
                    "open_browser": False,
                    "allow_root": True,
                },
            }
        ),
        encoding="utf-8",
    )
    environment = {
        "HOME": str(folder),
        "JUPYTER_CONFIG_DIR": str(folder),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_PATH": str(ROOT / ".venv-notebook" / "share" / "jupyter"),
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program)], env=environment, cwd=home, stdout=log, stderr=log)
        lab = Lab(f"http://localhost:{port}", token, home)
        try:
            wait_for(lambda: process.poll() is not None or _answers(lab), "JupyterLab to answer", 90)
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            yield lab
        finally:
            lab.client.close()
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"the server doesn't end: {(folder / 'log').read_text(encoding='utf-8')[-4000:]}")


def _answers(lab: Lab) -> bool:
    try:
        return lab.client.get("/sublet/script/log").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def lab(server: Lab) -> Lab:
    server.reset()
    return server


@pytest.fixture
def context(contexts: Contexts) -> BrowserContext:
    return contexts(viewport={"width": 1280, "height": 800}, device_scale_factor=2 if PICTURES else 1)


OpenPage = Callable[..., Page]


@pytest.fixture
def open_notebook(app: str, lab: Lab, context: BrowserContext) -> OpenPage:
    """Opens the notebook, or another document, in a new tab, and waits until it is there."""

    def opened(name: str = "train.ipynb") -> Page:
        page = context.new_page()
        kind = "lab/tree" if app == "lab" else "notebooks" if name.endswith(".ipynb") else "edit"
        page.goto(f"{lab.url}/{kind}/{name}?token={lab.token}&reset")
        page.get_by_text("train(model, optimizer, step)").wait_for(timeout=90_000)
        page.locator(".sublet-Status-button").wait_for()
        return page

    return opened


@pytest.fixture
def picture(app: str) -> Callable[[Page, str], None]:
    """Takes a screenshot for the docs where that is asked for."""

    def take(page: Page, name: str) -> None:
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / f"{app}-{name}.png", animations="disabled")

    return take
