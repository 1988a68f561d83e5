"""Remembering this lease on disk, so that the next server can tell how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sublet_server.loops import pause
from sublet_server.platform_api import PlatformApi, PlatformAwayError
from sublet_server.state import OVER, Document, LeaseState
from sublet_server.times import epoch

if TYPE_CHECKING:
    from sublet_server.ending import Outcome

TRIES = 12
"""For a lease that the platform has not closed yet, or that can't be asked for: some minutes."""

END_REASONS = {
    "quota": "a quota was used up",
    "limit": "it reached the longest time that a lease may last",
    "reclaim": "the owner of the GPUs took them back",
    "idle": "nothing had run in it for a while",
    "admin": "an administrator stopped it",
    "lost": "the machine it ran on, or the process that kept it, went down",
    "out_of_memory": "it used more memory than its flavor has; pick a larger one, or load less at a time",
    "evicted": "the cluster took its place back; it can be started again",
    "shutdown": "the platform was shut down",
}
"""The ends that a user didn't cause. The others need no explanation."""
EXITED = {
    "signal": "its process was told to end, by a signal from outside",
    None: "its process broke down, or was killed",
}
"""Of a server that ended by itself, by what it noted of that before: nothing, where it didn't see it come. What its
user did, such as Shut Down in JupyterLab's menu, needs no explanation either."""


class Past:
    """A file about the lease that runs, and about the one before it until its user has read of it."""

    def __init__(
        self, api: PlatformApi, state: LeaseState, file: Path, outcome: Callable[[], Outcome | None], log: Logger
    ) -> None:
        self._api = api
        self._state = state
        self._file = file
        self._outcome = outcome
        self._log = log
        self._stopped_by: str | None = None
        self._written: Document | None = None
        self._is_trouble_said = False

    async def find_out(self) -> None:
        """How the last lease of this server ended, if it was another one and there is something to tell."""
        kept = self._read()
        lease = kept.get("lease")
        if not isinstance(lease, dict) or not isinstance(lease.get("id"), str):
            return
        if lease["id"] == self._api.lease_id:  # the server was started anew within its lease
            self._show(kept.get("previous"))
            return
        ended = await self._ask(lease)
        text = sentence(ended, kept.get("left") or {}, kept.get("stopped_by"))
        if text:
            self._show({"lease": ended, "sentence": text})

    async def remember(self) -> None:
        """Write down what changes of the lease."""
        while True:
            seen = self._state.version
            self.write()
            await self._state.wait(seen, 3600)

    def write(self) -> None:
        """Write the file, if it would say something new."""
        lease = self._state.lease
        if lease is None:
            return
        outcome = self._outcome()
        document = {
            "lease": lease,
            "left": {"callbacks": outcome.callbacks, "documents": outcome.documents} if outcome else None,
            "previous": self._state.previous,
            "stopped_by": self._stopped_by,
        }
        if self._written is None or _essence(document) != _essence(self._written):
            self._written = document
            self._store(document)

    def stops(self, by: str) -> None:
        """The server begins to stop: for a `signal`, or because its `user` wants it. The first word counts."""
        self._stopped_by = self._stopped_by or by
        self.write()

    def dismiss(self) -> None:
        """The user has read of it."""
        self._state.previous = None
        self._state.changed()
        self.write()

    def _show(self, previous: object) -> None:
        if isinstance(previous, dict):
            self._state.previous = previous
            self._state.changed()

    async def _ask(self, lease: Document) -> Document:
        """The lease as the platform has closed it; what was last known of it where it doesn't say."""
        for failures in range(1, TRIES + 1):
            try:
                answer = await self._api.ask("GET", self._api.lease_path(lease_id=lease["id"]))
            except PlatformAwayError:
                await asyncio.sleep(pause(failures))
                continue
            found = answer.document()
            if answer.status == 200 and found.get("state") in OVER:
                return found
            if answer.status == 404:
                break
            await asyncio.sleep(pause(failures))
        return lease

    def _read(self) -> Document:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _store(self, document: Document) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(document), encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            if not self._is_trouble_said:
                self._log.warning("Sublet: the lease can't be noted on disk: %s", error.strerror)
            self._is_trouble_said = True


def sentence(lease: Document, left: dict[str, Any], stopped_by: str | None = "user") -> str | None:
    """What to tell about a lease that is over; None where there is nothing. `stopped_by`: as its server noted it."""
    reason = str(lease.get("end_reason") or lease.get("deadline_reason"))
    why = EXITED.get(stopped_by) if reason == "exited" else END_REASONS.get(reason)
    lost = _lost(left)
    if why is None and not lost:
        return None
    try:
        at = " at " + _clock_time(lease.get("ended_at") or lease.get("deadline_at"))
    except ValueError:
        at = ""
    flavor = f" ({lease['flavor']})" if lease.get("flavor") else ""
    because = f" because {why}" if why else ""
    return f"Your last server{flavor} ended{at}{because}.{lost}"


def _lost(left: dict[str, Any]) -> str:
    callbacks, documents = int(left.get("callbacks") or 0), int(left.get("documents") or 0)
    text = ""
    if callbacks:
        them = "A function that was" if callbacks == 1 else f"{callbacks} functions that were"
        text += f" {them} to run before the end (sublet.on_notice) failed, or was cut off unfinished."
    if documents:
        text += f" {documents} open document{'s' if documents > 1 else ''} could not be saved."
    return text


def _clock_time(at: object) -> str:
    return datetime.fromtimestamp(epoch(at), UTC).strftime("%-d %b %H:%M UTC")


def _essence(document: Document) -> tuple[object, ...]:
    """Without what grows by itself, such as the cost."""
    lease = document["lease"]
    moves = tuple(lease.get(name) for name in ("id", "state", "deadline_at", "deadline_reason", "end_reason"))
    return (moves, document["left"], document["previous"], document["stopped_by"])
