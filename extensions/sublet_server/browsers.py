"""The browsers that show this server, and asking them to save."""

from __future__ import annotations

import json
from typing import Any

from sublet_server.state import LeaseState

MOST_BROWSERS = 20


class Browser:
    """One open event stream to a browser's page."""

    def __init__(self) -> None:
        self.is_open = True
        self.saves: list[dict[str, Any]] = []
        """What it is still to be told."""


class Browsers:
    """All of them, and how far they are with saving."""

    def __init__(self, state: LeaseState) -> None:
        self._state = state
        self._open: list[Browser] = []
        self._save: dict[str, Any] | None = None
        self._to_save: set[int] = set()
        self._answers = 0
        self.failed = 0
        """How many documents were not saved when that was last asked for."""

    def add(self) -> Browser:
        """A browser has come; the oldest goes where there are too many."""
        browser = Browser()
        self._open.append(browser)
        if len(self._open) > MOST_BROWSERS:
            self.drop(self._open[0])
        if self._save is not None:
            self._ask(browser)
        return browser

    def drop(self, browser: Browser) -> None:
        """A browser has gone, or is to go."""
        browser.is_open = False
        if browser in self._open:
            self._open.remove(browser)
        self._to_save.discard(id(browser))
        self._state.changed()

    def ask_to_save(self, name: str, until: str, why: str) -> None:
        """Have all of them save their open documents."""
        self._save = {"id": name, "until": until, "why": why}
        self._to_save, self._answers, self.failed = set(), 0, 0
        for browser in self._open:
            self._ask(browser)
        self._state.changed()

    def go_on(self) -> None:
        """Nothing is to be saved any more."""
        self._save = None
        self._to_save = set()

    def saved(self, name: str, failed: int) -> bool:
        """A browser has saved; False where nobody asked for it. Which one it was isn't told, nor needed."""
        if self._save is None or self._save["id"] != name:
            return False
        self._answers += 1
        self.failed += failed
        self._state.changed()
        return True

    @property
    def unsaved(self) -> int:
        """How many browsers have not answered."""
        return max(0, len(self._to_save) - self._answers)

    def _ask(self, browser: Browser) -> None:
        assert self._save is not None
        browser.saves.append(self._save)
        self._to_save.add(id(browser))


def sse(event: str, document: object) -> bytes:
    """One event as it goes over the wire."""
    return f"event: {event}\ndata: {json.dumps(document)}\n\n".encode()
