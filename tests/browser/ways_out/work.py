"""Somebody at work in JupyterLab: a notebook and a text file with edits that nobody has saved, and a kernel that
writes a checkpoint when it hears of the end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.fixtures.cells import start_server
from tests.fixtures.lab import in_lab
from tests.fixtures.platform import Platform, Session, wait_until

NOTEBOOK, NOTES = "train.ipynb", "notes.md"
STARTED_SECONDS = 180
CELL_MS = 120_000
ENDED_SECONDS = 60

CHECKPOINT = """\
import json, time, sublet

@sublet.on_notice
def checkpoint(notice):
    with open("checkpoint.jsonl", "a") as file:
        file.write(json.dumps({"ending": notice.ending, "reason": notice.reason}) + "\\n")
    if notice.ending:
        time.sleep(LASTS)
        open("checkpointed", "x").close()

print("listening")"""

NO_AUTOSAVE = json.dumps({"autosave": False})

NOTE_ALERTS = """
window.alertsSeen = [];
new MutationObserver(() => {
  for (const alert of document.querySelectorAll("[role=alert]"))
    if (!window.alertsSeen.includes(alert.innerText)) window.alertsSeen.push(alert.innerText);
}).observe(document, { childList: true, subtree: true, characterData: true });
"""
"""Notes what is put before the user's eyes, whoever looks and when: a page outlives its server."""


class Work:
    """Begun on construction. `user` is new on the platform."""

    def __init__(self, platform: Platform, context: BrowserContext, user: str, callback_seconds: float = 0.5) -> None:
        self.platform = platform
        self.user = user
        self.session: Session = platform.sign_in(user)
        self._context = context
        self._start_server()
        self._put_documents(CHECKPOINT.replace("LASTS", str(callback_seconds)))
        self.page = self._open_lab(f"/lab/tree/{NOTEBOOK}")
        self._run_cell()
        self.page.get_by_role("listitem", name=re.compile(f"^Name: {NOTES}")).dblclick()
        self._edit(self._text_editor(), f"the notes of {user}")
        self.page.get_by_role("tab", name=NOTEBOOK).click()
        self._edit(self._cell(1), f"# the edit of {user}")

    # ---------------------------------------------------------------- afterwards

    @property
    def home(self) -> Path:
        return self.platform.data / "homes" / self.user

    @property
    def lease(self) -> dict[str, Any]:
        """The lease in which the work was done."""
        return self.platform.leases(user=self.user)[-1]

    def wait_ended(self, seconds: float = ENDED_SECONDS) -> dict[str, Any]:
        """The lease, when it has ended."""
        wait_until(lambda: self.lease["state"] == "ended", seconds, f"the lease of {self.user} has ended")
        return self.lease

    def alerts(self) -> str:
        """All that was put before the user's eyes."""
        return "\n".join(self.page.evaluate("window.alertsSeen"))

    def checkpoints(self) -> list[dict[str, Any]]:
        """What the kernel's function was called for."""
        return [json.loads(line) for line in (self.home / "checkpoint.jsonl").read_text().splitlines()]

    def check_saved(self) -> None:
        """All edits are in the files."""
        cells = json.loads((self.home / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
        assert f"# the edit of {self.user}" in "".join(cells[1]["source"])
        assert f"the notes of {self.user}" in (self.home / NOTES).read_text(encoding="utf-8")

    def start_again(self) -> Page:
        """Another server, and JupyterLab as it comes: the same documents are open, with all edits."""
        self.page.close()
        wait_until(lambda: self.session.server() is None, ENDED_SECONDS, "the hub knows that the server is gone")
        self._start_server()
        page = self.page = self._open_lab("/lab")
        expect(page.get_by_role("tab", name=NOTES)).to_be_visible(timeout=CELL_MS)
        page.get_by_role("tab", name=NOTES).click()
        expect(self._text_editor()).to_contain_text(f"the notes of {self.user}", timeout=CELL_MS)
        page.get_by_role("tab", name=NOTEBOOK).click()
        expect(self._cell(1)).to_contain_text(f"# the edit of {self.user}", timeout=CELL_MS)
        return page

    # ---------------------------------------------------------------- within

    def _start_server(self) -> None:
        start_server(self.session, STARTED_SECONDS, flavor="one", tier="surplus")

    def _put_documents(self, code: str) -> None:
        def cell(name: str, source: str) -> dict[str, Any]:
            return {"cell_type": "code", "id": name, "metadata": {}, "execution_count": None, "outputs": [],
                    "source": source}  # fmt: skip

        notebook = {
            "cells": [cell("one", code), cell("two", "# to be edited")],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        base = f"/user/{self.user}"
        client = self.session.client
        settings = f"{base}/lab/api/settings/@jupyterlab/docmanager-extension:plugin"
        client.put(settings, json={"raw": NO_AUTOSAVE}).raise_for_status()
        for name, document in (
            (NOTEBOOK, {"type": "notebook", "format": "json", "content": notebook}),
            (NOTES, {"type": "file", "format": "text", "content": "Notes.\n"}),
        ):
            client.put(f"{base}/api/contents/{name}", json=document).raise_for_status()

    def _open_lab(self, path: str) -> Page:
        page = self._context.new_page()
        page.add_init_script(NOTE_ALERTS)
        page.goto(f"/user/{self.user}{path}")
        if page.get_by_label("Username").count():
            page.get_by_label("Username").fill(self.user)
            page.get_by_label("Password").fill(self.platform.credentials()["user_password"])
            page.get_by_role("button", name="Sign in").click()
        in_lab(page, STARTED_SECONDS)
        page.locator(".sublet-Status-button").wait_for(timeout=CELL_MS)
        return page

    def _run_cell(self) -> None:
        page = self.page
        wait_until(self._has_kernel, STARTED_SECONDS, f"the notebook of {self.user} has a kernel")
        idle = '.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]'
        page.locator(idle).wait_for(timeout=CELL_MS)
        output = page.locator(".jp-NotebookPanel .jp-OutputArea-output").first
        self._cell(0).click()
        page.keyboard.press("Shift+Enter")
        expect(output).to_contain_text("listening", timeout=CELL_MS)

    def _has_kernel(self) -> bool:
        """Before the page has one, running a cell asks which it is to be."""
        sessions = self.session.client.get(f"/user/{self.user}/api/sessions").raise_for_status().json()
        return any(
            each["kernel"]["connections"] > 0 and each["kernel"]["execution_state"] == "idle" for each in sessions
        )

    def _edit(self, editor: Any, text: str) -> None:
        editor.click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.insert_text(f"\n{text}")
        expect(editor).to_contain_text(text)

    def _cell(self, number: int) -> Any:
        return self.page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").nth(number)

    def _text_editor(self) -> Any:
        return self.page.locator(".jp-FileEditor .cm-content")
