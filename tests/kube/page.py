"""A user's server in a pod; and a page that shows it, without a browser: it saves when it is asked to."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from tests.extension.server.jupyter import Browser
from tests.fixtures import cells
from tests.fixtures.site import Session

AUTOSAVE = "lab/api/settings/@jupyterlab/docmanager-extension:plugin"

T = TypeVar("T")


class PodServer:
    """A server that answers, and its user's requests to it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.client = httpx.Client(
            base_url=f"{str(session.client.base_url).rstrip('/')}/user/{session.user}/",
            headers=session.client.headers,
            timeout=60,
            trust_env=False,
        )

    def state(self) -> dict[str, Any]:
        """What its extension knows of the lease."""
        document: dict[str, Any] = self.client.get("sublet/state").raise_for_status().json()
        return document

    def read(self, name: str) -> str | None:
        """A file of the home, as text; None where there is none."""
        found = self.client.get(f"api/contents/{name}", params={"type": "file", "format": "text"})
        return str(found.json()["content"]) if found.is_success else None

    def write(self, name: str, text: str) -> None:
        body = {"type": "file", "format": "text", "content": text}
        self.client.put(f"api/contents/{name}", json=body).raise_for_status()

    def turn_off_autosave(self) -> None:
        """Else JupyterLab saves of itself, every ten seconds."""
        self.client.put(AUTOSAVE, json={"raw": json.dumps({"autosave": False})}).raise_for_status()

    def run(self, code: str) -> cells.Cell:
        """Run a cell in a new kernel."""
        kernel = cells.start_kernel(self.session)
        return aside(lambda: cells.run_cell(self.session, kernel, code))


class Page(Browser):
    """Has one document open, with changes."""

    def __init__(self, server: PodServer, name: str, edited: str) -> None:
        super().__init__(server)
        self._server_of_page, self._name, self._edited = server, name, edited
        self.on_save = self._save

    def _save(self, asked: dict[str, Any]) -> None:
        self._server_of_page.write(self._name, self._edited)
        body = {"id": asked["id"], "saved": 1, "failed": 0}
        self._server_of_page.client.post("sublet/saved", json=body).raise_for_status()


def aside(work: Callable[[], T]) -> T:
    """Do it in a thread: in this one Playwright may have a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
