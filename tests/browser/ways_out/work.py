"""Somebody at work in JupyterLab: a notebook and a text file with edits that nobody has saved, and a kernel that
writes a checkpoint when it hears of the end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.fixtures.cells import start_server
from tests.fixtures.lab import in_lab
from tests.fixtures.platform import Platform, Session, wait_until

NOTEBOOK, NOTES = "train.ipynb", "notes.md"
STARTED_SECONDS = 180
ENDED_SECONDS = 60
SHOWN_MS = 120_000

CHECKPOINT = """\
import json, os, pathlib, time, sublet

@sublet.on_notice
def checkpoint(notice):
    with open("heard.jsonl", "a") as file:
        file.write(json.dumps({"ending": notice.ending, "reason": notice.reason}) + "\\n")
    if notice.ending:
        time.sleep(float(pathlib.Path("lasts").read_text()))
        pathlib.Path("checkpoint").touch()

print("listening in", os.environ["SUBLET_LEASE_ID"])"""

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
    """One user's work, in one server after the other."""

    def __init__(self, platform: Platform, context: BrowserContext, user: str) -> None:
        self.platform = platform
        self.user = user
        self.lease_id = ""
        self._session: Session = platform.sign_in(user)
        self._context = context
        self._page: Page | None = None
        self._edited = ""

    # ---------------------------------------------------------------- at work

    def begin(self, edit: str, callback_seconds: float = 2.0) -> None:
        """Be at work: both documents edited and not saved, the kernel listening. Goes on in a server that runs.

        The kernel's function takes longer than a server has between its deadline and SIGKILL.
        """
        if not self._is_at_work:
            self._come()
        for name in ("heard.jsonl", "checkpoint"):
            (self.home / name).unlink(missing_ok=True)
        self._put("lasts", {"type": "file", "format": "text", "content": str(callback_seconds)})
        self._go_to(NOTEBOOK)
        self._run_cell()
        self._edited = edit
        self._edit(self._cell(1), f"# {edit}")
        self._go_to(NOTES)
        self._edit(self._text(), edit)
        assert not any(self._saved()), "something saves by itself: nothing of this would prove anything"

    @property
    def page(self) -> Page:
        assert self._page is not None
        return self._page

    # ---------------------------------------------------------------- afterwards

    @property
    def home(self) -> Path:
        return self.platform.data / "homes" / self.user

    @property
    def lease(self) -> dict[str, Any]:
        """The lease in which the work was done."""
        (found,) = (lease for lease in self.platform.leases(user=self.user) if lease["id"] == self.lease_id)
        return found

    def wait_ended(self, seconds: float = ENDED_SECONDS) -> dict[str, Any]:
        """The lease, when it has ended."""
        wait_until(lambda: self.lease["state"] == "ended", seconds, f"the lease of {self.user} has ended")
        return self.lease

    def alerts(self) -> str:
        """All that was put before the user's eyes."""
        return "\n".join(self.page.evaluate("window.alertsSeen"))

    def heard(self) -> list[dict[str, Any]]:
        """What the kernel's function was called for."""
        return [json.loads(line) for line in (self.home / "heard.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def has_checkpoint(self) -> bool:
        return (self.home / "checkpoint").exists()

    def check_saved(self) -> None:
        """All edits are in the files."""
        assert self._saved() == (True, True), f"(notebook, text) of {self.user}"

    def start_again(self) -> None:
        """Another server, and JupyterLab as it comes: the same documents are open, with all edits."""
        self.leave()
        wait_until(lambda: self._session.server() is None, ENDED_SECONDS, "the hub knows that the server is gone")
        self._start_server()
        self._open_lab("/lab")
        self._go_to(NOTES)
        expect(self._text()).to_contain_text(self._edited, timeout=SHOWN_MS)
        self._go_to(NOTEBOOK)
        expect(self._cell(1)).to_contain_text(f"# {self._edited}", timeout=SHOWN_MS)

    def give_quota_back(self) -> None:
        """What the user has is the default quota again."""
        with self.platform.admin() as admin:
            admin.delete(f"/hub/api/quotas/users/{self.user}")

    def leave(self) -> None:
        """Close the page. Whatever comes next begins with a new one."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def stop(self) -> None:
        self._session.stop_server()

    # ---------------------------------------------------------------- within

    @property
    def _is_at_work(self) -> bool:
        return self._page is not None and self.lease["state"] == "active"

    def _come(self) -> None:
        """Open JupyterLab with both documents, whatever was before."""
        self.leave()
        self.give_quota_back()
        wait_until(lambda: self._session.server() is None, ENDED_SECONDS, "the hub knows of no server")
        self._start_server()
        self._put_documents()
        self._open_lab(f"/lab/tree/{NOTEBOOK}")
        self.page.get_by_role("listitem", name=re.compile(f"^Name: {NOTES}")).dblclick()

    def _start_server(self) -> None:
        start_server(self._session, STARTED_SECONDS, flavor="one", tier="surplus")
        (lease,) = (each for each in self.platform.leases(user=self.user) if each["state"] in {"granted", "active"})
        self.lease_id = lease["id"]

    def _put_documents(self) -> None:
        def cell(name: str, source: str) -> dict[str, Any]:
            return {"cell_type": "code", "id": name, "metadata": {}, "execution_count": None, "outputs": [],
                    "source": source}  # fmt: skip

        notebook = {
            "cells": [cell("one", CHECKPOINT), cell("two", "# to be edited")],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        self._put(NOTEBOOK, {"type": "notebook", "format": "json", "content": notebook})
        self._put(NOTES, {"type": "file", "format": "text", "content": "Notes.\n"})
        settings = f"/user/{self.user}/lab/api/settings/@jupyterlab/docmanager-extension:plugin"
        self._session.client.put(settings, json={"raw": NO_AUTOSAVE}).raise_for_status()

    def _put(self, name: str, document: dict[str, Any]) -> None:
        self._session.client.put(f"/user/{self.user}/api/contents/{name}", json=document).raise_for_status()

    def _saved(self) -> tuple[bool, bool]:
        cells = json.loads((self.home / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
        notes = (self.home / NOTES).read_text(encoding="utf-8")
        return (f"# {self._edited}" in "".join(cells[1]["source"]), self._edited in notes)

    def _open_lab(self, path: str) -> None:
        page = self._page = self._context.new_page()
        page.add_init_script(NOTE_ALERTS)
        page.goto(f"/user/{self.user}{path}")
        if page.get_by_label("Username").count():
            page.get_by_label("Username").fill(self.user)
            page.get_by_label("Password").fill(self.platform.credentials()["user_password"])
            page.get_by_role("button", name="Sign in").click()
        in_lab(page, STARTED_SECONDS)
        page.locator(".sublet-Status-button").wait_for(timeout=SHOWN_MS)

    def _run_cell(self) -> None:
        wait_until(self._has_kernel, STARTED_SECONDS, f"the notebook of {self.user} has a kernel")
        self.page.locator('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(
            timeout=SHOWN_MS
        )
        self._cell(0).click()
        self.page.keyboard.press("Shift+Enter")
        output = self.page.locator(".jp-NotebookPanel .jp-OutputArea-output").first
        expect(output).to_contain_text(f"listening in {self.lease_id}", timeout=SHOWN_MS)

    def _has_kernel(self) -> bool:
        """Before the page has one, running a cell asks which it is to be."""
        sessions = self._session.client.get(f"/user/{self.user}/api/sessions").raise_for_status().json()
        return any(
            each["kernel"]["connections"] > 0 and each["kernel"]["execution_state"] == "idle" for each in sessions
        )

    def _go_to(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click(timeout=SHOWN_MS)

    def _edit(self, editor: Locator, text: str) -> None:
        editor.click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.insert_text(f"\n{text}")
        expect(editor).to_contain_text(text)

    def _cell(self, number: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").nth(number)

    def _text(self) -> Locator:
        return self.page.locator(".jp-FileEditor .cm-content")
